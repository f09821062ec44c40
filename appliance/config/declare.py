"""What a record is declared with: field types, and kinds as one row and one class. Pure.

A kind of record is a class whose fields are `Annotated` with a field type, and a row `Kind` that says what the class cannot. Everything that
handles records reads these two: forms and command line (what is drawn, typed and said), the store (what is sealed), the use-cases (what no form
may change, what becomes of references), the check of a save (letters, references, numbers in use). Labels and help are sentences of the
catalogue by kind and field (`extension.ring-seconds`, `extension.ring-seconds-help`); a choice's are `extension.encrypt-off` and its `-help`.

A field type knows three forms of a value: as it is stored, as it is typed and shown in a form (`text`, `read` is the way back), and as a fact
of a sentence (`fact`). Typed text may be given wherever a value may, so a record is made of a form as it came.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

from annotated_types import Ge, GroupedMetadata, Le, MaxLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from appliance.config import claims
from appliance.config.claims import Claim, Claims
from appliance.words import Duration as Lasting
from appliance.words import Fact, Listed, Said, english

Gone = Literal[
    "clear", "take along", "refuse"
]  # what becomes of a reference, or of who refers, when what it leads to is deleted


# ---- what a value is not -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record cannot be saved. field is "" when it is about the whole record."""

    field: str
    said: Said | str  # a text is a sentence that stands in no catalogue yet

    @property
    def message(self) -> str:
        return self.said if isinstance(self.said, str) else english().say(self.said)


class Refused(Exception):
    """The administrator's input cannot be taken; nothing was changed. Shown at the fields.

    values: what the form should show now, where that is more than what was typed."""

    def __init__(self, *problems: Problem, values: Mapping[str, Any] | None = None) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
        self.values = values


# ---- field types -------------------------------------------------------------------------------------------------------


def _anything(text: str) -> object:
    return True


@dataclass(frozen=True, kw_only=True)
class FieldType(GroupedMetadata):
    """What all have: `hidden` fields have a use-case of their own and are in no form; `personal` ones may be changed by who owns the record."""

    hidden: bool = False
    personal: bool = False
    secret: ClassVar[bool] = False  # never in logs, journal or export in clear; sealed on the disk

    def __iter__(self) -> Iterator[object]:
        """What pydantic checks while it makes a record: as much as every stored value ever kept to."""
        yield from ()

    def fits(self, value: Any) -> bool:
        """Whether it may be saved; said as KIND.FIELD-wrong. A value that was stored may not, when this was less strict then."""
        return True

    def read(self, value: Any) -> Any:
        """What was typed becomes a value; anything else goes through."""
        return value

    def text(self, value: Any) -> str:
        """As a form shows it; typed text stays as it was typed."""
        return "" if value is None else str(value)

    def fact(self, value: Any) -> Fact:
        return self.text(value)


@dataclass(frozen=True)
class Text(FieldType):
    most: int = 200  # characters
    letters: Callable[[str], object] = _anything  # whether it has only letters that may stand here

    def __iter__(self) -> Iterator[object]:
        yield MaxLen(self.most)

    def fits(self, value: Any) -> bool:
        return bool(self.letters(value))


@dataclass(frozen=True)
class NumberPattern(Text):
    """What is dialled: digits, and * and # where `letters` says so."""


@dataclass(frozen=True)
class Secret(Text):
    secret: ClassVar[bool] = True


@dataclass(frozen=True)
class Number(FieldType):
    least: int
    most: int

    def __iter__(self) -> Iterator[object]:
        yield from (Ge(self.least), Le(self.most))

    def fact(self, value: Any) -> Fact:
        return value if isinstance(value, int) else self.text(value)


@dataclass(frozen=True)
class Duration(Number):
    """Whole seconds. Typed and shown as people write it: 90 s, 1:30 min, 1 h 30 min."""

    _TYPED: ClassVar = re.compile(
        r"(?:(\d{1,4}) ?h)? ?(?:(\d{1,5})(?: ?min|:([0-5]\d)(?: ?min)?))? ?(?:(\d{1,6}) ?s)?", re.ASCII
    )

    def __iter__(self) -> Iterator[object]:
        yield from (BeforeValidator(self.read), *super().__iter__())

    def read(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        typed = " ".join(value.split()).lower()
        if re.fullmatch(r"\d{1,6}", typed, re.ASCII):
            return int(typed)
        found = self._TYPED.fullmatch(typed)
        if found is None or not any(found.groups()) or (found[3] and found[4]):
            raise PydanticCustomError("duration", "no length of time")
        hours, minutes, seconds, alone = (int(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds + alone

    def text(self, value: Any) -> str:
        if not isinstance(value, int):
            return super().text(value)
        if value < 100:
            return f"{value} s"
        minutes, seconds = divmod(value % 3600, 60)
        parts = (
            f"{value // 3600} h" if value >= 3600 else "",
            f"{minutes}:{seconds:02} min" if seconds else f"{minutes} min" if minutes else "",
        )
        return " ".join(filter(None, parts))

    def fact(self, value: Any) -> Fact:
        return Lasting(value) if isinstance(value, int) else self.text(value)


@dataclass(frozen=True)
class TickBox(FieldType):
    """bool. A form sends "yes", or "no" of the field that stands behind the box, for a box without a tick sends nothing."""

    def text(self, value: Any) -> str:
        return ("yes" if value else "no") if isinstance(value, bool) else super().text(value)

    def read(self, value: Any) -> Any:
        return {"yes": True, "no": False}.get(value, value) if isinstance(value, str) else value

    def fact(self, value: Any) -> Fact:
        return Said.of("fields.ticked") if self.read(value) is True else Said.of("fields.not-ticked")


@dataclass(frozen=True)
class Choice(FieldType):
    """One of a few words, which the catalogue says to people. `of` is their Literal."""

    of: Any

    @property
    def values(self) -> tuple[str, ...]:
        return typing.get_args(self.of)


@dataclass(frozen=True)
class Reference(FieldType):
    """The id of a record of another kind, "" for none."""

    kind: str
    gone: Gone
    required: bool = False


@dataclass(frozen=True)
class Destination(FieldType):
    """Where something is sent to: `claims.Destination | None`. Typed as KIND:ID; what claims a number can be sent to."""

    def __iter__(self) -> Iterator[object]:
        yield BeforeValidator(self.read)

    def read(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        kind, _, id = value.partition(":")
        if value and not (kind and id):
            raise PydanticCustomError("destination", "no destination")
        return claims.Destination(kind, id) if value else None

    def text(self, value: Any) -> str:
        return ":".join(value) if isinstance(value, tuple | list) else super().text(value)


# ---- records -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Declared:
    """What a record's class says of itself: its kind's name, its fields in order, and their words."""

    kind: str
    fields: Mapping[str, FieldType]  # without the id

    def key(self, field: str, behind: str = "") -> str:
        return f"{self.kind}.{field.replace('_', '-')}{behind}"

    def label(self, field: str) -> Said:
        return Said.of(self.key(field))

    def help(self, field: str) -> Said:
        return Said.of(self.key(field, "-help"))

    def wrong(self, field: str) -> Said:
        """What the field has to be like."""
        return Said.of(self.key(field, "-wrong"))

    def choice(self, field: str, value: str) -> tuple[Said, Said]:
        """A choice's word, and what it means."""
        return Said.of(self.key(field, f"-{value}")), Said.of(self.key(field, f"-{value}-help"))


class Record(BaseModel):
    """A row of the configuration. `id` is made by the store and never reused. The kind's name is the class's in small letters."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    declared: ClassVar[Declared]

    id: str = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        found = {name: info.metadata for name, info in cls.model_fields.items() if name != "id"}
        types = {name: next(each for each in all if isinstance(each, FieldType)) for name, all in found.items()}
        cls.declared = Declared(cls.__name__.lower(), types)


R = TypeVar("R", bound=Record)


class Records(Protocol):
    """What claims and checks see of all records: the snapshot without the one that is being saved."""

    def of(self, kind: str) -> Mapping[str, Record]:
        """Those of a kind, by id."""

    @property
    def claims(self) -> Claims: ...


def all_of(records: Records, record: type[R]) -> Mapping[str, R]:
    """Those of a kind, by its class."""
    return cast(Mapping[str, R], records.of(record.declared.kind))


def _no_claims(record: Any) -> Iterable[tuple[str, Claim]]:
    return ()


def _no_check(record: Any, rest: Records) -> Iterable[Problem]:
    return ()


@dataclass(frozen=True)
class Kind(Generic[R]):
    """One row per kind."""

    record: type[R]
    named_by: str = "id"  # the field that people know one by
    owned_by: str = ""  # the reference that says which user it belongs to, by way of other records; "id": it is a user itself
    called: Callable[[R], str] | None = None  # how one is called in a sentence; None: by that field
    # Records that are there from the start, by id, as they are until one is stored; then these are all, and nobody adds or deletes one.
    always: Mapping[str, R] = field(default_factory=dict)
    claims: Callable[[R], Iterable[tuple[str, Claim]]] = (
        _no_claims  # numbers that lead to it, each with the field it stands in
    )
    check: Callable[[R, Records], Iterable[Problem]] = (
        _no_check  # what the field types cannot know; fields that are wrong already are not told again
    )

    @cached_property
    def name(self) -> str:
        return self.record.declared.kind

    @cached_property
    def secrets(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.record.declared.fields.items() if kind.secret)

    @cached_property
    def hidden(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.record.declared.fields.items() if kind.hidden)

    @cached_property
    def references(self) -> Mapping[str, Reference]:
        return {name: kind for name, kind in self.record.declared.fields.items() if isinstance(kind, Reference)}

    def name_of(self, record: R) -> str:
        return self.called(record) if self.called else str(getattr(record, self.named_by))

    def make(self, values: Mapping[str, Any]) -> R:
        """Refused with a problem per field when values do not fit."""
        try:
            return self.record(**values)
        except ValidationError as error:
            raise Refused(*(_problem(self.record, detail) for detail in error.errors())) from None


def _problem(record: type[Record], detail: Any) -> Problem:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    kind, context = record.declared.fields.get(name), detail.get("ctx", {})
    if kind is None:
        return Problem(name, Said.of("fields.no-field", name=name))
    field = record.declared.label(name)
    match detail["type"]:
        case "string_too_long":
            said = Said.of("fields.too-long", field=field, most=context["max_length"])
        case "greater_than_equal":
            said = Said.of("fields.at-least", field=field, least=kind.fact(context["ge"]))
        case "less_than_equal":
            said = Said.of("fields.at-most", field=field, most=kind.fact(context["le"]))
        case "literal_error" if isinstance(kind, Choice):
            said = Said.of(
                "fields.one-of", field=field, choices=Listed(tuple(f"'{value}'" for value in kind.values), any=True)
            )
        case _:
            said = Said.of(f"fields.no-{_MISREAD.get(type(kind), 'value')}", field=field)
    return Problem(name, said)


# How it is said that what was typed is no value of the field.
_MISREAD: Mapping[type[FieldType], str] = {
    Number: "number",
    Duration: "duration",
    TickBox: "tick",
    Destination: "destination",
}
