"""Field types: what a value of a field may be, how it is typed, and how it is told. Pure.

A field type knows three forms of a value: as it is stored, as it is typed and shown in a form (`text`, `read` is the way back), and as a fact
of a sentence (`fact`). Typed text may be given wherever a value may, so a record is made of a form as it came.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from annotated_types import Ge, GroupedMetadata, Le, MaxLen
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from appliance.config import claims
from appliance.words import LANGUAGES, Fact, Listed, Said
from appliance.words import Duration as Lasting

# What becomes of a reference, or of who refers, when what it leads to is deleted.
Gone = Literal["clear", "take along", "refuse"]


def _anything(text: str) -> object:
    return True


@dataclass(frozen=True, kw_only=True)
class FieldType(GroupedMetadata):
    """What all have: `hidden` fields have a use-case of their own and are in no form; `personal` ones belong to the person who owns the
    record, who may change them, not to the office (its text export and its undo leave them out); `forgotten` ones no undo brings back."""

    hidden: bool = False
    personal: bool = False
    forgotten: bool = False
    tab: str = "general"  # where a form shows it: KIND.tab-NAME
    examples: tuple[Any, ...] = ()  # values it may have, for documents and tests; of some types it is clear without
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

    def tried(self) -> tuple[Any, ...]:
        """Values it may have, the shortest or smallest first."""
        return self.examples


def _same(text: str) -> str:
    return text


@dataclass(frozen=True)
class Text(FieldType):
    most: int = 200  # characters
    letters: Callable[[str], object] = _anything  # whether it has only letters that may stand here
    unique: bool = field(default=False, kw_only=True)  # no two records of the kind have the same; said as KIND.FIELD-taken
    compared: Callable[[str], str] = field(default=_same, kw_only=True)  # what is the same

    def __iter__(self) -> Iterator[object]:
        yield MaxLen(self.most)

    def tried(self) -> tuple[Any, ...]:
        return self.examples or (("", "Empfang Süd") if self.letters is _anything else ())

    def fits(self, value: Any) -> bool:
        return bool(self.letters(value))


@dataclass(frozen=True)
class NumberPattern(Text):
    """What is dialled: digits, and * and # where `letters` says so."""


@dataclass(frozen=True)
class Secret(Text):
    secret: ClassVar[bool] = True
    made: bool = field(default=False, kw_only=True)  # for a new record that is given none


@dataclass(frozen=True)
class Number(FieldType):
    least: int
    most: int

    def __iter__(self) -> Iterator[object]:
        yield from (Ge(self.least), Le(self.most))

    def fact(self, value: Any) -> Fact:
        return value if isinstance(value, int) else self.text(value)

    def tried(self) -> tuple[Any, ...]:
        return self.examples or (self.least, self.most)


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

    def tried(self) -> tuple[Any, ...]:
        return (False, True)


@dataclass(frozen=True)
class Choice(FieldType):
    """One of a few words, which the catalogue says to people. `of` is their Literal."""

    of: Any

    @property
    def values(self) -> tuple[str, ...]:
        return typing.get_args(self.of)

    def tried(self) -> tuple[Any, ...]:
        return self.values


@dataclass(frozen=True)
class Language(FieldType):
    """One that this system speaks, "" for what `none` says: that of the office, or what each browser asks for. Their words are
    `language.CODE`, `language.office`, `language.browser`."""

    none: str = field(default="office", kw_only=True)

    @property
    def values(self) -> tuple[str, ...]:
        return ("", *LANGUAGES)

    def fits(self, value: Any) -> bool:
        return value in self.values

    def fact(self, value: Any) -> Fact:
        return Said.of(f"language.{value or self.none}") if value in self.values else self.text(value)

    def tried(self) -> tuple[Any, ...]:
        return self.values


@dataclass(frozen=True)
class TimeOfDay(FieldType):
    """HH:MM on the office's clock, "" for none. Typed 8:30 or 08:30."""

    _TYPED: ClassVar = re.compile(r"([01]?\d|2[0-3])[:.]([0-5]\d)", re.ASCII)

    def __iter__(self) -> Iterator[object]:
        yield BeforeValidator(self.read)

    def read(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.strip():
            return value
        found = self._TYPED.fullmatch(value.strip())
        if found is None:
            raise PydanticCustomError("time-of-day", "no time of day")
        return f"{int(found[1]):02}:{found[2]}"

    def tried(self) -> tuple[Any, ...]:
        return self.examples or ("", "00:00", "08:30")


@dataclass(frozen=True)
class Reference(FieldType):
    """The id of a record of another kind, "" for none."""

    kind: str
    gone: Gone
    required: bool = False

    def tried(self) -> tuple[Any, ...]:
        return () if self.required else ("",)


@dataclass(frozen=True)
class Several(FieldType):
    """Some values of one type in their order, none twice: a tuple. Typed one per line, or with commas between."""

    of: FieldType
    most: int = 50  # values

    def __iter__(self) -> Iterator[object]:
        yield from (BeforeValidator(self.read), MaxLen(self.most))

    def fits(self, value: Any) -> bool:
        return all(self.of.fits(each) for each in value)

    def read(self, value: Any) -> Any:
        if isinstance(value, str):
            value = [each.strip() for each in re.split(r"[\n,]", value) if each.strip()]
        return list(dict.fromkeys(self.of.read(each) for each in value)) if isinstance(value, list | tuple) else value

    def text(self, value: Any) -> str:
        return "\n".join(self.of.text(each) for each in value) if isinstance(value, list | tuple) else super().text(value)

    def fact(self, value: Any) -> Fact:
        return Listed(tuple(self.of.fact(each) for each in value)) if isinstance(value, list | tuple) else self.text(value)

    def tried(self) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(((), tuple(each for each in self.of.tried() if each))))


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

    def tried(self) -> tuple[Any, ...]:
        return (None,)
