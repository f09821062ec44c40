"""An operation: one address and method, declared with all that its route, its check and its description need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import msgspec

from appliance.words import Said, Words
from webui import wording
from webui.api.callers import Caller
from webui.api.shapes import Types
from webui.desk import Desk

Method = Literal["GET", "POST", "PATCH", "DELETE"]
Text = Literal[
    "text/csv",
    "application/x-ndjson",
    "text/event-stream",
    "application/octet-stream",
    "application/json",
    "application/toml",
    "text/plain",
]


def moment(unix: float) -> datetime:
    """A time as it is answered: UTC, RFC 3339."""
    return datetime.fromtimestamp(unix, UTC)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No members."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. query and body are of the types that the operation declares (a body of a record is a mapping)."""

    here: Desk
    caller: Caller
    words: Words
    names: Mapping[str, str]  # what stands in the address
    query: Any
    body: Any
    if_match: str  # the mark in the If-Match header, "" for none

    def say(self, said: Said | str) -> str:
        return wording.say(said)


Do = Callable[[Asked], Any]
D = TypeVar("D", bound=Do)


@dataclass(frozen=True)
class Operation:
    name: str  # in the document, and for the programs that are made of it
    method: Method
    path: str  # below /api/v1, with {name} for what stands in the address
    may: str  # the right it needs, "VERB KIND"; the use-case asks for the rows and fields
    said: Said  # what it does
    do: Do | None  # None: it is answered beside Flask
    group: Said
    query: type[msgspec.Struct] = Nothing
    body: Any = None  # type of what is sent; None: nothing is
    taken: Callable[[Types], Any] | None = None  # the body's type with words, for the document; None: `body`
    answer: Any = None  # type of the answer; None: no contents
    given: Callable[[Types], Any] | None = None  # the same of the answer
    status: int = 200
    kind: Text | None = None  # of an answer that is no JSON object
    raw: Text | None = None  # of a body that is a file
    refuses: frozenset[int] = frozenset()  # beside what every operation may answer
    revision: bool = False  # takes If-Match
    examples: tuple[str, ...] = ()  # bodies, for the page about the API

    @property
    def rule(self) -> str:
        """For Flask."""
        return self.path.replace("{", "<").replace("}", ">")


@dataclass
class Operations:
    """Those of one part of the system, in the order of the document."""

    group: Said
    rows: list[Operation] = field(default_factory=list)

    def add(self, method: Method, path: str, *, may: str, said: Said, **more: Any) -> Callable[[D], D]:
        """Decorator: declare a function as an operation."""

        def register(do: D) -> D:
            name = more.pop("name", said.key.partition(".")[2])
            status = more.pop("status", 204 if not {"answer", "given", "kind"} & set(more) else 200)
            self.rows.append(Operation(name, method, path, may, said, do, self.group, status=status, **more))
            return do

        return register

    def beside(self, method: Method, path: str, *, name: str, may: str, said: Said, **more: Any) -> None:
        """Declare what is answered elsewhere."""
        self.rows.append(Operation(name, method, path, may, said, None, self.group, **more))

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.rows)
