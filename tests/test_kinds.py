"""Records are driven by their declaration: field types, kinds as one row and one class, references, destinations, numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import kinds
from appliance.config import snapshot as configuration
from appliance.config.claims import Claim
from appliance.config.claims import Destination as To
from appliance.config.declare import (
    Destination,
    Duration,
    FieldType,
    Kind,
    Number,
    NumberPattern,
    Problem,
    Record,
    Reference,
    Secret,
    Text,
    TickBox,
)
from appliance.config.kinds import KINDS, people
from appliance.config.model import Extension, Line, Refused, Settings, Snapshot, User, check, destinations, without
from appliance.words import Said, english


class Door(Record):
    """A kind of no use, with a field of each type that the present kinds show nowhere."""

    number: Annotated[str, NumberPattern(12, re.compile(r"[*#0-9]{1,12}").fullmatch)] = ""
    open: Annotated[bool, TickBox()] = False
    patience: Annotated[int, Duration(5, 7200)] = 60
    doors: Annotated[int, Number(1, 9)] = 1
    otherwise: Annotated[To | None, Destination()] = None
    keeper: Annotated[str, Reference("user", gone="refuse")] = ""
    code: Annotated[str, Secret(20)] = ""


def _claims(door: Door) -> Iterator[tuple[str, Claim]]:
    yield "number", Claim(door.number, To("door", door.id))


DOORS = Kind(Door, named_by="number", claims=_claims)
ANNA = User(id="u", username="anna", full_name="Anna")
DESK = Extension(id="e", number="100", name="Desk", user="u")
LINE = Line(id="l", extension="e", sip_username="100", sip_password="hT7wq2-MnB4x")
OFFICE = Snapshot().with_record("user", ANNA).with_record("extension", DESK).with_record("line", LINE)


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Kind[Any]]:
    """The kinds with one more."""
    kinds = {**KINDS, "door": DOORS}
    monkeypatch.setattr(configuration, "KINDS", kinds)
    return kinds


def said(found: list[Problem]) -> dict[str, str]:
    """Field to the key of its problem: doors have no words in the catalogue."""
    return {problem.field: problem.said.key for problem in found if isinstance(problem.said, Said)}


# ---- field types -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("90", 90), ("90 s", 90), ("90s", 90), ("1:30", 90), ("1:30 min", 90), ("2 min", 120), ("2 min 5 s", 125), (" 2  Min ", 120),
        ("1 h", 3600), ("1 h 30 min", 5400), ("1 h 0:05 min", 3605), ("1h 5s", 3605), ("0", 0),
    ],
)  # fmt: skip
def test_a_length_of_time_is_typed_as_people_write_it(typed: str, seconds: int) -> None:
    assert Duration(0, 9999).read(typed) == seconds


@pytest.mark.parametrize(
    "typed", ["", " ", "soon", "-5", "1:75", "1.5 min", "1:30 min 5 s", "min", "٣", "9" * 30, "1 h 2 h", "1:5"]
)
def test_what_is_no_length_of_time_is_told_at_the_field(typed: str) -> None:
    with pytest.raises(Refused) as refused:
        DOORS.make({"patience": typed})
    assert said(list(refused.value.problems)) == {"patience": "fields.no-duration"}


@given(st.integers(0, 9_999_999))
def test_a_length_of_time_comes_back_from_its_words(seconds: int) -> None:
    duration = Duration(0, 9_999_999)
    assert duration.read(duration.text(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (90, "90 s"), (150, "2:30 min"), (600, "10 min"), (3605, "1 h 0:05 min"), (7200, "2 h")],
)
def test_a_length_of_time_reads_as_people_write_it(seconds: int, text: str) -> None:
    assert Duration(0, 9999).text(seconds) == text


def test_typed_values_become_values() -> None:
    door = DOORS.make({"open": "yes", "patience": "1:30 min", "doors": "3", "otherwise": "extension:e"})
    assert (door.open, door.patience, door.doors, door.otherwise) == (True, 90, 3, To("extension", "e"))
    stored = door.model_dump()
    assert DOORS.make({**stored, "otherwise": list(stored["otherwise"])}) == door, "as the database has it"
    fields = Door.declared.fields
    shown = {name: fields[name].text(value) for name, value in stored.items() if name in fields}
    assert shown == {
        "number": "", "open": "yes", "patience": "90 s", "doors": "3", "otherwise": "extension:e", "keeper": "", "code": ""
    }  # fmt: skip
    assert DOORS.make(shown) == door, "as a form shows it"
    assert DOORS.make({"open": "no", "otherwise": ""}) == Door()


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"open": "perhaps"}, "fields.no-tick"),
        ({"doors": "many"}, "fields.no-number"),
        ({"doors": "10"}, "fields.at-most"),
        ({"patience": "4 s"}, "fields.at-least"),
        ({"patience": "2 h 1 s"}, "fields.at-most"),
        ({"otherwise": "nowhere"}, "fields.no-destination"),
        ({"otherwise": ["a"]}, "fields.no-destination"),
        ({"number": "1" * 13}, "fields.too-long"),
        ({"number": 5}, "fields.no-value"),
        ({"colour": "red"}, "fields.no-field"),
    ],
)
def test_what_is_no_value_is_told_at_its_field(values: dict[str, object], key: str) -> None:
    with pytest.raises(Refused) as refused:
        Kind(Told).make(values)
    (problem,) = refused.value.problems
    assert said([problem]) == {next(iter(values)): key}


class Told(Door):
    """Doors whose words are at hand, for the refusal says them."""


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of the two kinds that only this file has."""
    for kind in ("door", "told"):
        for name in Door.declared.fields:
            monkeypatch.setitem(english().patterns, f"{kind}.{name}", name.capitalize())  # type: ignore[arg-type]
            monkeypatch.setitem(english().patterns, f"{kind}.{name}-wrong", f"{name} is wrong")  # type: ignore[arg-type]
        monkeypatch.setitem(english().patterns, f"kind.{kind}", kind)  # type: ignore[arg-type]


# ---- kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", KINDS.values(), ids=KINDS)
def test_every_field_has_words_and_a_default(row: Kind[Any]) -> None:
    made = row.make({"id": "x"})
    declared = row.record.declared
    assert declared.kind == row.name
    for name, field in declared.fields.items():
        assert isinstance(field, FieldType)
        assert english().say(declared.label(name))
        assert field.hidden or english().say(declared.help(name))
        assert row.make({name: field.text(getattr(made, name))}) == row.record(), (
            "what a form shows of the default is the default"
        )


LOGIN = {"password_hash", "totp_seed", "recovery_codes"}


def test_a_field_is_not_called_what_pages_and_programs_say_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field `sort` of a kind made every list of it a fault: the address said which order by that name."""

    class Drawer(Record):
        sort: Annotated[str, Text(20)] = ""

    monkeypatch.setattr(people, "DRAWERS", Kind(Drawer), raising=False)
    with pytest.raises(ValueError, match="another name than sort"):
        kinds.found()


def test_what_is_sealed_and_what_no_form_changes_follow_from_the_fields() -> None:
    assert {name: (row.secrets, row.hidden) for name, row in KINDS.items()} == {
        "settings": (set(), {"completed"}),
        "user": (LOGIN, LOGIN | {"password_given"}),
        "extension": (set(), set()),
        "line": ({"sip_password"}, {"extension"}),
        "service": (set(), set()),
        "permission-group": (set(), set()),
        "api-key": ({"key_hash"}, {"key_hash"}),
        "backup-plan": ({"passphrase"}, set()),
    }
    assert DOORS.secrets == {"code"}


def test_of_what_there_is_one_only_the_defaults_count_while_none_is_stored() -> None:
    assert Snapshot().settings == Settings(id="settings")
    assert [claim.target.id for claim in Snapshot().claims] == ["112", "echo"]


# ---- numbers, references, destinations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"number": "*7"}, {}),
        ({"number": "100"}, {"number": "claims.in-use"}),
        ({"number": "*60"}, {"number": "claims.in-use"}),
        ({"number": "seven"}, {"number": "door.number-wrong"}),
        ({"number": "*7", "keeper": "nobody"}, {"keeper": "fields.gone"}),
        ({"number": "*7", "otherwise": "extension:gone"}, {"otherwise": "fields.no-destination"}),
        ({"number": "*7", "otherwise": "emergency:112"}, {"otherwise": "fields.no-destination"}),
        ({"number": "*7", "otherwise": "service:echo"}, {}),
        ({"number": "*7", "code": "a\x00"}, {"code": "fields.control-characters"}),
    ],
)
def test_a_kind_is_checked_by_its_declaration(
    doors: Mapping[str, Kind[Any]], values: dict[str, str], found: dict[str, str]
) -> None:
    assert said(check("door", DOORS.make({"id": "d", **values}), OFFICE)) == found


def test_a_record_keeps_its_own_number(doors: Mapping[str, Kind[Any]]) -> None:
    office = OFFICE.with_record("door", Door(id="d", number="*7"))
    assert check("door", Door(id="d", number="*7", open=True), office) == []
    assert said(check("door", Door(id="other", number="*7"), office)) == {"number": "claims.in-use"}
    assert said(check("extension", Extension(id="n", number="100"), office)) == {"number": "claims.in-use"}


def test_what_has_a_number_is_a_destination() -> None:
    office = OFFICE.with_record("settings", Settings(id="settings", country="DE"))
    found = {typed: english().say(words) for typed, words in destinations(office)}
    assert found == {"service:echo": "the echo test", "extension:e": "extension 100 (Desk)"}


def test_what_becomes_of_a_reference_stands_in_its_field() -> None:
    assert without(OFFICE, [("line", "l")]) == [("line", "l", None)]
    assert without(OFFICE, [("extension", "e")]) == [("extension", "e", None), ("line", "l", None)]
    assert without(OFFICE, [("user", "u")]) == [
        ("user", "u", None),
        ("extension", "e", DESK.model_copy(update={"user": ""})),
    ]


def test_a_record_that_is_held_is_not_deleted(doors: Mapping[str, Kind[Any]]) -> None:
    office = OFFICE.with_record("door", Door(id="d", number="*7", keeper="u")).with_record(
        "door", Door(id="b", number="*8", keeper="u")
    )
    with pytest.raises(Refused, match=r"The user is in use by door \*7 and door \*8\."):
        without(office, [("user", "u")], doors)


def test_what_is_taken_along_takes_along() -> None:
    """And what would be cleared in a record that goes, goes with it."""
    kinds = {"a": Kind(A), "b": Kind(B)}
    records = (
        Snapshot().with_record("a", A(id="1")).with_record("a", A(id="2", up="1")).with_record("a", A(id="3", up="2"))
    )
    records = records.with_record("b", B(id="x", one="3", other="1")).with_record("b", B(id="y", one="9", other="3"))
    found = {(kind, key): record for kind, key, record in without(records, [("a", "1")], kinds)}
    assert found == {
        ("a", "1"): None,
        ("a", "2"): None,
        ("a", "3"): None,
        ("b", "x"): None,
        ("b", "y"): B(id="y", one="9"),
    }


class A(Record):
    up: Annotated[str, Reference("a", gone="take along")] = ""


class B(Record):
    one: Annotated[str, Reference("a", gone="take along")] = ""
    other: Annotated[str, Reference("a", gone="clear")] = ""
    word: Annotated[str, Text()] = ""
