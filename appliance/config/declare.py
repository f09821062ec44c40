"""What a record is declared with: field types, and kinds as one row and one class. Pure.

A kind of record is a class whose fields are `Annotated` with a field type, and a row `Kind` that says what the class cannot. Everything that
handles records reads these two: forms and command line (what is drawn, typed and said), the store (what is sealed), the use-cases (what no form
may change, what becomes of references), the check of a save (letters, references, numbers in use). Labels and help are sentences of the
catalogue by kind and field (`extension.ring-seconds`, `extension.ring-seconds-help`); a choice's are `extension.encrypt-off` and its `-help`.

Field types are in `fields`; this is their face too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance.config.claims import Claim, Claims
from appliance.config.fields import (
    Choice,
    Destination,
    Duration,
    FieldType,
    Language,
    Number,
    NumberPattern,
    Reference,
    Secret,
    Several,
    Text,
    TickBox,
    TimeOfDay,
)
from appliance.words import Listed, Said, english

__all__ = [
    "Choice",
    "Declared",
    "Destination",
    "Duration",
    "FieldType",
    "Group",
    "Kind",
    "Language",
    "Number",
    "NumberPattern",
    "Problem",
    "Record",
    "Records",
    "Reference",
    "Refused",
    "Secret",
    "Several",
    "Text",
    "TickBox",
    "TimeOfDay",
    "all_of",
]

Group = Literal["", "people", "telephones", "numbers", "services", "system"]  # places in the menu


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

    def taken(self, field: str, value: str) -> Said:
        """That another record has it."""
        return Said.of(f"{self.key(field)}-taken", name=value)

    def choice(self, field: str, value: str) -> tuple[Said, Said]:
        """A choice's word, and what it means."""
        return Said.of(self.key(field, f"-{value}")), Said.of(self.key(field, f"-{value}-help"))

    def tab(self, name: str) -> Said:
        """A tab's word."""
        return Said.of(self.key(f"tab-{name}"))

    def tabs(self) -> tuple[str, ...]:
        """Where its form shows fields, in the order of the fields."""
        return tuple(dict.fromkeys(kind.tab for kind in self.fields.values() if not kind.hidden))


class Record(BaseModel):
    """A row of the configuration. `id` is made with it and never used again. The kind's name is the class's in small letters, with a dash
    before each further word: `PermissionGroup` is a `permission-group`."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    declared: ClassVar[Declared]

    id: str = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        found = {name: info.metadata for name, info in cls.model_fields.items() if name != "id"}
        types = {name: next(each for each in all if isinstance(each, FieldType)) for name, all in found.items()}
        cls.declared = Declared(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower(), types)


R = TypeVar("R", bound=Record)


class Records(Protocol):
    """What claims and checks see of all records: the snapshot as it will be, without the one that is being saved."""

    def of(self, kind: str) -> Mapping[str, Record]:
        """Those of a kind, by id."""

    def having(self, kind: str, field: str, value: str) -> Iterable[Record]:
        """Those of a kind whose text, or one of whose references, is that; by an index, however many there are."""

    @property
    def claims(self) -> Claims: ...


def all_of(records: Records, record: type[R]) -> Mapping[str, R]:
    """Those of a kind, by its class."""
    return cast(Mapping[str, R], records.of(record.declared.kind))


def _no_claims(record: Any) -> Iterable[tuple[str, Claim]]:
    return ()


def _no_check(record: Any, rest: Records) -> Iterable[Problem]:
    return ()


def _no_rule(before: Any, after: Any, records: Records) -> Iterable[Problem]:
    return ()


def _no_name(values: Mapping[str, Any]) -> str:
    return ""


def _no_values(records: Any) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Kind(Generic[R]):
    """One row per kind."""

    record: type[R]
    named_by: str = "id"  # the field that people know one by
    owned_by: str = ""  # the reference that says which user it belongs to, by way of other records; "id": it is a user itself
    called: Callable[[R], str] | None = None  # how one is called in a sentence; None: by that field
    words: Callable[[R], Said] | None = None  # how one is called that the catalogue has a name for

    # How people come to them. `group` is the place in the menu, "" for none; lower `place` stands first in it.
    group: Group = ""
    place: int = 50
    icon: str = "list-details"
    plural: str = ""  # in addresses and commands; "": the name with an s
    parent: str = ""  # the reference of whose record's page they are a part
    columns: tuple[str, ...] = ()  # of the list, the first one leads to the record; () is `named_by`
    searched: tuple[str, ...] = ()  # fields whose words find one; of a reference those of what it leads to

    # Records that are there from the start, by id, as they are until one is stored; then these are all, and nobody adds or deletes one.
    always: Mapping[str, R] = field(default_factory=dict)

    # What the field types cannot know. Records are as they will be, without the one in question, but for `rule`, which sees all of them.
    claims: Callable[[R], Iterable[tuple[str, Claim]]] = _no_claims  # numbers that lead to it, each with its field
    check: Callable[[R, Records], Iterable[Problem]] = _no_check  # a field that is wrong already is not told again
    rule: Callable[[R | None, R | None, Records], Iterable[Problem]] = _no_rule  # of a change: before (None: new), after (None: gone)
    with_new: Mapping[str, Callable[[Any, Records, Callable[[], str]], Iterable[R]]] = field(
        default_factory=dict
    )  # what a new record of another kind comes with, by that kind's name; the last argument makes passwords
    suggest: Callable[[Records], Mapping[str, Any]] = _no_values  # values for a new one
    named_from: Callable[[Mapping[str, Any]], str] = _no_name  # what people know a new one by that was given everything but that

    @cached_property
    def name(self) -> str:
        return self.record.declared.kind

    @property
    def one(self) -> Said:
        return Said.of(f"kind.{self.name}")

    @property
    def many(self) -> Said:
        return Said.of(f"kind.{self.name}-many")

    @cached_property
    def path(self) -> str:
        return self.plural or f"{self.name}s"

    @cached_property
    def secrets(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.record.declared.fields.items() if kind.secret)

    @cached_property
    def hidden(self) -> frozenset[str]:
        return frozenset(name for name, kind in self.record.declared.fields.items() if kind.hidden)

    @cached_property
    def references(self) -> Mapping[str, Reference]:
        """Its fields that lead to other records, one or several of them."""
        found = {}
        for name, kind in self.record.declared.fields.items():
            inner = kind.of if isinstance(kind, Several) else kind
            if isinstance(inner, Reference):
                found[name] = inner
        return found

    def leads_to(self, record: R, field: str) -> tuple[str, ...]:
        """The ids in a reference."""
        value = getattr(record, field)
        return tuple(value) if isinstance(value, tuple) else (value,) if value else ()

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
    TimeOfDay: "time-of-day",
    Number: "number",
    Duration: "duration",
    TickBox: "tick",
    Destination: "destination",
}
