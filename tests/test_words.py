"""Sentences: keys and facts in, words out."""

from __future__ import annotations

import ast
import html
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.words import (
    Duration,
    Fact,
    Instant,
    Listed,
    Person,
    PhoneNumber,
    Said,
    UnknownSentence,
    Words,
    english,
    printable,
)
from appliance.words.catalogue import PLACE, RULES
from appliance.words.said import pack, unpack

ROOT = Path(__file__).parents[1]
ENGLISH = Words("en", {"t.fact": "<b>{fact}</b>", "t.count": "{count|# phone|# phones}", "t.in": "({inner})"})


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (3, "3"),
        (2.5, "2.5"),
        ("a<b", "a&lt;b"),
        (Duration(7), "7 s"),
        (Duration(60), "1 min 0 s"),
        (Duration(63.4), "1 min 3 s"),
        (Duration(7505), "2 h 5 min"),
        (Duration(0), "0 s"),
        (Duration(59.9), "59 s"),
        (Duration(86400), "1 day 0 h"),
        (Duration(270000), "3 days 3 h"),
        (Instant(datetime(2026, 12, 24, 10, tzinfo=UTC).timestamp()), "24 December 2026, 10:00"),
        (PhoneNumber("0030"), "0030"),
        (Person("Ann <x>", "101"), "Ann &lt;x&gt; (101)"),
        (Person("", "101"), "101"),
        (Listed(("a", 2, "c")), "a, 2 and c"),
        (Listed(("a", "b"), any=True), "a or b"),
        (Listed(("a",)), "a"),
        (Said.of("t.count", count=1), "1 phone"),
    ],
)
def test_facts_are_written_and_escaped_at_the_edge(fact: Fact, words: str) -> None:
    said = ENGLISH.say(Said.of("t.fact", fact=fact), escape=html.escape, zone=UTC)
    assert said == f"<b>{words}</b>"


@pytest.mark.parametrize(
    ("language", "forms"),
    [
        ("en", {1: 0, 0: 1, 2: 1, 1.5: 1}),
        ("de", {1: 0, 0: 1, 2: 1}),
        ("cs", {1: 0, 2: 1, 4: 1, 5: 2, 0: 2, 1.5: 1}),
    ],
)
def test_plurals_are_the_languages(language: str, forms: dict[float, int]) -> None:
    assert {count: RULES[language].plural(count) for count in forms} == forms
    assert max(forms.values()) < RULES[language].forms


@pytest.mark.parametrize(
    "said", [Said("t.none"), Said("t.fact"), Said.of("t.count", count="three"), Said.of("t.in", inner=Said("t.none"))]
)
def test_a_sentence_nobody_can_say_is_a_bug(said: Said) -> None:
    with pytest.raises(UnknownSentence):
        ENGLISH.say(said)


FACTS = st.recursive(
    st.integers(-(2**53), 2**53) | st.text() | st.builds(Duration, st.floats(0, 1e9)) | st.builds(PhoneNumber, st.text())
    | st.builds(Person, st.text(), st.text()) | st.builds(Instant, st.floats(0, 4e9)),
    lambda inner: st.builds(Listed, st.lists(inner, max_size=3).map(tuple), st.booleans())
    | st.builds(Said, st.text(), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


@given(st.builds(Said, st.text(), st.dictionaries(st.text(), FACTS, max_size=3)))
def test_what_is_stored_comes_back(said: Said) -> None:
    assert unpack(pack(said)) == said


@pytest.mark.parametrize(
    "data", ["", "[]", "3", '{"type":"person"}', '{"type":"said","key":"a","facts":{"b":null}}', "[" * 9000]
)
def test_what_is_no_sentence_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match="no sentence"):
        unpack(data)


def test_every_sentence_that_is_made_stands_in_the_catalogue_with_its_facts() -> None:
    made: dict[str, set[str]] = {}
    for file in (ROOT / "appliance").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and (ast.unparse(node.func) == "Said.of")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                made.setdefault(node.args[0].value, set()).update(str(word.arg) for word in node.keywords)
    assert made
    patterns = english().patterns
    wrong = {
        key: names
        for key, names in made.items()
        if {name for name, _ in PLACE.findall(patterns.get(key, "{?}"))} != names
    }
    assert wrong == {}
    assert not [key for key, text in patterns.items() if re.sub(PLACE, "", text).strip("{}") != re.sub(PLACE, "", text)]


def test_what_a_terminal_or_log_would_obey_is_written_out() -> None:
    assert printable("Anna Müller 漢") == "Anna Müller 漢"
    assert printable("a\nb\x1b[2J\u202e") == "a\\nb\\x1b[2J\\u202e"
