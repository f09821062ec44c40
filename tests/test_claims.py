"""Who has a number, and which two would share one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.claims import EMERGENCY, EXTENSION, SERVICE, Claim, Claims, Destination


def service(number: str, argument: str = "", context: str = "") -> Claim:
    return Claim(number, Destination(SERVICE, f"{number}+{argument}"), argument, context)


def extension(number: str) -> Claim:
    return Claim(number, Destination(EXTENSION, number))


OFFICE = Claims(
    [
        Claim("112", Destination(EMERGENCY, "112")), extension("100"), extension("101"), extension("201"),
        service("*21"), service("*21", "number"), service("*8"), service("*8", "extension"), service("*80", "extension"),
        service("30", context="line"),
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("dialled", "context", "found"),
    [
        ("100", "", ("100", "")),
        ("112", "", ("112", "")),
        ("*21", "", ("*21+", "")),
        ("*210301234", "", ("*21+number", "0301234")),
        ("*8", "", ("*8+", "")),
        ("*8101", "", ("*8+extension", "101")),
        ("*80101", "", ("*80+extension", "101")),
        ("*8102", "", None),  # no such extension
        ("*21*", "", None),
        ("30", "", None),
        ("30", "line", ("30+", "")),
        ("112", "line", None),  # nobody calls for help from outside
    ],
)
def test_who_has_a_number(dialled: str, context: str, found: tuple[str, str] | None) -> None:
    claim = OFFICE.find(dialled, context)
    assert (claim and (claim[0].target.id, claim[1])) == found


@pytest.mark.parametrize(
    ("claim", "other"),
    [
        (extension("112"), "112"),
        (service("*21"), "*21+"),
        (service("*2", "number"), None),  # the rest of *21 begins with a digit
        (service("*2", "extension"), None),
        (service("*21301"), "*21+number"),
        (service("*8101"), "*8+extension"),
        (service("*8102"), None),
        (service("*82", "extension"), "*8+extension"),  # 201 begins with 2: *8201
        (service("*83", "extension"), None),
        (service("30"), None),
        (service("30", context="line"), "30+"),
    ],
)
def test_two_that_could_take_the_same_string_conflict(claim: Claim, other: str | None) -> None:
    found = OFFICE.conflict(claim)
    if claim.number == "*2":
        assert found is not None
        return
    assert (found and found.target.id) == other


NUMBERS = st.text("*12", min_size=1, max_size=3)
CLAIMS = st.builds(service, NUMBERS, st.sampled_from(["", "number"]))


@given(CLAIMS, CLAIMS)
def test_conflict_is_what_it_says(one: Claim, other: Claim) -> None:
    """Two claims conflict when a string exists that each of them would take alone."""
    strings = ["".join(letters) for size in range(1, 6) for letters in itertools.product("*12", repeat=size)]
    shared = any(Claims([one]).find(text) and Claims([other]).find(text) for text in strings)
    assert (Claims([one]).conflict(other) is not None) == shared
    assert (Claims([other]).conflict(one) is not None) == shared
