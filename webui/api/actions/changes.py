"""The journal, taking a change back, several changes at once, and search over everything."""

from __future__ import annotations

from typing import Annotated

import msgspec

from appliance.config.admin import NotFound
from appliance.config.model import KINDS, name_of
from appliance.words import Said
from webui.api.operations import Asked, Operations
from webui.api.records import Batch, Changed, Entry, Limit, Preview, SeveralWanted, batch, changed, entry
from webui.api.refusals import FieldError, field_errors
from webui.api.tags import tag_of

operations = Operations(Said.of("api.changes"))
MOST_FOUND = 100


class Found(msgspec.Struct):
    kind: str
    id: str
    name: str


class Results(msgspec.Struct):
    items: list[Found]


class SearchQuery(msgspec.Struct, forbid_unknown_fields=True):
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_FOUND)] = 50


class JournalQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`cursor`: `next` of the answer before."""

    limit: Limit = 50
    cursor: Annotated[int, msgspec.Meta(ge=1, le=2**53)] | None = None


class Journal(msgspec.Struct):
    items: list[Entry]
    next: int | None


class Kept(msgspec.Struct):
    """What stays, because somebody has changed it since."""

    kind: str
    id: str
    fields: list[FieldError]


class Undone(msgspec.Struct):
    preview: bool
    items: list[Changed]
    kept: list[Kept]
    revision: str


@operations.add("GET", "/changes", may="see journal", said=Said.of("api.journal"), query=JournalQuery, answer=Journal)
def journal(asked: Asked) -> Journal:
    query, acting = asked.query, asked.caller.acting
    rows = acting.journal(limit=query.limit + 1, before=query.cursor)
    shown = rows[: query.limit]
    return Journal(
        [entry(row, acting.snapshot, asked) for row in shown], shown[-1].id if len(rows) > len(shown) else None
    )


@operations.add(
    "POST", "/changes/{revision}/undo", may="do journal", said=Said.of("api.undo"), query=Preview, answer=Undone,
    refuses=frozenset({409, 422}),
)  # fmt: skip
def undo(asked: Asked) -> Undone:
    name = asked.names["revision"]
    if not (name.isascii() and name.isdecimal() and len(name) < 16):
        raise NotFound
    acting = asked.caller.acting
    results, undone = acting.undo(int(name), dry=asked.query.preview)
    snapshot = acting.snapshot
    kept = [Kept(kind, key, field_errors(problems, asked.say)) for (kind, key), problems in undone.kept.items()]
    return Undone(asked.query.preview, [changed(asked, one, snapshot) for one in results], kept, tag_of(snapshot.mark))


@operations.add(
    "POST",
    "/batch",
    may="",
    said=Said.of("api.batch"),
    body=SeveralWanted,
    answer=Batch,
    refuses=frozenset({409}),
)
def several(asked: Asked) -> Batch:
    return batch(asked)


@operations.add("GET", "/search", may="", said=Said.of("api.search"), query=SearchQuery, answer=Results)
def search(asked: Asked) -> Results:
    acting = asked.caller.acting
    found = []
    for kind, key in acting.search(asked.query.q, None, limit=asked.query.limit):
        record = acting.find(kind, key) if kind in KINDS else None
        if record is not None:
            found.append(Found(kind, key, name_of(record)))
    return Results(found)
