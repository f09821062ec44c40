"""Form fields from the declarations of the records: type, label, help, limits and choices are said once, in `appliance.config.kinds`.

A field that leads to another record is a list to choose from as long as there are few, and otherwise a box to type into that finds while one
types (`webui.records.pick`). What is typed there is a name; whoever has no script types it whole, and is asked when several fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from werkzeug.datastructures import MultiDict

from appliance.config import declare
from appliance.config.declare import (
    Choice,
    Declared,
    Destination,
    Duration,
    FieldType,
    Number,
    Reference,
    Secret,
    Several,
    Text,
    TickBox,
)
from appliance.config.model import KINDS, Problem, Record, Snapshot
from appliance.words import Said
from webui.records.named import few, leads_to, resolve
from webui.wording import capital, say

Kind = Literal["text", "number", "tick", "choice", "select", "password", "lines", "time", "pick", "secret", "ticks"]
FIRST_TAB = "general"


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Versions:
    """A field that somebody else has changed since the form was drawn: what it was then, what it is now, as text, and as it is read."""

    who: str
    before: str
    theirs: str
    before_said: str
    theirs_said: str
    yours_said: str


@dataclass(frozen=True, slots=True)
class Field:
    """One input as a template draws it."""

    name: str
    label: str
    help: str = ""
    value: str = ""
    kind: Kind = "text"
    problem: str = ""
    options: tuple[Option, ...] = ()
    least: int | None = None
    most: int | None = None
    longest: int | None = None
    required: bool = False
    autocomplete: str = "off"
    tab: str = FIRST_TAB
    shown: str = ""  # of a picker: what stands in its box
    picks: str = ""  # of a picker: where it looks, a kind or "destination"
    narrow: bool = False
    versions: Versions | None = None

    @property
    def id(self) -> str:
        return f"field-{self.name}"


def problems_by_field(problems: Iterable[Problem]) -> dict[str, str]:
    """Field name -> its problems in one text; "" holds those of the whole record."""
    found: dict[str, str] = {}
    for problem in problems:
        words = say(problem.said)
        found[problem.field] = f"{found[problem.field]} {words}" if problem.field in found else words
    return found


def fields_of(
    record: type[Record],
    values: Mapping[str, Any],
    problems: Iterable[Problem] = (),
    *,
    snapshot: Snapshot | None = None,
    options: Mapping[str, Sequence[Option]] | None = None,
    versions: Mapping[str, Versions] | None = None,
) -> dict[str, Field]:
    """The visible fields of a kind, filled with values (typed text or a record's own). With a snapshot, references can be chosen."""
    wrong, declared = problems_by_field(problems), record.declared
    made: dict[str, Field] = {}
    for name, field in declared.fields.items():
        if field.hidden:
            continue
        value = values.get(name, record.model_fields[name].default)
        chosen = tuple((options or {}).get(name, ())) or _choices(declared, name, field, snapshot, value)
        picks = _picks(field) if snapshot is not None and not chosen else ""
        made[name] = Field(
            name=name,
            label=say(declared.label(name)),
            help=say(declared.help(name)),
            value=field.text(value),
            kind="pick" if picks else _drawn_as(field, chosen),
            problem=wrong.get(name, ""),
            options=chosen,
            least=field.least if type(field) is Number else None,
            most=field.most if type(field) is Number else None,
            longest=field.most if isinstance(field, Text) else None,
            required=isinstance(field, Reference) and field.required,
            tab=field.tab,
            shown=leads_to(field, field.text(value), snapshot) if picks and snapshot is not None else "",
            picks=picks,
            narrow=isinstance(field, declare.NumberPattern | Number | declare.TimeOfDay),
            versions=(versions or {}).get(name),
        )
    return made


def tabs_of(fields: Mapping[str, Field]) -> dict[str, list[Field]]:
    """Tab -> its fields, both in the order of the declaration."""
    found: dict[str, list[Field]] = {}
    for field in fields.values():
        found.setdefault(field.tab, []).append(field)
    return found


def _drawn_as(field: FieldType, options: Sequence[Option]) -> Kind:
    match field:
        case Choice():
            return "choice" if len(options) <= 5 or any(option.help for option in options) else "select"
        case Several() if options or isinstance(field.of, Reference):
            return "ticks"
        case _ if options:
            return "select"
        case TickBox():
            return "tick"
        case Number() if not isinstance(field, Duration):
            return "number"
        case Several():
            return "lines"
        case Secret():
            return "secret"
    return "time" if isinstance(field, declare.TimeOfDay) else "text"


def _picks(field: FieldType) -> str:
    match field:
        case Reference(kind=kind):
            return kind
        case Destination():
            return "destination"
    return ""


def _choices(declared: Declared, name: str, field: FieldType, snapshot: Snapshot | None, value: Any) -> tuple[Option, ...]:
    if isinstance(field, declare.Language):
        return tuple(Option(each, say(cast(Said, field.fact(each)))) for each in field.values)
    if isinstance(field, Choice):
        return tuple(Option(each, *map(say, declared.choice(name, each))) for each in field.values)
    if isinstance(field, Several):
        return _ticks(field.of, snapshot)
    if snapshot is None or not isinstance(field, Reference | Destination) or (found := few(field, snapshot)) is None:
        return ()
    none = () if isinstance(field, Reference) and field.required and value else (Option("", say(Said("records.none"))),)
    return (*none, *(Option(key, label) for key, label in found))


def _ticks(field: FieldType, snapshot: Snapshot | None) -> tuple[Option, ...]:
    """What several of may be ticked, where those are known and few."""
    if isinstance(field, Reference) and snapshot is not None:
        return tuple(Option(key, label) for key, label in few(field, snapshot) or ())
    values = getattr(field, "values", ())
    facts = [(value, field.fact(value)) for value in values]
    return tuple(Option(value, capital(say(fact)) if isinstance(fact, Said) else str(fact)) for value, fact in facts)


def _sent(form: Mapping[str, str], name: str) -> str:
    """What was typed into a field; of boxes that can be ticked those that are, one a line."""
    every = form.getlist(name) if isinstance(form, MultiDict) else [form[name]]
    return "\n".join(filter(None, (each.strip() for each in every)))


def values_of(record: Record) -> dict[str, Any]:
    return record.model_dump()


def typed(form: Mapping[str, str], record: type[Record], *names: str, snapshot: Snapshot | None = None) -> dict[str, str]:
    """What was typed into the named fields of a kind (all visible ones when none is named); a name in a picker becomes what it names.
    Refused when that is not one record."""
    fields = record.declared.fields
    wanted = names or tuple(name for name, field in fields.items() if not field.hidden)
    found = {
        name: _sent(form, name) if isinstance(fields.get(name), Several) else form[name].strip() for name in wanted if name in form
    }
    problems: list[Problem] = []
    for name, text in found.items():
        field = fields.get(name)
        if snapshot is None or not isinstance(field, Reference | Destination) or not text:
            continue
        key, _, was = form.get(f"{name}.was", "").partition(" ")
        if text == was:
            found[name] = key
            continue
        exact, said = resolve(field, text, snapshot)
        if said is None:
            found[name] = exact
        else:
            problems.append(Problem(name, said))
    if problems:
        raise declare.Refused(*problems, values=found)
    return found


def chosen(form: Mapping[str, str], values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The values to save of a form that showed conflicts: of each field either what is typed, what somebody else made of it, or what it was."""
    kept = dict(values)
    for name in names:
        match form.get(f"{name}.take", "yours"):
            case "theirs":
                kept.pop(name, None)
            case "before":
                kept[name] = form.get(f"{name}.before", "")
    return kept


def children(kind: str) -> list[str]:
    """The kinds whose records are parts of this one's page."""
    return [
        name
        for name, row in KINDS.items()
        if row.parent and isinstance(field := row.record.declared.fields.get(row.parent), Reference) and field.kind == kind
    ]
