"""What a save of some records does: made, changed and deleted together, all of it or nothing. Pure.

A page's form is a batch of one; bulk edit, import, text and undo are batches of many. Each record is checked beside all the others as they
will be, on indices made once, so a batch of 10,000 is as quick a record as one of ten.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

from appliance.config import licensing, passwords
from appliance.config.claims import Claims
from appliance.config.declare import Record, Secret
from appliance.config.kinds.devices import free_username
from appliance.config.model import (
    KINDS,
    Change,
    Extension,
    Line,
    Problem,
    Refused,
    Snapshot,
    User,
    check,
    find,
    make,
    without,
)
from appliance.words import Said

LARGEST = 50_000  # records of one batch
_ID = re.compile(r"[0-9A-Za-z-]{1,32}")
LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike

Usernames = Literal["", "keep", "change"]  # what becomes of SIP usernames when the number changes; "": nobody has said
Merge = Callable[["Wanted", Record], tuple[dict[str, Any], list[Problem]]]


def new_id() -> str:
    return secrets.token_hex(8)


def generate_sip_password() -> str:
    """24 characters, about 139 bits."""
    return "".join(secrets.choice(LETTERS) for _ in range(24))


class Wanted(NamedTuple):
    """One record of a batch. `values` are the fields to change, or those of a new one; None deletes it."""

    kind: str
    key: str  # its id; of a new one, the id it gets ("": one is made), by which others of the batch may refer to it
    values: Mapping[str, Any] | None
    mark: str = ""  # of the configuration that a form showed (`meanwhile`)
    new: bool = False
    back: bool = False  # a new one that has been there: nothing comes with it, and it needs no password
    password: str = ""  # a user's new one
    usernames: Usernames = ""
    inside: Mapping[str, Any] = {}  # fields that no form changes, set by a use-case


class Result(NamedTuple):
    """What became of one of them. `values`: what a form should show now, where that is more than what was typed."""

    kind: str
    key: str
    before: Record | None
    after: Record | None
    problems: tuple[Problem, ...] = ()
    values: Mapping[str, Any] | None = None

    @property
    def changes(self) -> bool:
        return self.before != self.after


class Planned(NamedTuple):
    results: list[Result]
    changes: list[Change]

    @property
    def problems(self) -> list[tuple[int, Problem]]:
        """Each with the place of its record in the batch."""
        return [(place, problem) for place, result in enumerate(self.results) for problem in result.problems]


class _Growing:
    """`declare.Records` with what comes along, for which no index is made anew."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._added: dict[tuple[str, str, str], list[Record]] = {}

    def add(self, record: Record) -> None:
        for field in record.declared.fields:
            if isinstance(value := getattr(record, field), str):
                self._added.setdefault((record.declared.kind, field, value), []).append(record)

    def of(self, kind: str) -> Mapping[str, Record]:
        return self._snapshot.of(kind)

    def having(self, kind: str, field: str, value: str) -> Iterable[Record]:
        return chain(self._snapshot.having(kind, field, value), self._added.get((kind, field, value), ()))

    @property
    def claims(self) -> Claims:
        return self._snapshot.claims


def plan(snapshot: Snapshot, wanted: Sequence[Wanted], merge: Merge, limits: licensing.Limits) -> Planned:
    """Nothing is refused here: what is wrong stands in the results. merge: the values of a form over a record, and what somebody else has
    changed meanwhile."""
    if len(wanted) > LARGEST:
        raise Refused(Problem("", Said.of("fields.too-many", most=LARGEST)))
    results = [_made(snapshot, each, merge) for each in wanted]
    changes: dict[tuple[str, str], Record | None] = {
        (one.kind, one.key): one.after for one in results if one.after is not None and one.changes
    }
    gone = [(one.kind, one.key) for one in results if one.before is not None and one.after is None and not one.problems]
    told: list[list[Problem]] = [list(one.problems) for one in results]
    together = snapshot.changed(Change(*name, record) for name, record in changes.items())
    _renumber(snapshot, wanted, results, changes, told)
    along = _along(together, wanted, results)
    changes |= {(record.declared.kind, record.id): record for records in along.values() for record in records}
    try:
        changes |= {(kind, key): record for kind, key, record in without(together, gone)}
    except Refused as refused:
        at = next(place for place, one in enumerate(results) if (one.kind, one.key) in gone)
        told[at] += refused.problems
        gone = []
    final = snapshot.changed(Change(*name, record) for name, record in changes.items())
    for place, one in enumerate(results):
        if one.after is not None and not told[place]:
            told[place] += _wrong(snapshot, final, wanted[place], one, changes)
            told[place] += [problem for record in along.get(place, ()) for problem in check(record.declared.kind, record, final)]
    _rules(snapshot, final, results, changes, told)
    _licence(final, results, told, limits)
    return Planned(
        [one._replace(problems=_once(told[place])) for place, one in enumerate(results)],
        [Change(*name, record) for name, record in changes.items()],
    )


def _once(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(problem for place, problem in enumerate(problems) if problem not in problems[:place])


def _made(snapshot: Snapshot, wanted: Wanted, merge: Merge) -> Result:
    """The record as it was and as it will be, not checked yet."""
    kind, key, values = wanted.kind, wanted.key, wanted.values
    row = KINDS.get(kind)
    if row is None:
        return Result(kind, key, None, None, (Problem("", Said.of("fields.no-kind", name=kind)),))
    named = Said.of(f"kind.{kind}")
    if wanted.new:
        if row.always:
            return Result(kind, key, None, None, (Problem("", Said.of("fields.single", kind=named)),))
        key = key or new_id()
        if not _ID.fullmatch(key) or find(snapshot, kind, key) is not None:
            return Result(kind, key, None, None, (Problem("", Said.of("fields.id-taken", kind=named)),))
        asked = [name for name in (values or {}) if name in row.record.declared.fields and row.record.declared.fields[name].forgotten]
        made = {name: generate_sip_password() for name, field in row.record.declared.fields.items() if isinstance(field, Secret) and field.made}
        try:
            record = make(kind, {**made, **(values or {}), **wanted.inside, "id": key})
        except Refused as refused:
            return Result(kind, key, None, None, refused.problems)
        return Result(kind, key, None, record, tuple(_not_here(name) for name in asked if (values or {})[name]))
    old = find(snapshot, kind, key)
    if old is None:
        return Result(kind, key, None, None, (Problem("", Said.of("fields.gone", kind=named)),))
    if values is None:
        stays = (Problem("", Said.of("fields.stays", kind=named)),) if row.always else ()
        return Result(kind, key, old, None, stays)
    inner = [_not_here(name) for name in sorted(row.hidden & set(values)) if values[name] != getattr(old, name)]
    if inner:
        return Result(kind, key, old, old, tuple(inner))
    merged, problems = merge(wanted, old)
    try:
        record = make(kind, {**{name: getattr(old, name) for name in old.declared.fields}, **merged, **wanted.inside, "id": old.id})
    except Refused as refused:
        return Result(kind, key, old, old, (*problems, *refused.problems), merged)
    return Result(kind, key, old, record, tuple(problems), merged)


def _along(together: Snapshot, wanted: Sequence[Wanted], results: list[Result]) -> dict[int, list[Record]]:
    """What new records come with, by their place in the batch."""
    found: dict[int, list[Record]] = {}
    growing = _Growing(together)
    for place, one in enumerate(results):
        if one.before is not None or one.after is None or wanted[place].back:
            continue
        for row in KINDS.values():
            if (come := row.with_new.get(one.kind)) is None:
                continue
            for record in come(one.after, growing, generate_sip_password):
                named = record.model_copy(update={"id": new_id()})
                growing.add(named)
                found.setdefault(place, []).append(named)
    return found


def _renumber(
    snapshot: Snapshot, wanted: Sequence[Wanted], results: list[Result], changes: dict[tuple[str, str], Record | None], told: list[list[Problem]]
) -> None:
    """SIP usernames that are made of a number which changes: what becomes of them has to be said."""
    for place, one in enumerate(results):
        before, after = one.before, one.after
        if not isinstance(before, Extension) or not isinstance(after, Extension) or before.number == after.number:
            continue
        named = renamed(snapshot, before.id, after.number)
        if not named or told[place]:
            continue
        if wanted[place].usernames == "change":
            changes |= {("line", line.id): line for line in named if ("line", line.id) not in changes}
        elif not wanted[place].usernames and not any(problem.field == "number" for problem in check("extension", after, snapshot)):
            told[place].append(Problem("usernames", Said.of("extension.usernames-open")))


def renamed(snapshot: Snapshot, extension: str, number: str) -> list[Line]:
    """The lines whose SIP username is made of the extension's number, as they would be with another one; none when it stays."""
    old, found = snapshot.extensions[extension], []
    made_of = re.compile(re.escape(old.number) + r"(-\d+)?")
    growing = _Growing(snapshot)
    for line in snapshot.lines_of[extension] if number != old.number else ():
        if made_of.fullmatch(line.sip_username):
            wanted = number + line.sip_username.removeprefix(old.number)
            taken = any(True for _ in growing.having("line", "sip_username", wanted))
            new = line.model_copy(update={"sip_username": free_username(number, growing) if taken else wanted})
            growing.add(new)
            found.append(new)
    return found


def _wrong(
    snapshot: Snapshot, final: Snapshot, wanted: Wanted, one: Result, changes: Mapping[tuple[str, str], Record | None]
) -> list[Problem]:
    record, before = one.after, one.before
    assert record is not None
    problems = _password_problems(record, before, wanted)
    if not one.changes:
        return problems
    record = changes[one.kind, one.key] or record  # a reference of it may be cleared meanwhile
    found = check(one.kind, record, final)
    if found and before is not None and len(changes) > 1:
        # where two get into each other's way, it is told at the one whose field was changed
        alone = check(one.kind, record, snapshot)
        found = [
            problem
            for problem in found
            if problem in alone or getattr(record, problem.field, "") != getattr(before, problem.field, "")
        ]
    return problems + found


def _rules(
    snapshot: Snapshot,
    final: Snapshot,
    results: list[Result],
    changes: Mapping[tuple[str, str], Record | None],
    told: list[list[Problem]],
) -> None:
    """What the kinds demand of changes, those of records that are taken along too: told at the record itself or at the first of the batch."""
    at = {(one.kind, one.key): place for place, one in reversed(list(enumerate(results)))}
    for (kind, key), record in changes.items():
        before = find(snapshot, kind, key)
        place = at.get((kind, key), 0)
        told[place] += KINDS[kind].rule(before, record, final)


def _licence(final: Snapshot, results: list[Result], told: list[list[Problem]], limits: licensing.Limits) -> None:
    new = [(place, one.after) for place, one in enumerate(results) if one.before is None and one.after is not None and not told[place]]
    if new:
        before = final.changed(Change(record.declared.kind, record.id, None) for _, record in new)
        covered = licensing.check_adding([record for _, record in new], before, limits)
        for (place, _), problem in zip(new, covered, strict=True):
            told[place] += [problem] if problem else []


def _password_problems(record: Record, old: Record | None, wanted: Wanted) -> list[Problem]:
    """What is wrong with a user's new password, or with having none."""
    if not isinstance(record, User):
        return []
    if wanted.password:
        weak = passwords.weakness(wanted.password, record.username, record.full_name)
        return [Problem("password", weak)] if weak else []
    gets_in = record.role != "none" and (not isinstance(old, User) or old.role == "none")
    if gets_in and not record.password_hash and not wanted.back:
        return [Problem("password", Said.of("user.password-missing"))]
    return []


def _not_here(field: str) -> Problem:
    return Problem(field, Said.of("fields.not-here", name=field))
