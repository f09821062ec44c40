"""What people may choose as a password, and the words when they may not."""

from __future__ import annotations

import pytest

from appliance.box import notices
from appliance.config import passwords
from appliance.config.passwords import common, weakness
from appliance.words import english


def test_the_list_is_long_enough_and_its_licence_is_told() -> None:
    assert len(common()) >= 40_000
    assert passwords.COMMON.stat().st_size < 200_000
    assert all(word == word.casefold() and len(word) >= 5 for word in common())
    (part,) = (part for part in notices.parts(passwords.COMMON.parent) if part.kind == "data")
    assert "Permission is hereby granted" in notices.text_of(part, passwords.COMMON.parent)


@pytest.mark.parametrize("around", ["{}", "{}!", "{}2024", "2024{}", "!!{}!!", "{0}{0}", "{0}{0}1", "{0}{0}{0}"])
def test_whatever_people_put_around_a_common_one_it_is_refused(around: str) -> None:
    """A property of every word of the list: as it is, with a capital, and with what people add."""
    for word in sorted(common())[::11]:
        for made in (around.format(word), around.format(word).capitalize()):
            assert weakness(made), made


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "at least 10 characters"),
        ("x" * 257, "at most 256"),
        ("aabbaabbaa", "more than three different"),
        ("jürgen12345", "a name with a few"),
        ("Jürgen Müller!", "a name with a few"),
        ("abcdabcdabcd", "tried first"),
        ("1234567890", "in their order"),
        ("zyxwvutsrq", "in their order"),
        ("P@ssw0rd2024", "tried first"),
        ("Qwertyuiop", "tried first"),
        ("letmeinletmein", "tried first"),
        ("iloveyou!!!!", "tried first"),
    ],
)
def test_the_words_say_why(password: str, words: str) -> None:
    weak = weakness(password, "jürgen", "Jürgen Müller")
    assert weak is not None
    assert words in english().say(weak)


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "Zug um halb sieben", "kočka leze dírou", "vT7-kq93mRz2", "早上好我想喝咖啡和茶", "jürgen mag lange wege"],
)
def test_words_in_a_row_and_generated_ones_are_taken(password: str) -> None:
    assert weakness(password, "jürgen", "Jürgen Müller", "al", "") is None
