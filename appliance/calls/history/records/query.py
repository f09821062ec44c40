"""What is looked for in the call history: one query for page, API, portal and command line. Pure.

`CallQuery` is what somebody has asked for, as it stands in an address; `sought` makes of it what the index is asked (index.py): an expression of FTS5 (SQLite's
full-text search, its tokenizer "trigram") and a span of time. Everything that a call can be found by stands in one folded text per call, so
that whatever is combined, the database merges lists that are in the order of time already, and stops when a page is full:

    \\x01 result \\x01   \\x02 caller's number \\x03   \\x04 number that was called \\x05 …   "  word  word …" (numbers and names)

A trigram is the shortest that can be found; a word of one or two letters is found where a word begins, for two spaces stand before each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Literal, NamedTuple, get_args

from appliance.config.search import folded
from appliance.words import Said

Result = Literal["answered", "missed", "failed"]
Direction = Literal["made", "received"]
RESULTS: tuple[Result, ...] = get_args(Result)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

LONGEST = 100  # letters of what is typed
MOST_WORDS = 8
MOST_NUMBERS = 200  # of one person
CODE: Mapping[Result, str] = {"answered": "a", "missed": "m", "failed": "f"}
NORMAL, NO_RESPONSE, NOT_AUTHORISED = 16, 18, 57  # Q.850
NOTHING = '"\x01\x01\x01"'  # stands in no call


def result_of(outcome: str, cause: int, hung_up_by: str) -> Result:
    """What became of a call, as an administrator sorts calls: missed is what people did (nobody answered, busy, refused, the caller gave up);
    failed is what somebody should look at, a call that a fault has cut off too."""
    if outcome == "answered":
        return "failed" if hung_up_by == "system" and cause != NORMAL else "answered"
    return "failed" if outcome == "failed" or cause in (NO_RESPONSE, NOT_AUTHORISED) else "missed"


def folded_call(record: Mapping[str, Any]) -> str:
    """The text that one call is found by; keys are those of a call record."""
    called = {record["dialled"]: None, record["callee_number"]: None} | {one["number"]: None for one in record["people"]}
    names = [record["caller_name"], record["callee_name"], *(one["name"] for one in record["people"])]
    caller, numbers = plain(record["caller_number"]), [plain(number) for number in called if number]
    words = dict.fromkeys(plain(" ".join(filter(None, (caller, *numbers, *names)))).split())
    marks = f"\x01{CODE[result_of(record['outcome'], record['cause'], record['hung_up_by'])]}\x01\x02{caller}\x03"
    return marks + "".join(f"\x04{number}\x05" for number in numbers) + "".join(f"  {word}" for word in words)


def plain(text: str | None) -> str:
    """Folded, without the characters that mark places in the text of a call."""
    return "".join(letter for letter in folded(text or "") if letter >= " ")


class Sought(NamedTuple):
    """What the index is asked: an expression of FTS5 ("": everything) and a span of unix time, the end not in it."""

    expression: str = ""
    since: float = 0.0
    until: float = float("inf")


class BadQuery(Exception):
    """What was asked cannot be looked for; for the form or the caller of the API."""

    def __init__(self, field: str, said: Said) -> None:
        super().__init__(said.key)
        self.field, self.said = field, said


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuery:
    """Each field narrows the calls; "" or None: it does not. Days are those of the office."""

    q: str = ""  # words, in numbers and names
    first: date | None = None
    last: date | None = None
    result: Result | Literal[""] = ""
    extension: str = ""  # a number, whole
    person: str = ""  # id of a user: calls from and to the extensions that are theirs now
    direction: Direction | Literal[""] = ""  # seen from the extension or person

    @classmethod
    def read(cls, args: Mapping[str, str]) -> CallQuery:
        """From an address, a form or a request of the API: `from` and `to` are days as 2026-11-27. BadQuery for what makes no sense."""
        first, last = _day("from", args), _day("to", args)
        if first and last and last < first:
            raise BadQuery("to", Said.of("history.days-turned"))
        return cls(
            q=args.get("q", "").strip()[:LONGEST],
            first=first,
            last=last,
            result=_one_of("result", args, RESULTS),
            extension=args.get("extension", "").strip()[:LONGEST],
            person=args.get("person", "").strip()[:LONGEST],
            direction=_one_of("direction", args, DIRECTIONS),
        )

    @property
    def args(self) -> dict[str, str]:
        """The way back: what stands in an address."""
        names = {"first": "from", "last": "to"}
        return {names.get(f.name, f.name): str(value) for f in fields(self) if (value := getattr(self, f.name))}

    def sought(
        self, zone: tzinfo, numbers_of: Callable[[str], Collection[str]], own: Collection[str] | None = None
    ) -> Sought:
        """`zone`: of the office. `numbers_of`: the extension numbers of a user (id). `own`: only calls from and to these numbers, whatever else
        is asked; None: all."""
        parts = [_phrase(word) for word in plain(self.q).split()[:MOST_WORDS]]
        if self.result:
            parts.append(f'"\x01{CODE[self.result]}\x01"')
        direction = self.direction if self.extension or self.person or own is not None else ""
        for wanted, way in (
            ([self.extension] if self.extension else None, direction),
            (numbers_of(self.person) if self.person else None, direction),
            (own, direction if not (self.extension or self.person) else ""),
        ):
            if wanted is not None:
                parts.append(_numbers(wanted, way))
        since = _midnight(self.first, zone) if self.first else 0.0
        until = _midnight(self.last + timedelta(days=1), zone) if self.last else float("inf")
        return Sought(" AND ".join(parts), since, until)


def _phrase(word: str) -> str:
    """A word of a search: anywhere in a word of the call, of one or two letters at the beginning of one."""
    text = word if len(word) > 2 else " " * (3 - len(word)) + word
    return '"' + text.replace('"', '""') + '"'


def _numbers(numbers: Iterable[str], direction: str) -> str:
    marks: Sequence[tuple[str, str]] = {"made": [("\x02", "\x03")], "received": [("\x04", "\x05")]}.get(
        direction, [("\x02", "\x03"), ("\x04", "\x05")]
    )
    wanted = [plain(number).replace('"', '""') for number in list(numbers)[:MOST_NUMBERS]]
    return "(" + (" OR ".join(f'"{a}{number}{z}"' for number in wanted if number for a, z in marks) or NOTHING) + ")"


def _day(name: str, args: Mapping[str, str]) -> date | None:
    if not (typed := args.get(name, "").strip()):
        return None
    try:
        day = date.fromisoformat(typed)
    except ValueError:
        raise BadQuery(name, Said.of("history.no-day", typed=typed[:LONGEST])) from None
    if not 2000 <= day.year < 2200:
        raise BadQuery(name, Said.of("history.no-day", typed=typed[:LONGEST]))
    return day


def _one_of(name: str, args: Mapping[str, str], choices: Sequence[Any]) -> Any:
    if not (typed := args.get(name, "")):
        return ""
    if typed not in choices:
        raise BadQuery(name, Said.of("history.no-choice", typed=typed[:LONGEST]))
    return typed


def _midnight(day: date, zone: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
