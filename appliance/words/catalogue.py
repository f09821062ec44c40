"""One language: its patterns, and how it writes numbers, times, lists and plurals."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from functools import cache
from pathlib import Path

from appliance.words.said import Day, Duration, Fact, Instant, Listed, Person, PhoneNumber, Said

HERE = Path(__file__).parent
APPLIANCE = HERE.parent
PLACE = re.compile(r"\{([a-z_]+)((?:\|[^{}|]*)*)\}")
DEEPEST = 4  # sentences within sentences

Escape = Callable[[str], str]


def printable(text: str) -> str:
    """For a log or a terminal: what is no character to read is written as an escape sequence, so it neither ends a line nor moves a cursor."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


class UnknownSentence(KeyError):
    """No pattern has this key, or a fact that the pattern names is missing: a bug of ours."""


@dataclass(frozen=True)
class Rules:
    """What the words of a language need beside its patterns."""

    plural: Callable[[float], int]  # which of a pattern's forms
    forms: int
    both: str  # between the last two of a list
    either: str
    point: str  # of decimals
    months: tuple[str, ...]
    date: str  # of day, month and year
    units: tuple[tuple[str, ...], ...]  # days, hours, minutes, seconds, in their plural forms where they have any


def _czech(count: float) -> int:
    if count != int(count):
        return 1  # decimals go with the form of two to four
    return 0 if count == 1 else 1 if 2 <= count <= 4 else 2


_SHORT = (("h",), ("min",), ("s",))
RULES: Mapping[str, Rules] = {
    "en": Rules(
        lambda count: int(count != 1), 2, " and ", " or ", ".",
        ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"),
        "{day} {month} {year}", (("day", "days"), *_SHORT),
    ),
    "de": Rules(
        lambda count: int(count != 1), 2, " und ", " oder ", ",",
        ("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"),
        "{day}. {month} {year}", (("Tag", "Tage"), *_SHORT),
    ),
    "cs": Rules(
        _czech, 3, " a ", " nebo ", ",",
        ("ledna", "února", "března", "dubna", "května", "června", "července", "srpna", "září", "října", "listopadu", "prosince"),
        "{day}. {month} {year}", (("den", "dny", "dní"), *_SHORT),
    ),
}  # fmt: skip


LANGUAGES: Mapping[str, str] = {"en": "English", "de": "Deutsch", "cs": "čeština"}  # as each calls itself


def read(file: Path) -> dict[str, str]:
    """Key to pattern."""
    sections = tomllib.loads(file.read_text())
    return {f"{section}.{name}": text for section, rows in sections.items() for name, text in rows.items()}


class Words:
    """`otherwise` says what this language has no pattern for: a service of somebody else's may bring English alone."""

    def __init__(self, language: str, patterns: Mapping[str, str], otherwise: Words | None = None) -> None:
        self.language = language
        self.patterns = patterns
        self._rules = RULES[language]
        self._otherwise = otherwise

    def has(self, key: str) -> bool:
        return key in self.patterns or (self._otherwise is not None and self._otherwise.has(key))

    def pattern(self, key: str) -> str:
        """As it stands in the catalogue, for whoever fills it in elsewhere: the page's scripts."""
        found = self.patterns.get(key)
        if found is None and self._otherwise is not None:
            return self._otherwise.pattern(key)
        if found is None:
            raise UnknownSentence(key)
        return found

    def say(self, said: Said, *, escape: Escape = str, zone: tzinfo | None = None) -> str:
        """The sentence. `escape` is applied to every fact, not to the words around it; `zone` is the office's (None: this machine's)."""
        return self._say(said, escape, zone, 0)

    def say_any(self, said: Said, *, escape: Escape = str, zone: tzinfo | None = None) -> str:
        """The same of what was stored, perhaps by another version: of a sentence that this one does not know, only that."""
        try:
            return self.say(said, escape=escape, zone=zone)
        except UnknownSentence:
            return self.say(Said("stored.unreadable"), escape=escape, zone=zone)

    def _say(self, said: Said, escape: Escape, zone: tzinfo | None, depth: int) -> str:
        pattern = self.patterns.get(said.key)
        if pattern is None and self._otherwise is not None:
            return self._otherwise._say(said, escape, zone, depth)
        if pattern is None or depth > DEEPEST:
            raise UnknownSentence(said.key)

        def fill(match: re.Match[str]) -> str:
            name, forms = match[1], match[2].split("|")[1:]
            if name not in said.facts:
                raise UnknownSentence(f"{said.key}: {name}")
            fact = said.facts[name]
            if not forms:
                return self._fact(fact, escape, zone, depth)
            if not isinstance(fact, int | float) or len(forms) != self._rules.forms:
                raise UnknownSentence(f"{said.key}: {name}")
            return forms[self._rules.plural(fact)].replace("#", self.number(fact))

        return PLACE.sub(fill, pattern)

    def _fact(self, fact: Fact, escape: Escape, zone: tzinfo | None, depth: int) -> str:
        match fact:
            case Said():
                return self._say(fact, escape, zone, depth + 1)
            case Listed(facts=facts, any=either):
                parts = [self._fact(each, escape, zone, depth) for each in facts]
                last = self._rules.either if either else self._rules.both
                return last.join([*([", ".join(parts[:-1])] if parts[1:] else []), *parts[-1:]])
            case Duration(seconds=seconds):
                return self.duration(seconds)
            case Instant(unix=unix):
                return self._instant(datetime.fromtimestamp(unix, zone))
            case Day(iso=iso):
                return self.day(date.fromisoformat(iso))
            case PhoneNumber(digits=digits):
                return escape(digits)
            case Person(name=name, number=number):
                return escape(f"{name} ({number})" if name and number else name or number)
            case int() | float():
                return self.number(fact)
        return escape(fact)

    def number(self, value: float) -> str:
        """Whole, or with one decimal."""
        if value == int(value):
            return str(int(value))
        return f"{value:.1f}".replace(".", self._rules.point)

    def duration(self, seconds: float) -> str:
        """A length of time in its two largest units: 3 days 4 h, 5 min 10 s. What has begun does not count: 59.9 s are 59 s."""
        whole = max(0, int(seconds))
        counts = (whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60)
        first = next((n for n, count in enumerate(counts) if count), 3)
        shown = list(zip(counts, self._rules.units, strict=True))[first : first + 2]
        return " ".join(f"{count} {forms[min(self._rules.plural(count), len(forms) - 1)]}" for count, forms in shown)

    def _instant(self, at: datetime) -> str:
        return f"{self.day(at)}, {at:%H:%M}"

    def day(self, at: date) -> str:
        rules = self._rules
        return rules.date.format(day=at.day, month=rules.months[at.month - 1], year=at.year)


def files(language: str, appliance: Path = APPLIANCE) -> list[Path]:
    """Its catalogue: a file per area beside this one, and what stands beside the kinds of records and in the folders of the services."""
    return [
        *sorted((appliance / "words" / language).glob("*.toml")),
        *sorted((appliance / "config" / "kinds").glob(f"*.{language}.toml")),
        *sorted((appliance / "config" / "kinds").glob(f"*/{language}.toml")),
        *sorted((appliance / "services").glob(f"*/{language}.toml")),
    ]


def merged(language: str, appliance: Path = APPLIANCE) -> dict[str, str]:
    """Key to pattern, of all its files. ValueError: two have the same section, or a service's has another than its folder's name.

    Each kind of record adds its own names to [kind]."""
    patterns: dict[str, str] = {}
    whose: dict[str, Path] = {}
    for file in files(language, appliance):
        found = read(file)
        sections = {key.partition(".")[0] for key in found} - {"kind"}
        if file.parent.parent == appliance / "services" and not sections <= {file.parent.name}:
            raise ValueError(f"{file}: the sentences of a service stand under [{file.parent.name}]")
        for section in sections & whose.keys():
            raise ValueError(f"{file}: [{section}] stands in {whose[section]} already")
        for key in found.keys() & patterns.keys():
            raise ValueError(f"{file}: {key} is somebody else's")
        whose |= dict.fromkeys(sections, file)
        patterns |= found
    return patterns


@cache
def words_of(language: str) -> Words:
    """KeyError: not one of `LANGUAGES`."""
    if language == "en":
        return Words("en", merged("en"))
    return Words(language, merged(language), words_of("en"))


def english() -> Words:
    return words_of("en")


class Explained(Exception):
    """A failure that people are told of: `said` at the edge, in their language; in a log, in English."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self.said = said

    def __str__(self) -> str:
        return english().say(self.said)
