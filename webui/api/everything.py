"""All operations, in the order of the document; and the document."""

from __future__ import annotations

from functools import cache
from typing import Any

from appliance.words import Said, words_of
from webui.api.actions import (
    backups,
    calls,
    changes,
    configuration,
    encryption,
    events,
    keys,
    licence,
    lines,
    live,
    logins,
    logs,
    me,
    numbers,
    tables,
    updates,
)
from webui.api.document import document
from webui.api.operations import Asked, Operation
from webui.api.records import kind_operations

BASE = "/api/v1"


@me.operations.add(
    "GET", "/openapi.json", may="", said=Said.of("api.document"), kind="application/json", answer=dict[str, Any]
)
def openapi(asked: Asked) -> Any:
    return _document(asked.words.language)


PARTS = (
    me.operations, *kind_operations(), *tables.table_operations(), lines.operations, keys.operations, logins.operations, numbers.operations, changes.operations, configuration.operations, live.operations, calls.operations,
    events.operations, licence.operations, encryption.operations, backups.operations, logs.operations, updates.operations,
)  # fmt: skip
OPERATIONS: tuple[Operation, ...] = tuple(row for part in PARTS for row in part)


@cache
def _document(language: str) -> dict[str, Any]:
    return document(OPERATIONS, words_of(language), BASE)
