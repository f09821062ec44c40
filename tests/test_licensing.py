"""Signed licence files: taken, refused, expired."""

from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.config.licensing import BadLicence, issue, verify
from appliance.words import english

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TODAY = date(2026, 6, 1)


def licence(**values: object) -> str:
    return issue(
        KEY, **{"box": "B1", "users": 20, "edition": "office", "issued": date(2026, 1, 1), "expires": None, "maintenance_until": None, **values}
    )  # type: ignore[arg-type]


def test_a_good_one_gives_three_extensions_a_user() -> None:
    limits = verify(licence(), KEY.public_key(), "B1", TODAY)
    assert (limits.users, limits.extensions, limits.adding_refused) == (20, 60, None)


def test_edited_foreign_and_nonsense_are_named() -> None:
    with pytest.raises(BadLicence, match="changed after it was signed"):
        verify(licence().replace('"users": 20', '"users": 200'), KEY.public_key(), "B1", TODAY)
    with pytest.raises(BadLicence, match="belongs to the box B1"):
        verify(licence(), KEY.public_key(), "B2", TODAY)
    for text in ("", "{}", "[]", "null", '{"licence": 1, "signature": "zz"}', "x" * 20_000):
        with pytest.raises(BadLicence):
            verify(text, KEY.public_key(), "B1", TODAY)


@pytest.mark.parametrize(
    ("clock", "seen", "refused", "named"),
    [
        (date(2026, 6, 1), date(2026, 5, 31), False, ""),
        (date(2026, 6, 1), date(2026, 6, 2), False, ""),  # a time zone is no crime
        (date(2026, 6, 1), date(2026, 6, 20), False, "it says 1 June 2026, and it has been 20 June 2026 before"),
        (date(2026, 6, 1), date(2026, 8, 2), True, "it says 1 June 2026, and it has been 2 August 2026 before"),
        (date(1970, 1, 1), date.min, False, "it says 1 January 1970, and it has been 1 January 2026 before"),  # the licence's own day
        (date(2026, 8, 2), date.min, True, ""),
    ],
)
def test_a_clock_set_back_makes_no_licence_longer_and_is_named(
    clock: date, seen: date, refused: bool, named: str
) -> None:
    limits = verify(licence(expires=date(2026, 7, 31)), KEY.public_key(), "B1", clock, seen)
    assert limits.users == 20
    assert bool(limits.adding_refused) == refused
    assert named in english().say(limits.note)
    assert ("set back" in english().say(limits.note)) == bool(named)


def test_an_expired_one_keeps_working_and_refuses_adding() -> None:
    limits = verify(licence(expires=date(2026, 5, 31)), KEY.public_key(), "B1", TODAY)
    assert limits.users == 20
    assert limits.adding_refused is not None
    assert "expired on 31 May 2026" in english().say(limits.adding_refused)


@pytest.mark.parametrize("text", ["[" * 10_000, licence(users=0), licence(users=-3)])
def test_hostile_files_are_refused_in_words(text: str) -> None:
    with pytest.raises(BadLicence, match="licence"):
        verify(text, KEY.public_key(), "B1", TODAY)
