"""Pages of a list: in the order people expect, filtered, found; whatever is asked for."""

from __future__ import annotations

import pytest

from appliance.config.model import Extension, Snapshot, User
from appliance.config.reading.listing import listed, page

OFFICE = Snapshot()
for person in (User(id="z", username="zora", full_name="Zora"), User(id="e", username="emil", full_name="Émile")):
    OFFICE = OFFICE.with_record("user", person)
for number, name, owner, encrypt in (
    ("9", "Straße", "z", "off"),
    ("100", "strand", "e", "required"),
    ("20", "Łódź", "", "preferred"),
    ("21", "", "z", "off"),
):
    record = Extension(id=f"x{number}", number=number, name=name, user=owner, encrypt=encrypt)
    OFFICE = OFFICE.with_record("extension", record)


def numbers(**asked: object) -> list[str]:
    return [getattr(one, "number", "") for one in listed(OFFICE, "extension", **asked)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", ["9", "20", "21", "100"]),
        ("number", ["9", "20", "21", "100"]),
        ("name", ["21", "20", "100", "9"]),  # nothing, lodz, strand, strasse
        ("user", ["100", "9", "21", "20"]),  # Emile, Zora twice, nobody
        ("encrypt", ["100", "20", "9", "21"]),  # as the choices stand
        ("ring_seconds", ["9", "20", "21", "100"]),  # alike: by number
    ],
)
def test_the_order_is_that_of_what_people_read(sort: str, order: list[str]) -> None:
    assert numbers(sort=sort) == order
    assert numbers(sort=sort, down=True) == order[::-1]


def test_filters_and_finds_are_put_together() -> None:
    assert numbers(filters={"encrypt": "off"}) == ["9", "21"]
    assert numbers(filters={"encrypt": "off", "user": "z"}, found=["x9", "x20"]) == ["9"]
    assert numbers(filters={"user": ""}) == ["20"]
    assert numbers(found=[]) == []


def test_a_field_that_is_not_there_is_told() -> None:
    with pytest.raises(KeyError):
        listed(OFFICE, "extension", sort="colour")
    with pytest.raises(KeyError):
        listed(OFFICE, "extension", filters={"colour": "red"})


@pytest.mark.parametrize(
    ("start", "first", "shown"), [(0, 0, ["9", "20"]), (2, 2, ["21", "100"]), (90, 2, ["21", "100"]), (-5, 0, ["9", "20"])]
)
def test_a_page_behind_the_last_one_is_the_last_one(start: int, first: int, shown: list[str]) -> None:
    found = page(OFFICE, "extension", start=start, count=2)
    assert ([getattr(one, "number", "") for one in found.rows], found.total, found.start) == (shown, 4, first)


def test_a_list_of_nothing_has_a_page() -> None:
    assert page(Snapshot(), "user") == ([], 0, 0)


def test_what_is_there_from_the_start_is_listed_before_it_is_stored() -> None:
    assert [one.id for one in listed(Snapshot(), "service")] == ["echo"]
