"""Form fields from the declarations of the records: type, label, help, limits and choices are said once, in `appliance.config.kinds`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from appliance.config.declare import Choice, Declared, Duration, FieldType, Number, Text, TickBox
from appliance.config.model import Problem, Record
from appliance.words import Said
from webui.wording import say

Kind = Literal["text", "number", "tick", "choice", "select", "password"]


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: str
    help: str = ""


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
    options: Mapping[str, Sequence[Option]] | None = None,
) -> dict[str, Field]:
    """The visible fields of a kind, filled with values (typed text or a record's own)."""
    wrong, declared = problems_by_field(problems), record.declared
    made: dict[str, Field] = {}
    for name, field in declared.fields.items():
        if field.hidden:
            continue
        chosen = tuple((options or {}).get(name, ())) or _choices(declared, name, field)
        made[name] = Field(
            name=name,
            label=say(declared.label(name)),
            help=say(declared.help(name)),
            value=field.text(values.get(name, record.model_fields[name].default)),
            kind="select" if name in (options or {}) else _drawn_as(field),
            problem=wrong.get(name, ""),
            options=chosen,
            least=field.least if type(field) is Number else None,
            most=field.most if type(field) is Number else None,
            longest=field.most if isinstance(field, Text) else None,
        )
    return made


def _drawn_as(field: FieldType) -> Kind:
    match field:
        case Choice():
            return "choice"
        case TickBox():
            return "tick"
        case Number() if not isinstance(field, Duration):
            return "number"
    return "text"


def _choices(declared: Declared, name: str, field: FieldType) -> tuple[Option, ...]:
    def option(value: str, word: Said, meaning: Said) -> Option:
        return Option(value, say(word), say(meaning))

    values = field.values if isinstance(field, Choice) else ()
    return tuple(option(value, *declared.choice(name, value)) for value in values)


def values_of(record: Record) -> dict[str, Any]:
    return record.model_dump()


def typed(form: Mapping[str, str], record: type[Record], *names: str) -> dict[str, str]:
    """What was typed into the named fields of a kind (all visible ones when none is named)."""
    wanted = names or tuple(fields_of(record, {}))
    return {name: form[name].strip() for name in wanted if name in form}
