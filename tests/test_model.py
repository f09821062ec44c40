"""The rules of the records: numbers, names, passwords, references. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import countries
from appliance.config.model import (
    Extension,
    Line,
    Record,
    Refused,
    Settings,
    Snapshot,
    User,
    check,
    make,
    next_number,
    owner,
    services,
)
from appliance.words import english

ANNA = User(id="u", username="anna", full_name="Anna")
DESK = Extension(id="e", number="100", name="Anna", user="u")
PHONE = Line(id="l", extension="e", sip_username="100", sip_password="hT7wq2-MnB4x")
OFFICE = (
    Snapshot()
    .with_record("settings", Settings(id="settings", country="DE"))
    .with_record("user", ANNA)
    .with_record("extension", DESK)
    .with_record("line", PHONE)
)


def problems(record: Record, snapshot: Snapshot = OFFICE) -> dict[str, str]:
    return {problem.field: problem.message for problem in check(type(record).__name__.lower(), record, snapshot)}


def changed(record: Record, **values: object) -> Record:
    return make(type(record).__name__.lower(), {**record.model_dump(), **values})


@pytest.mark.parametrize("record", [ANNA, DESK, PHONE, OFFICE.settings], ids=lambda record: record.declared.kind)
def test_what_is_saved_may_be_saved_again(record: Record) -> None:
    assert problems(record) == {}


@pytest.mark.parametrize("number", ["", "*60", "1 2", "12a", "²³", "1" * 12 + "\n2", "+49"])
def test_an_extension_has_digits_only(number: str) -> None:
    with_number = Extension.model_construct(id="n", number=number, name="", user="")
    assert "digits" in problems(with_number)["number"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("100", "in use by extension 100 (Anna)"),
        ("112", "kept for emergency calls"),
        ("110", "kept for emergency calls"),
    ],
)
def test_a_number_in_use_is_refused_with_what_uses_it(number: str, words: str) -> None:
    assert problems(Extension(id="n", number=number))["number"] == f"{number} is {words}."


def test_nothing_takes_an_emergency_number_away() -> None:
    """Neither the echo test, nor a country chosen after the extension was made."""
    echo = services(OFFICE)["echo"]
    assert problems(changed(echo, number="110")) == {"number": "110 is kept for emergency calls."}
    austria = OFFICE.with_record("extension", Extension(id="x", number="144"))
    assert problems(changed(OFFICE.settings, country="AT"), austria) == {
        "country": "144 is for emergency calls there: give extension 144 another number first."
    }
    claimed = austria.with_record("settings", Settings(id="settings", country="AT"))
    claimed = claimed.with_record("service", changed(echo, number="112"))
    for number in ("144", "112"):
        found = claimed.claims.find(number)
        assert found is not None
        assert english().say(owner(found[0], claimed)) == "emergency calls"


@pytest.mark.parametrize(
    "password",
    ["", "short", "100" * 4, "a" * 12, "abcabcabcabc", "twelve chars ok", "päßwörter1234"],
)
def test_weak_sip_passwords_are_refused(password: str) -> None:
    assert "sip_password" in problems(changed(PHONE, sip_password=password))


def test_a_sip_password_is_not_the_number_under_another_username() -> None:
    long = OFFICE.with_record("extension", Extension(id="x", number="123456789012"))
    line = Line(id="n", extension="x", sip_username="desk", sip_password="123456789012")
    assert "number" in problems(line, long)["sip_password"]


@pytest.mark.parametrize("name", ["", "an na", 'a"b', "a@b", "-a", "a\x00", "x;y", "\u0301a", "a\u200db", "😀"])
def test_names_that_would_break_a_header_are_refused(name: str) -> None:
    assert "username" in problems(User.model_construct(id="n", username=name, full_name="", role="none"))
    assert "sip_username" in problems(changed(PHONE, sip_username=name))


@pytest.mark.parametrize("name", ["jürgen", "ægir", "Łukasz", "王小明", "علي", "देवी", "ngô-đình", "o.brien_2", "7up"])
def test_people_log_in_with_the_letters_of_their_name(name: str) -> None:
    assert problems(User(id="n", username=name)) == {}
    assert "sip_username" in problems(changed(PHONE, sip_username=name)) or name.isascii()


def test_names_are_taken_once() -> None:
    assert "taken" in problems(User(id="n", username="ANNA"))["username"]
    composed = OFFICE.with_record("user", User(id="x", username="J\u00fcrgen"))
    assert "taken" in problems(User(id="n", username="ju\u0308rgen"), composed)["username"]
    second = Line(id="n", extension="e", sip_username="100", sip_password="hT7wq2-MnB4y")
    assert "in use by extension 100" in problems(second)["sip_username"]


@pytest.mark.parametrize("name", ["a\r\nVia: x", "a\x85b", "a\u2028b", "a\u202egnp", "a\ud800", "a\x7f"])
def test_no_line_end_of_any_kind_in_a_name(name: str) -> None:
    assert "name" in problems(Extension.model_construct(id="e", number="100", name=name, user=""))


@pytest.mark.parametrize("name", ["Zoë Ångström", "王小明", "علي", "👩\u200d💻 desk"])
def test_names_of_any_language(name: str) -> None:
    assert problems(changed(DESK, name=name)) == {}


def test_references_must_exist() -> None:
    assert "user" in problems(changed(DESK, user="gone"))
    assert "extension" in problems(changed(PHONE, extension="gone"))


def test_bad_values_are_told_in_words_field_by_field() -> None:
    with pytest.raises(Refused) as refused:
        make("extension", {"name": "x" * 81, "ring_seconds": "soon", "encrypt": "maybe", "colour": "red"})
    said = {problem.field: problem.message for problem in refused.value.problems}
    assert said["name"] == "Name is too long: at most 80 characters."
    assert said["ring_seconds"] == "Ring for must be a length of time, for example 90 s or 1:30 min."
    assert said["encrypt"].endswith("must be one of 'required', 'preferred' or 'off'.")
    assert said["colour"] == "There is no field colour."


def test_a_snapshot_never_changes() -> None:
    other = OFFICE.with_record("extension", Extension(id="e", number="200")).without("line", "l")
    assert "100" in OFFICE.extension_by_number
    assert OFFICE.lines_of["e"] == (PHONE,)
    assert other.lines_of["e"] == ()
    assert set(other.extension_by_number) == {"200"}
    with pytest.raises(TypeError):
        OFFICE.extensions["x"] = DESK  # type: ignore[index]


@given(
    first=st.sampled_from(["10", "15", "100", "007", "110", "998"]),
    taken=st.sets(st.integers(0, 130)),
    country=st.sampled_from(sorted(countries.COUNTRIES)),
)
def test_the_suggested_number_is_always_free(first: str, taken: set[int], country: str) -> None:
    snapshot = Snapshot().with_record("settings", Settings(id="settings", first_extension=first, country=country))
    for offset in taken:
        number = str(int(first) + offset).zfill(len(first))
        snapshot = snapshot.with_record("extension", Extension(id=number, number=number))
    suggested = next_number(snapshot)
    assert len(suggested) >= len(first)
    assert int(suggested) >= int(first)
    assert problems(Extension(id="new", number=suggested), snapshot) == {}
    claimed = {claim.number for claim in snapshot.claims}
    assert all(str(n).zfill(len(first)) in claimed for n in range(int(first), int(suggested)))
