"""Form fields from the declarations of the records: label, help, limits and choices are said once, in `appliance.config.model`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotated_types import Ge, Le, MaxLen

from appliance.config.model import Problem, Record

# How a choice is said to people.
CHOICES: Mapping[str, tuple[str, str]] = {
    "required": ("Required", "Phones must register over TLS and talk over SRTP; anything else is refused."),
    "preferred": ("Preferred", "Encrypted whenever the phone can."),
    "off": ("Off", "Never encrypted. Only for phones that cannot."),
    "none": ("None", "May not log in to this page."),
    "read-only": ("Read only", "May look at everything, change nothing."),
    "full": ("Full", "May change everything."),
}


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
    kind: Literal["text", "number", "choice", "select", "password"] = "text"
    problem: str = ""
    options: tuple[Option, ...] = ()
    least: int | None = None
    most: int | None = None
    longest: int | None = None
    unit: str = ""
    required: bool = False
    autocomplete: str = "off"

    @property
    def id(self) -> str:
        return f"field-{self.name}"


def problems_by_field(problems: Iterable[Problem]) -> dict[str, str]:
    """Field name -> its problems in one text; "" holds those of the whole record."""
    found: dict[str, str] = {}
    for problem in problems:
        found[problem.field] = (
            f"{found[problem.field]} {problem.message}" if problem.field in found else problem.message
        )
    return found


def fields_of(
    record: type[Record],
    values: Mapping[str, Any],
    problems: Iterable[Problem] = (),
    *,
    options: Mapping[str, Sequence[Option]] | None = None,
) -> dict[str, Field]:
    """The visible fields of a kind, filled with values (typed text or a record's own)."""
    wrong = problems_by_field(problems)
    made: dict[str, Field] = {}
    for name, info in record.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        if extra.get("hidden"):
            continue
        limits = {type(limit): limit for limit in info.metadata}
        chosen = tuple((options or {}).get(name, ())) or _choices(info.annotation)
        value = values.get(name, info.default)
        made[name] = Field(
            name=name,
            label=info.title or name.replace("_", " ").capitalize(),
            help=info.description or "",
            value="" if value is None else str(value),
            kind="select"
            if name in (options or {})
            else "choice"
            if chosen
            else "number"
            if info.annotation is int
            else "text",
            problem=wrong.get(name, ""),
            options=chosen,
            least=limits[Ge].ge if Ge in limits else None,
            most=limits[Le].le if Le in limits else None,
            longest=limits[MaxLen].max_length if MaxLen in limits else None,
            unit="seconds" if name.endswith("_seconds") else "",
        )
    return made


def _choices(annotation: Any) -> tuple[Option, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is not Literal:
        return ()
    return tuple(
        Option(str(value), *CHOICES.get(str(value), (str(value).capitalize(), "")))
        for value in typing.get_args(annotation)
    )


def values_of(record: Record) -> dict[str, Any]:
    return record.model_dump()


def typed(form: Mapping[str, str], record: type[Record], *names: str) -> dict[str, str]:
    """What was typed into the named fields of a kind (all visible ones when none is named)."""
    wanted = names or tuple(fields_of(record, {}))
    return {name: form[name].strip() for name in wanted if name in form}
