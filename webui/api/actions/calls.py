"""Call records: search, one call, and all that are found as a table or a list, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from threading import BoundedSemaphore
from typing import Annotated, Any, Literal

import msgspec
from flask import Response, stream_with_context

from appliance.calls.history.records.query import BadQuery, CallQuery, Sought
from appliance.config.admin import NotFound
from appliance.config.model import Problem, Refused
from appliance.words import Said
from webui.api.operations import Asked, Operations
from webui.api.refusals import Turned
from webui.work import history

operations = Operations(Said.of("api.call-records"))
AT_ONCE = 2  # exports: each holds a thread while it is read
exports = BoundedSemaphore(AT_ONCE)
BLOCK = 200  # calls of an export that are sent together

Word = Annotated[str, msgspec.Meta(max_length=100)]
Day = Annotated[str, msgspec.Meta(pattern="^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]


class CallsQuery(msgspec.Struct, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """Days are those of the office, as 2026-11-27; `direction` is seen from the extension (a number) or person (id of a user)."""

    q: Word = ""
    first: Day = ""
    last: Day = ""
    result: Literal["", "answered", "missed", "failed"] = ""
    extension: Word = ""
    person: Word = ""
    direction: Literal["", "made", "received"] = ""


class CallPageQuery(CallsQuery, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """`cursor`: `next` of the answer before."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


class Number(msgspec.Struct):
    number: str
    name: str


class CallRecord(msgspec.Struct, rename={"caller": "from"}):
    """What `work.history.as_object` says. `answered` is null for a call that nobody took."""

    id: str
    started: datetime
    answered: datetime | None
    ended: datetime
    caller: Number
    dialled: str
    to: Number
    result: Literal["answered", "missed", "failed"]
    outcome: str
    cause: int
    hung_up_by: str
    sentence: str
    talked_seconds: float
    encrypted: bool
    people: list[dict[str, Any]]
    legs: list[dict[str, Any]]
    parts: list[dict[str, Any]]


class CallRecordList(msgspec.Struct):
    items: list[CallRecord]
    next: int | None


def _sought(asked: Asked) -> Sought:
    sent = {name: str(getattr(asked.query, name)) for name in CallsQuery.__struct_fields__}
    try:
        query = CallQuery.read({**sent, "from": sent["first"], "to": sent["last"]})
    except BadQuery as error:
        raise Refused(Problem(error.field, error.said)) from None
    return history.sought(asked.here, asked.caller.acting, query)


@operations.add(
    "GET", "/call-records", may="see history", said=Said.of("api.calls-search"), query=CallPageQuery, answer=CallRecordList,
    refuses=frozenset({422}),
)  # fmt: skip
def search(asked: Asked) -> Any:
    query = asked.query
    page = asked.here.history.page(_sought(asked), before=query.cursor or 0, count=query.limit)
    return {"items": [history.as_object(row) for row in page.rows], "next": page.older or None}


@operations.add(
    "GET", "/call-records.csv", may="see history", said=Said.of("api.calls-csv"), query=CallsQuery, kind="text/csv",
    refuses=frozenset({422}),
)  # fmt: skip
def table(asked: Asked) -> Response:
    return _stream(history.sheet(asked.here.history.each(_sought(asked))), "text/csv", "calls.csv")


@operations.add(
    "GET", "/call-records.json", may="see history", said=Said.of("api.calls-json"), query=CallsQuery, kind="application/json",
    answer=list[CallRecord], refuses=frozenset({422}),
)  # fmt: skip
def everything(asked: Asked) -> Response:
    return _stream(history.objects(asked.here.history.each(_sought(asked))), "application/json", "calls.json")


@operations.add("GET", "/call-records/{id}", may="see history", said=Said.of("api.call-record"), answer=CallRecord)
def one(asked: Asked) -> Any:
    row = history.find(asked.here, asked.caller.acting, asked.names["id"])
    if row is None:
        raise NotFound
    return history.as_object(row)


def _stream(texts: Iterator[str], kind: str, name: str) -> Response:
    """Sent while it is read; a few at once, for each keeps a thread and a place in the database."""
    if not exports.acquire(blocking=False):
        raise Turned(429, Said.of("api.exports"), headers={"Retry-After": "10"})

    def blocks() -> Iterator[str]:
        while block := "".join(islice(texts, BLOCK)):
            yield block

    made = Response(
        stream_with_context(blocks()), mimetype=kind, headers={"Content-Disposition": f"attachment; filename={name}"}
    )
    made.call_on_close(exports.release)
    return made
