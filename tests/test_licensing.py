"""Signed licence files: taken, refused, expired."""

from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.licensing import BadLicence, issue, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TODAY = date(2026, 6, 1)


def licence(**values: object) -> str:
    return issue(
        KEY, **{"box": "B1", "users": 20, "edition": "office", "expires": None, "maintenance_until": None, **values}
    )  # type: ignore[arg-type]


def test_a_good_one_gives_three_extensions_a_user() -> None:
    limits = verify(licence(), KEY.public_key(), "B1", TODAY)
    assert (limits.users, limits.extensions, limits.adding_refused) == (20, 60, "")


def test_edited_foreign_and_nonsense_are_named() -> None:
    with pytest.raises(BadLicence, match="changed after it was signed"):
        verify(licence().replace('"users": 20', '"users": 200'), KEY.public_key(), "B1", TODAY)
    with pytest.raises(BadLicence, match="belongs to the box B1"):
        verify(licence(), KEY.public_key(), "B2", TODAY)
    for text in ("", "{}", "[]", "null", '{"licence": 1, "signature": "zz"}', "x" * 20_000):
        with pytest.raises(BadLicence):
            verify(text, KEY.public_key(), "B1", TODAY)


def test_an_expired_one_keeps_working_and_refuses_adding() -> None:
    limits = verify(licence(expires=date(2026, 5, 31)), KEY.public_key(), "B1", TODAY)
    assert limits.users == 20
    assert "expired" in limits.adding_refused


@pytest.mark.parametrize("text", ["[" * 10_000, licence(users=0), licence(users=-3)])
def test_hostile_files_are_refused_in_words(text: str) -> None:
    with pytest.raises(BadLicence, match="licence"):
        verify(text, KEY.public_key(), "B1", TODAY)
