"""The kinds of records: one class and one row each. Nothing lists them: what is a `Kind` in a module or folder here, or in a service's
`records.py`, is one. A kind's words stand beside it (docs/new-record.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from appliance.config.declare import Kind

# What forms and addresses of lists say beside the fields of a record.
TAKEN = frozenset(["all", "cursor", "csrf_token", "id", "key", "keys", "limit", "mark", "page", "password", "q", "set", "skip", "sort", "tab", "usernames"])

HERE = Path(__file__).parent
SERVICES = HERE.parents[1] / "services"


def _modules() -> Iterator[str]:
    yield from (f"{__name__}.{module.name}" for module in iter_modules([str(HERE)]))
    yield from (f"appliance.services.{file.parent.name}.records" for file in sorted(SERVICES.glob("*/records.py")))


def found() -> dict[str, Kind[Any]]:
    """Kind by name, in the order of the menu. ValueError: two have one name, or one place in addresses, or a field has a name that says
    something else there."""
    rows: dict[str, Kind[Any]] = {}
    for module in map(import_module, _modules()):
        for row in vars(module).values():
            if isinstance(row, Kind) and rows.setdefault(row.name, row) is not row:
                raise ValueError(f"{module.__name__}: there are two kinds {row.name}.")
    for row in rows.values():
        if wrong := TAKEN & row.record.declared.fields.keys():
            raise ValueError(f"Call a field of the kind {row.name} by another name than {', '.join(sorted(wrong))}: pages and API use that.")
    if len({row.path for row in rows.values()}) < len(rows):
        raise ValueError(f"Two kinds have one address: {sorted(row.path for row in rows.values())}.")
    return dict(sorted(rows.items(), key=lambda item: (item[1].place, item[0])))


KINDS: Mapping[str, Kind[Any]] = found()
ROWS: tuple[Kind[Any], ...] = tuple(KINDS.values())
