"""The call history as somebody may see it: asked with one query by pages, portal and API, and written as files while it is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from appliance.calls.history.records import CallRow
from appliance.calls.history.records.query import CallQuery, Sought
from appliance.config.model import Snapshot
from appliance.config.rights import Right
from appliance.config.rights.acting import Acting
from webui.desk import Desk
from webui.wording import say

SHEET = (
    "started", "from", "from name", "dialled", "answered by", "answered by name", "result", "how it went", "rang s", "talked s", "encrypted", "call"
)  # fmt: skip


def numbers_of(snapshot: Snapshot, user: str) -> list[str]:
    """The extension numbers of a user."""
    return [extension.number for extension in snapshot.extensions.values() if extension.user == user]


def own_numbers(here: Desk, acting: Acting) -> Collection[str] | None:
    """Whose calls somebody may see: those of the own numbers; None: everybody's."""
    if acting.actor.covers([Right("history", "see")]):
        return None
    return numbers_of(here.admin.snapshot, acting.actor.user) if acting.actor.user else ()


def sought(here: Desk, acting: Acting, query: CallQuery) -> Sought:
    snapshot = here.admin.snapshot
    return query.sought(snapshot.zone, lambda user: numbers_of(snapshot, user), own_numbers(here, acting))


def find(here: Desk, acting: Acting, call: str) -> CallRow | None:
    """One call, if it may be seen."""
    if own_numbers(here, acting) is None:
        return here.history.find(call)
    return next(iter(here.history.among([call], sought(here, acting, CallQuery()))), None)


def as_object(call: CallRow) -> dict[str, Any]:
    """A call as programs read it. Times are UTC (RFC 3339); `sentence` is for people."""
    return {
        "id": call.id, "started": _time(call.started), "answered": _time(call.answered) or None, "ended": _time(call.ended),
        "from": {"number": call.caller_number, "name": call.caller_name}, "dialled": call.dialled,
        "to": {"number": call.callee_number, "name": call.callee_name or ""}, "result": call.result, "outcome": call.outcome, "cause": call.cause,
        "hung_up_by": call.hung_up_by, "sentence": say(call.said), "talked_seconds": round(call.seconds, 3), "encrypted": call.protection[0],
        "people": call.people, "legs": call.legs, "parts": call.parts,
    }  # fmt: skip


def objects(calls: Iterable[CallRow]) -> Iterator[str]:
    """A JSON array."""
    before = "["
    for call in calls:
        yield before + json.dumps(as_object(call), ensure_ascii=False)
        before = ",\n"
    yield "]" if before != "[" else "[]"


def sheet(calls: Iterable[CallRow]) -> Iterator[str]:
    """CSV (RFC 4180) that spreadsheet programs open as they should: with a mark for UTF-8, and no cell that they take for a formula."""
    yield "\ufeff" + _line(SHEET)
    for call in calls:
        answered = call.answered is not None
        yield _line((
            _time(call.started), call.caller_number, call.caller_name, call.dialled, call.callee_number if answered else "",
            (call.callee_name or "") if answered else "", call.result, say(call.said), round((call.answered or call.ended) - call.started, 1),
            round(call.seconds, 1), "yes" if call.protection[0] else "no", call.id,
        ))  # fmt: skip


def _line(cells: Iterable[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([_cell(cell) for cell in cells])
    return out.getvalue()


def _cell(cell: object) -> str:
    text = str(cell)
    return f"'{text}" if isinstance(cell, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") and not text[1:].isdigit() else text


def _time(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
