"""What pages of some kinds have beside what their rows say: a hand-made part is a row here, and blocks of its own templates in templates/KIND/.

A kind without a row here has everything that `list`, `edit`, `bulk` and `history` make of its declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from appliance.config.declare import Record
from appliance.config.model import Problem, Snapshot
from webui.forms import Option

Values = Mapping[str, Any]


def _nothing(*_: Any) -> dict[Any, Any]:
    return {}


@dataclass(frozen=True)
class Part:
    """Each function may be left out."""

    # of the list: further columns, by name, with the key of their title; and what stands in them, by record and column
    columns: tuple[tuple[str, str], ...] = ()
    cells: Callable[[Sequence[Record], Snapshot], Mapping[tuple[str, str], Markup]] = _nothing
    follows: str = ""  # the event after which the list's cells are fetched again
    # of the form: what its template is given (the record is None for a new one), and lists to choose from for fields that have none
    given: Callable[[Record | None, Values, Mapping[str, str], Mapping[str, str]], Mapping[str, Any]] = _nothing
    options: Callable[[Values], Mapping[str, Sequence[Option]]] = _nothing
    tabs: tuple[tuple[str, str], ...] = ()  # further ones behind the first: name, key of the title
    # of a save: what the use-case is given beside the values, and what is done and said when it has taken them
    arguments: Callable[[Mapping[str, str]], Mapping[str, Any]] = _nothing
    saved: Callable[[Record | None, Record, Mapping[str, str]], str] | None = None
    added_tab: str = ""  # the tab that a new one is shown with
    # of deleting: why this visitor may not, and what is done then
    keeps: Callable[[Record], Sequence[Problem]] | None = None
    deleted: Callable[[Record], None] | None = None


NO_PART = Part()
