"""The operations of every kind of record, from its row alone: list, get, make, change, delete, several at once, what happened to it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, cast

import msgspec

from appliance.config.admin import NotFound
from appliance.config.declare import Kind, Problem, Record, Refused
from appliance.config.model import KINDS, Snapshot
from appliance.config.reading import listing
from appliance.config.reading.differences import differences
from appliance.config.saving.batch import Result, Wanted
from appliance.config.store import JournalRow
from appliance.words import Said
from webui.api.operations import Asked, Operations, moment
from webui.api.refusals import FieldError, Turned, field_errors
from webui.api.shapes import beside, json_of, json_type, misfits, readable, settable, shown, writable
from webui.api.tags import mark_of, tag_of

PAGE, LARGEST_PAGE = 50, 500
MOST_AT_ONCE = 10_000
MOST_FOUND = 50_000
MEANWHILE = "fields.meanwhile"

Limit = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)]


class Preview(msgspec.Struct, forbid_unknown_fields=True):
    preview: bool = False


class Difference(msgspec.Struct):
    """`old` and `new` as people read them."""

    field: str
    label: str
    old: str
    new: str


class Changed(msgspec.Struct):
    """What becomes of one record. `fields` tells why it is refused."""

    kind: str
    id: str
    name: str
    what: Literal["added", "changed", "deleted", "same"]
    differences: list[Difference]
    fields: list[FieldError]


class Batch(msgspec.Struct):
    preview: bool
    items: list[Changed]
    revision: str


class Deletion(msgspec.Struct):
    """`fields` tells, in a preview, why it could not be deleted."""

    preview: bool
    consequences: list[str]
    fields: list[FieldError]


class Revealed(msgspec.Struct):
    """A secret; that somebody has looked stands in the journal."""

    field: str
    value: str


class Entry(msgspec.Struct):
    """A row of the journal. `event`: what somebody did that changed no record."""

    revision: int
    at: datetime
    who: str
    kind: str
    id: str
    what: Literal["added", "changed", "deleted", "event"]
    event: str
    differences: list[Difference]


class History(msgspec.Struct):
    items: list[Entry]


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True):
    limit: Limit = PAGE


def kind_operations() -> Iterator[Operations]:
    """In the order of the kinds."""
    for kind in KINDS.values():
        yield _operations(kind)


def _operations(kind: Kind[Any]) -> Operations:
    many, one = Said.of(f"kind.{kind.name}-many"), Said.of(f"kind.{kind.name}")
    found = Operations(many)
    name, path = kind.name, f"/{kind.path}"
    at = f"{path}/{{id}}"
    found.add(
        "GET", path, name=f"{name}.list", may=f"see {name}", said=Said.of("api.list", kinds=many),
        query=_list_query(kind), given=lambda types: types.listed(kind),
    )(lambda asked: _list(asked, kind))  # fmt: skip
    if not kind.always:
        found.add(
            "POST", path, name=f"{name}.add", may=f"add {name}", said=Said.of("api.add", kind=one), status=201, body=dict,
            taken=lambda types: types.new(kind), given=lambda types: types.record(kind),
        )(lambda asked: _add(asked, kind))  # fmt: skip
    found.add(
        "POST", f"{path}/bulk", name=f"{name}.bulk", may=f"change {name}", said=Said.of("api.bulk", kinds=many),
        body=Bulk, taken=lambda types: types.bulk(kind, Bulk), answer=Batch, refuses=frozenset({409}),
    )(lambda asked: _bulk(asked, kind))  # fmt: skip
    found.add(
        "GET", at, name=f"{name}.get", may=f"see {name}", said=Said.of("api.get", kind=one), given=lambda types: types.record(kind)
    )(lambda asked: _get(asked, kind))  # fmt: skip
    found.add(
        "PATCH", at, name=f"{name}.change", may=f"change {name}", said=Said.of("api.change", kind=one), body=dict, revision=True,
        taken=lambda types: types.change(kind), given=lambda types: types.record(kind),
    )(lambda asked: _change(asked, kind))  # fmt: skip
    if not kind.always:
        found.add(
            "DELETE", at, name=f"{name}.delete", may=f"delete {name}", said=Said.of("api.delete", kind=one), query=Preview,
            answer=Deletion, refuses=frozenset({409, 422}),
        )(lambda asked: _delete(asked, kind))  # fmt: skip
    if kind.secrets - kind.hidden:
        found.add(
            "POST", f"{at}/reveal/{{field}}", name=f"{name}.reveal", may=f"reveal {name}", said=Said.of("api.reveal-field", kind=one),
            answer=Revealed,
        )(lambda asked: _reveal(asked, kind))  # fmt: skip
    found.add(
        "GET", f"{at}/history", name=f"{name}.history", may=f"see {name}", said=Said.of("api.history", kind=one), query=HistoryQuery,
        answer=History,
    )(lambda asked: _history(asked, kind))  # fmt: skip
    return found


# ---- list --------------------------------------------------------------------------------------------------------------


def _list_query(kind: Kind[Any]) -> type[msgspec.Struct]:
    """Search, order, page, and a filter for each field."""
    names = readable(kind)
    orders = Literal[tuple(sign + name for name in names for sign in ("", "-"))]  # type: ignore[valid-type]
    fields: list[Any] = [
        ("q", Annotated[str, msgspec.Meta(max_length=100)], ""),
        ("sort", orders, (kind.columns or (kind.named_by,))[0] if kind.named_by in names else names[0]),
        ("limit", Limit, PAGE),
        ("cursor", Annotated[str, msgspec.Meta(max_length=100)], ""),
    ]
    for name in names:
        type_ = json_type(kind.record, name)
        fields.append((name, (type_ if type_ in (int, bool) else str) | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(f"{kind.record.__name__}Query", fields, forbid_unknown_fields=True)


def _list(asked: Asked, kind: Kind[Any]) -> Mapping[str, Any]:
    query, snapshot = asked.query, asked.caller.acting.snapshot
    fields = kind.record.declared.fields
    filters = {
        name: fields[name].text(value)
        for name in readable(kind)
        if (value := getattr(query, name)) is not msgspec.UNSET
    }
    found = None
    if query.q.strip():
        found = {key for _, key in asked.caller.acting.search(query.q, (kind.name,), limit=MOST_FOUND)}
    rows = listing.listed(
        snapshot, kind.name, found=found, filters=filters, sort=query.sort.removeprefix("-"), down=query.sort.startswith("-")
    )  # fmt: skip
    start = _start(query.cursor, rows)
    shown_rows = rows[start : start + query.limit]
    after = start + len(shown_rows)
    return {
        "items": [_shown(asked, kind, record, snapshot) for record in shown_rows],
        "next": cursor_of(after, shown_rows[-1].id) if shown_rows and after < len(rows) else None,
        "total": len(rows),
        "revision": tag_of(snapshot.mark),
    }


def cursor_of(place: int, last: str) -> str:
    """Where the next page begins: behind a record, or at a place when that is gone by then. Nobody is tempted to count."""
    return base64.urlsafe_b64encode(f"{place} {last}".encode()).decode().rstrip("=")


def _start(cursor: str, rows: Sequence[Record]) -> int:
    if not cursor:
        return 0
    try:
        place, _, last = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").partition(" ")
        start = int(place[:9])
    except (binascii.Error, ValueError):
        raise Turned(400, Said.of("api.query", name="cursor")) from None
    if 0 < start <= len(rows) and rows[start - 1].id == last:
        return start
    return next((number + 1 for number, record in enumerate(rows) if record.id == last), max(0, start))


def _shown(asked: Asked, kind: Kind[Any], record: Record, snapshot: Snapshot) -> dict[str, Any]:
    sees = asked.caller.actor.sees(kind.name, record)
    names = [name for name in readable(kind) if name in sees]
    return {"id": record.id, "revision": tag_of(snapshot.mark), **shown(kind, record, names)}


# ---- one ---------------------------------------------------------------------------------------------------------------


def _found(asked: Asked, kind: Kind[Any]) -> Record:
    record = asked.caller.acting.find(kind.name, asked.names["id"])
    if record is None:
        raise NotFound
    return record


def _get(asked: Asked, kind: Kind[Any]) -> Mapping[str, Any]:
    snapshot = asked.caller.acting.snapshot
    return _shown(asked, kind, _found(asked, kind), snapshot)


def _taken(
    asked: Asked, kind: Kind[Any], sent: Mapping[str, Any], names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a record, and what its use-case takes beside them. Refused when something has the wrong type."""
    more = beside(kind)
    values = {name: value for name, value in sent.items() if name not in more}
    problems = misfits(kind, values, names)
    extra: dict[str, Any] = {}
    for name in more.keys() & sent.keys():
        try:
            extra[name] = msgspec.convert(sent[name], more[name])
        except msgspec.ValidationError:
            problems.append(Problem(name, Said.of("api.member", name=name)))
    if problems:
        raise Refused(*problems)
    return values, extra


def _add(asked: Asked, kind: Kind[Any]) -> Mapping[str, Any]:
    values, extra = _taken(asked, kind, asked.body, settable(kind))
    extra.pop("usernames", None)
    record = asked.caller.acting.create(kind.name, values, **extra)
    return _after(asked, kind, record)


def _after(asked: Asked, kind: Kind[Any], record: Record) -> Mapping[str, Any]:
    """A record that was just saved: as it may be seen, or, when it may not, that it is."""
    snapshot = asked.caller.acting.snapshot
    return _shown(asked, kind, snapshot.of(kind.name).get(record.id) or record, snapshot)


def _change(asked: Asked, kind: Kind[Any]) -> Mapping[str, Any]:
    sent = dict(asked.body)
    revision = sent.pop("revision", "")
    if not isinstance(revision, str):
        raise Refused(Problem("revision", Said.of("api.member", name="revision")))
    mark = asked.if_match or mark_of(revision)
    _found(asked, kind)
    values, extra = _taken(asked, kind, sent, writable(kind))
    try:
        record = asked.caller.acting.update(kind.name, asked.names["id"], values, mark=mark, **extra)
    except Refused as refused:
        _both_sides(asked, kind, refused, values)
        raise
    return _after(asked, kind, record)


def _both_sides(asked: Asked, kind: Kind[Any], refused: Refused, values: Mapping[str, Any]) -> None:
    """Where somebody else has changed the same since: what it is now, and what was wanted."""
    told = field_errors(refused.problems, asked.say)
    if not any(one.key == MEANWHILE for one in told):
        return
    record, fields = _found(asked, kind), kind.record.declared.fields
    for one in told:
        if one.key == MEANWHILE:
            one.now, one.yours = json_of(fields[one.field], getattr(record, one.field)), values.get(one.field)
    raise Turned(412 if asked.if_match else 409, Said.of("api.meanwhile"), *told)


def _delete(asked: Asked, kind: Kind[Any]) -> Deletion:
    acting, key = asked.caller.acting, asked.names["id"]
    consequences = [asked.say(said) for said in acting.consequences(kind.name, key)]
    if asked.query.preview:
        (result,) = acting.save_all([Wanted(kind.name, key, None)], dry=True)
        return Deletion(True, consequences, field_errors(result.problems, asked.say))
    acting.delete(kind.name, key)
    return Deletion(False, consequences, [])


def _reveal(asked: Asked, kind: Kind[Any]) -> Revealed:
    field = asked.names["field"]
    if field not in kind.secrets - kind.hidden:
        raise NotFound
    return Revealed(field, asked.caller.acting.reveal(kind.name, asked.names["id"], field))


def _history(asked: Asked, kind: Kind[Any]) -> History:
    acting = asked.caller.acting
    rows = acting.history(kind.name, asked.names["id"], asked.query.limit)
    if not rows:
        _found(asked, kind)  # one that never was has no history
    return History([entry(row, acting.snapshot, asked) for row in rows])


def entry(row: JournalRow, snapshot: Snapshot, asked: Asked) -> Entry:
    what: Any = (
        "event" if row.event else "added" if row.before is None else "deleted" if row.after is None else "changed"
    )
    told = [] if row.event or row.kind not in KINDS else _differences(asked, row.kind, row.before, row.after, snapshot)
    return Entry(row.revision, moment(row.at), row.who, row.kind, row.key, what, asked.say(row.event) if row.event else "", told)


def _differences(asked: Asked, kind: str, before: Any, after: Any, snapshot: Snapshot) -> list[Difference]:
    say = asked.say
    return [
        Difference(one.field, say(one.label), say(one.old), say(one.new))
        for one in differences(kind, before, after, snapshot)
    ]


# ---- several -----------------------------------------------------------------------------------------------------------


class Bulk(msgspec.Struct, forbid_unknown_fields=True):
    """The same for several records: `values` are set, or (`delete`) they go. All of it or nothing."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_AT_ONCE)]
    values: dict[str, Any] = {}
    delete: bool = False
    preview: bool = False
    revision: str = ""


class WantedRecord(msgspec.Struct, forbid_unknown_fields=True):
    """`values` null deletes it. A `new` one may be given an id, by which others of the batch refer to it."""

    kind: str
    values: dict[str, Any] | None
    id: str = ""
    new: bool = False


class SeveralWanted(msgspec.Struct, forbid_unknown_fields=True):
    items: Annotated[list[WantedRecord], msgspec.Meta(min_length=1, max_length=MOST_AT_ONCE)]
    preview: bool = False


def _bulk(asked: Asked, kind: Kind[Any]) -> Batch:
    body = cast(Bulk, asked.body)
    values, extra = _taken(asked, kind, body.values, writable(kind))
    if body.delete and values:
        raise Refused(Problem("values", Said.of("api.member", name="values")))
    wanted = [
        Wanted(kind.name, key, None if body.delete else values, mark=mark_of(body.revision), **extra)
        for key in dict.fromkeys(body.ids)
    ]
    return save(asked, wanted, body.preview)


def batch(asked: Asked) -> Batch:
    body = cast(SeveralWanted, asked.body)
    wanted, problems = [], []
    for place, one in enumerate(body.items):
        kind = KINDS.get(one.kind)
        try:
            if kind is None:
                raise Refused(Problem("kind", Said.of("fields.no-kind", name=one.kind[:100])))
            values, extra = _taken(asked, kind, one.values or {}, settable(kind) if one.new else writable(kind))
            wanted.append(Wanted(one.kind, one.id, None if one.values is None else values, new=one.new, **extra))
        except Refused as refused:
            problems += [Problem(f"{place}.{problem.field}", problem.said) for problem in refused.problems]
    if problems:
        raise Refused(*problems)
    return save(asked, wanted, body.preview)


def save(asked: Asked, wanted: Sequence[Wanted], preview: bool) -> Batch:
    """What a batch does, or would do."""
    acting = asked.caller.acting
    before = acting.snapshot
    results = acting.save_all(wanted, dry=preview)
    after = acting.snapshot
    return Batch(preview, [changed(asked, one, after if one.after else before) for one in results], tag_of(after.mark))


def changed(asked: Asked, result: Result, snapshot: Snapshot) -> Changed:
    before, after = result.before, result.after
    what: Any = "same" if before == after else "added" if before is None else "deleted" if after is None else "changed"
    record = after or before
    name = KINDS[result.kind].name_of(record) if record is not None else ""
    told = _differences(asked, result.kind, before, after, snapshot) if what in ("added", "changed") else []
    return Changed(result.kind, result.key, name, what, told, field_errors(result.problems, asked.say))
