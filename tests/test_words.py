"""Sentences: keys and facts in, words out."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import nodes

from appliance.box import console, notices
from appliance.calls.history.causes import Cause
from appliance.calls.history.record import Fate, PartKind
from appliance.calls.history.record import Outcome as Outcomes
from appliance.calls.plan.plan import Outcome
from appliance.calls.registrar import refusals
from appliance.config.claims import EMERGENCY
from appliance.config.countries import COUNTRIES
from appliance.config.declare import _MISREAD, Choice, FieldType, Several, Text
from appliance.config.fields import _anything
from appliance.config.folders import ROWS
from appliance.config.kinds import KINDS
from appliance.config.kinds.numbers import Encrypt
from appliance.config.kinds.people import AREAS
from appliance.host.alarms import CHECKS
from appliance.words import (
    LANGUAGES,
    Day,
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
    words_of,
)
from appliance.words.catalogue import PLACE, RULES, files, merged
from appliance.words.said import pack, unpack
from webui.app import EXPLAINED
from webui.pages import setup
from webui.records.parts.settings import ADDRESSES

ROOT = Path(__file__).parents[1]
MAKERS = ("Said.of", "Said", "t")
CONSOLE = ROOT / "appliance/box/console.py"  # says the sentences of its section by their names
SCRIPTS_ALONE = {f"script.theme-{choice}" for choice in ("auto", "light", "dark")}  # theme.js is no module and reads them itself
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
        (Day("2026-12-24"), "24 December 2026"),
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
    st.integers(-(2**53), 2**53) | st.text() | st.builds(Day, st.dates().map(str)) | st.builds(Duration, st.floats(0, 1e9)) | st.builds(PhoneNumber, st.text())
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


def may_be_wrong(field: FieldType) -> bool:
    if isinstance(field, Several):
        return may_be_wrong(field.of)
    return type(field).fits is not FieldType.fits and (not isinstance(field, Text) or field.letters is not _anything)


# Keys that are put together while the product runs, as they are written -> all that can come of them. One that is not here fails.
TOLD_OF_FIELDS = {
    f"{row.name}.{name.replace('_', '-')}{behind}"
    for row in KINDS.values()
    for name, field in row.record.declared.fields.items()
    for behind in (
        "",
        *(() if field.hidden else ("-help",)),
        *(("-wrong",) if may_be_wrong(field) else ()),
        *(f"-{value}{help}" for value in (field.values if isinstance(field, Choice) else ()) for help in ("", "-help")),
    )
} | {f"{row.name}.tab-{tab}" for row in KINDS.values() for tab in row.record.declared.tabs()}
PROBLEMS = (*map(str, EXPLAINED), "too-long-open", "other")
FAMILIES = {
    "area.*": {f"area.{area}" for area in AREAS},
    "country.*": {f"country.{code.lower()}" for code in COUNTRIES},
    "problem.*": {f"problem.{name}" for name in PROBLEMS},
    "problem.*-help": {f"problem.{name}-help" for name in PROBLEMS},
    "setup.step-*": {f"setup.step-{step}" for step in setup.STEPS},
    "setup.width-*": {f"setup.width-{width}" for width in setup.WIDTHS},
    "setup.width-*-help": {f"setup.width-{width}-help" for width in setup.WIDTHS},
    "licence.*": {"licence.users", "licence.extensions"},
    "licence.*-left": {"licence.users-left", "licence.extensions-left"},
    "licences.*": {f"licences.{column}" for column in ("name", "version", "licence", "kind")},
    "licences.kind-*": {f"licences.kind-{kind}" for kind in notices.KINDS},
    "trust.*": {f"trust.{policy}" for policy in get_args(Encrypt)},
    "extension.encrypt-*": {f"extension.encrypt-{policy}" for policy in get_args(Encrypt)},
    "keeping.*": {f"keeping.{what}" for what in ("copying", "writing", "beginning")},
    "updates.restart-*": {"updates.restart-now", "updates.restart-idle"},
    "console.*": {f"console.{state}" for state in ("healthy", "ill", "starting")},
    "console.alarm-*": {"console.alarm-error", "console.alarm-warning"},
    "console.menu-*": {f"console.menu-{name}" for name, _ in console.MENU},
    "console.process-*": {f"console.process-{state}" for state in ("running", "starting", "backing-off", "stopped")},
    "kind.*": {f"kind.{name}" for name in KINDS},
    "kind.*-many": {f"kind.{name}-many" for name in KINDS},
    "language.*": {f"language.{code}" for code in ("office", "browser", *LANGUAGES)},
    "claims.*": {f"claims.{EMERGENCY}"},
    **{f"*.{word}": {f"{name}.{word}" for name in ROWS} for word in ("name", "title", "help")},  # of services
    "alarm.*-repair": {f"alarm.{check.id}-repair" for check in CHECKS},
    "plan.*": {f"plan.{outcome}" for outcome in get_args(Outcome)},
    "cause.*": {f"cause.{cause.name.lower().replace('_', '-')}" for cause in Cause},
    "fate.*": {f"fate.{fate.replace(' ', '-')}" for fate in get_args(Fate)},
    "outcome.*": {f"outcome.{word.replace(' ', '-')}" for word in (*get_args(Outcomes), "cut off") if word != "answered"},
    "scheduled.what-*": {f"scheduled.what-{what}" for what in ("beginning", "copying", "writing", "reading", "checking")},
    "part.*": {f"part.{kind.replace(' ', '-')}" for kind in get_args(PartKind)},
    "refused.*": {f"refused.{kind.lower().replace(' ', '-')}" for kind in refusals.KINDS},
    "refused.*-repair": {f"refused.{kind.lower().replace(' ', '-')}-repair" for kind in refusals.KINDS},
    "fields.no-*": {f"fields.no-{name}" for name in (*_MISREAD.values(), "value")},
    "*-taken": {
        f"{row.name}.{name.replace('_', '-')}-taken"
        for row in KINDS.values()
        for name, field in row.record.declared.fields.items()
        if getattr(field, "unique", False)
    },
    "self.key(*)": TOLD_OF_FIELDS,  # of Declared
    "(why_not_encrypted)": set(),  # only keys that are in the catalogue get there
    "*.deleted": {f"{name}.deleted" for name in KINDS if english().has(f"{name}.deleted")},
    "*.deleted-many": {f"{name}.deleted-many" for name in KINDS if english().has(f"{name}.deleted")},
    "(short)": {
        key
        for row in KINDS.values()
        for name in row.record.declared.fields
        if english().has(key := row.record.declared.key(name, "-short"))
    },
    **{f"({name})": set() for name in ("_columns", "_further", "_pages")},  # of tables that are looked at as they are written
    "*": set(),  # the same, in templates
    "*.tab-*": {f"{row.name}.tab-{tab}" for row in KINDS.values() for tab in row.record.declared.tabs()},
    "settings-page.address-*": {f"settings-page.address-{name}" for name in ADDRESSES},
    "(t)": set(),  # of templates, which are looked at themselves
}


def key_of(node: ast.expr, within: ast.AST) -> str:
    """A key as it is written, with * for what is filled in; of a variable, what the function puts into it, or the function's name."""
    match node:
        case ast.Constant(value=str(key)):
            return key
        case ast.JoinedStr(values=parts):
            named = [part.value if isinstance(part, ast.FormattedValue) else part for part in parts]
            return "".join(
                str(part.value) if isinstance(part, ast.Constant)
                else key_of(part, within) if isinstance(part, ast.Name) and assigned(part.id, within)
                else "*"
                for part in named
            )  # fmt: skip
        case ast.Call(func=called):
            return f"{ast.unparse(called)}(*)"
        case ast.Name(id=name) if assigned(name, within):
            return key_of(assigned(name, within)[0], within)
    return f"({getattr(within, 'name', '')})"


def assigned(name: str, within: ast.AST) -> list[ast.expr]:
    return [
        node.value
        for node in ast.walk(within)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.JoinedStr)
        and ast.unparse(node.targets[0]) == name
    ]


def facts_of(call: ast.Call) -> set[str] | None:
    """The names of the facts; None: they cannot be read here."""
    if ast.unparse(call.func) in ("Said.of", "t"):
        return None if any(word.arg is None for word in call.keywords) else {str(word.arg) for word in call.keywords}
    match call.args[1:]:
        case []:
            return set()
        case [ast.Dict(keys=keys)] if all(isinstance(key, ast.Constant) for key in keys):
            return {key.value for key in keys if isinstance(key, ast.Constant)}
    return None


def either(node: ast.expr) -> list[ast.expr]:
    """Both of `a if b else c`."""
    return [*either(node.body), *either(node.orelse)] if isinstance(node, ast.IfExp) else [node]


def made() -> Iterator[tuple[str, set[str] | None]]:
    """Each sentence that the product makes: its key and the names of its facts."""
    for file in (*(ROOT / "appliance").rglob("*.py"), *(ROOT / "webui").rglob("*.py")):
        if file.parent.name == "words":
            continue  # Said itself, which gets its keys from the others
        tree = ast.parse(file.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for within in (*functions, tree):
            inner = (
                {call for each in functions if each is not within for call in ast.walk(each)}
                if within is tree
                else set()
            )
            for node in ast.walk(within):
                if isinstance(node, ast.Call) and node not in inner and ast.unparse(node.func) in MAKERS:
                    yield from ((key_of(each, within), facts_of(node)) for each in either(node.args[0]))
    for node in ast.walk(ast.parse(CONSOLE.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("say", "self.say", "terminal.say"):
            yield from (
                (f"console.{each.value}", {str(word.arg) for word in node.keywords})
                for each in node.args
                if isinstance(each, ast.Constant)
            )


def key_in_template(node: nodes.Expr) -> str:
    """The same of a template; what is filled in is *."""
    match node:
        case nodes.Const(value=str(key)):
            return key
        case nodes.Concat(nodes=parts):
            return "".join(map(key_in_template, parts))
    return "*"


def shown() -> Iterator[tuple[str, set[str] | None]]:
    """Each sentence of a template; with `a if b else c` each of both."""
    environment = jinja2.Environment(autoescape=True)
    for file in (ROOT / "webui/templates").rglob("*.html"):
        for call in environment.parse(file.read_text()).find_all(nodes.Call):
            if not isinstance(call.node, nodes.Name) or call.node.name != "t":
                continue
            facts = None if call.dyn_kwargs else {word.key for word in call.kwargs}
            chosen = [call.args[0]]
            while found := next((each for each in chosen if isinstance(each, nodes.CondExpr)), None):
                chosen.remove(found)
                chosen += [found.expr1, *([found.expr2] if found.expr2 else [])]
            yield from ((key_in_template(each), facts) for each in chosen)


def said_by_scripts() -> Iterator[tuple[str, set[str] | None]]:
    for file in (ROOT / "webui/static/js").glob("*.js"):
        for name, facts in re.findall(r"""\bword\("([a-z-]+)"(?:, \{ ?(.*?) ?\}\))?""", file.read_text()):
            yield f"script.{name}", {each.partition(":")[0].strip() for each in facts.split(", ") if each}


def written() -> set[str]:
    """Every text that stands in the product, and what is quoted within (SQL), for some keys are on their way in variables."""
    files = (*(ROOT / "appliance").rglob("*.py"), *(ROOT / "webui").rglob("*.py"))
    found = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    texts = {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return texts | {key for text in texts for key in re.findall(r"'([a-z-]+\.[a-z-]+)'", text)}


def facts_in(pattern: str) -> set[str]:
    return {name for name, _ in PLACE.findall(pattern)}


def test_every_sentence_that_is_made_stands_in_the_catalogue_with_its_facts() -> None:
    patterns, told, wrong, used = english().patterns, written(), set(), set()
    for key, names in (*made(), *shown(), *said_by_scripts()):
        keys = {key}
        if "*" in key or "(" in key:
            assert key in FAMILIES, f"{key}: a row of FAMILIES has to say what can come of it"
            keys, _ = FAMILIES[key], used.add(key)
        told |= keys
        wrong |= keys - patterns.keys()
        if names is not None:
            wrong |= {each for each in keys & patterns.keys() if facts_in(patterns[each]) != names}
    assert not wrong, f"not in the catalogue, or with other facts: {sorted(wrong)}"
    told |= SCRIPTS_ALONE
    assert not patterns.keys() - told, f"nobody says: {sorted(patterns.keys() - told)}"
    assert not FAMILIES.keys() - used, f"no longer put together: {sorted(FAMILIES.keys() - used)}"


# ---- every language ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_every_sentence_with_its_facts_and_forms(language: str) -> None:
    ours, theirs = merged("en"), merged(language)
    assert not ours.keys() ^ theirs.keys(), "in one of the two alone"
    assert not [key for key in ours if facts_in(ours[key]) != facts_in(theirs[key])], "with other facts"
    counted = [(key, forms) for key, text in theirs.items() for _, forms in PLACE.findall(text) if forms]
    assert not [key for key, forms in counted if forms.count("|") != RULES[language].forms], "as many forms as there are"
    assert not [key for key, text in theirs.items() if re.sub(PLACE, "", text).strip("{}") != re.sub(PLACE, "", text)]
    assert not [key for key, text in theirs.items() if not text.strip() or text != text.strip()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_stands_in_the_same_files(language: str) -> None:
    def named(of: str) -> set[str]:
        return {re.sub(rf"\b{of}\b(?=\.toml|/[a-z]+\.toml)", "*", str(file)) for file in files(of)}

    assert named(language) == named("en")


def test_a_sentence_is_shown_in_the_language_it_is_asked_for() -> None:
    said = Said.of("fields.named", kind=Said("kind.extension"), name="101")
    assert [words_of(each).say(said) for each in LANGUAGES] == ["extension 101", "Nebenstelle 101", "linka 101"]
    with pytest.raises(KeyError):
        words_of("xx")


def test_what_a_terminal_or_log_would_obey_is_written_out() -> None:
    assert printable("Anna Müller 漢") == "Anna Müller 漢"
    assert printable("a\nb\x1b[2J\u202e") == "a\\nb\\x1b[2J\\u202e"
