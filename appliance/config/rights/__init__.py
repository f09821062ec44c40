"""Who may do what with which records: rights, roles, and the actor who has them. Pure: records are an argument.

A right is a kind, a verb, and whose records and which fields of them it is about. What nobody has a right to is refused. Rights come from the
role of a user: `none` has no login at all, `own` is for who uses the telephone and looks after the own extensions, `read-only` sees everything,
`delegated` has what the permission groups give (`kinds.people.PermissionGroup`), `full` has all. Secrets are seen by nobody without `reveal`, which is a verb of its own and
leaves a row in the journal; hidden fields are seen by nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple, cast, get_args

from appliance.config.declare import Record
from appliance.config.kinds import KINDS
from appliance.config.kinds.people import ApiKey, PermissionGroup, User
from appliance.config.snapshot import Snapshot, find
from appliance.words import Said

Verb = Literal["see", "add", "change", "delete", "reveal", "do"]
VERBS: tuple[Verb, ...] = get_args(Verb)


class Forbidden(Exception):
    """The actor may not do this; nothing was changed."""

    def __init__(self, said: Said | None = None) -> None:
        self.said = said or Said.of("rights.forbidden")
        super().__init__(self.said.key)


class Right(NamedTuple):
    """`kind`: of records, an area, or "*" for every one. `rows` own: records that belong to the actor. `fields`: None is all."""

    kind: str
    verb: Verb
    rows: Literal["all", "own"] = "all"
    fields: frozenset[str] | None = None

    def covers(self, other: Right) -> bool:
        """Whether whoever has this one may do all that the other one allows."""
        return (
            self.kind in ("*", other.kind)
            and self.verb == other.verb
            and self.rows in ("all", other.rows)
            and (self.fields is None or (other.fields is not None and other.fields <= self.fields))
        )


Rights = tuple[Right, ...]
ALL: Rights = tuple(Right("*", verb) for verb in VERBS)
SEE: Rights = (Right("*", "see"),)


def _own() -> Iterator[Right]:
    """What everybody with a login may do with what is their own: see it, change what is marked as personal, have its secrets shown."""
    yield Right("history", "see", "own")
    for name, row in KINDS.items():
        if not row.owned_by:
            continue
        fields = row.record.declared.fields
        yield Right(name, "see", "own")
        if personal := frozenset(each for each, declared in fields.items() if declared.personal):
            yield Right(name, "change", "own", personal)
        if secrets := row.secrets - row.hidden:
            yield Right(name, "reveal", "own", secrets)


OWN: Rights = tuple(_own())


def given_by(record: Record, snapshot: Snapshot) -> Rights:
    """The rights that whoever changes this record hands out: of a user (beside what everybody may do with their own), a key, a group."""
    if isinstance(record, PermissionGroup):
        return _of_group(record)
    if isinstance(record, User | ApiKey):
        match record.role:
            case "full":
                return ALL
            case "read-only":
                return SEE
            case "delegated":
                groups = (snapshot.of("permission-group").get(key) for key in record.groups)
                return tuple(
                    dict.fromkeys(
                        right for group in groups if isinstance(group, PermissionGroup) for right in _of_group(group)
                    )
                )
    return ()


def _of_group(group: PermissionGroup) -> Rights:
    """Who may do anything with something may see it."""
    given: dict[Right, None] = {}
    for verb in VERBS:
        for kind in getattr(group, verb):
            given[Right(kind, "see", group.rows)] = given[Right(kind, verb, group.rows)] = None
    return tuple(given)


def owner_of(record: Record, records: Snapshot) -> str:
    """The id of the user whom a record belongs to, by way of the field that its kind names; "" when it belongs to nobody."""
    row = KINDS[record.declared.kind]
    if row.owned_by in ("", "id"):
        return record.id if row.owned_by else ""
    to = str(getattr(record, row.owned_by, ""))
    if (kind := row.references[row.owned_by].kind) == "user":
        return to
    return owner_of(found, records) if (found := find(records, kind, to)) is not None else ""


@dataclass(frozen=True)
class Actor:
    """Who does something. `name` is the author in the journal, `user` the id of the user, "" for root, the system and keys."""

    name: str
    user: str = ""
    rights: Rights = ()
    records: Snapshot = field(default_factory=Snapshot, compare=False, repr=False)  # that belong to whom

    def at(self, records: Snapshot) -> Actor:
        """The same one beside other records."""
        return self if records is self.records else replace(self, records=records)

    def may(self, verb: Verb, kind: str, record: Record | None = None, fields: Collection[str] = ()) -> bool:
        """Whether there is a right to it; without a record: to any record of the kind. Of `fields`: to each of them."""
        held = list(self._held(verb, kind, record))
        return bool(held) and all(any(each.fields is None or name in each.fields for each in held) for name in fields)

    def may_all(self, verb: Verb, kind: str) -> bool:
        """Whether there is a right to it with every record of the kind."""
        return any(each.rows == "all" for each in self._held(verb, kind, None))

    def demand(self, verb: Verb, kind: str, record: Record | None = None, fields: Collection[str] = ()) -> None:
        """Forbidden when there is no right to it."""
        if not self.may(verb, kind, record, fields):
            raise Forbidden()

    def covers(self, rights: Iterable[Right]) -> bool:
        """Whether these rights allow nothing that the actor may not do."""
        return all(any(mine.covers(each) for mine in self.rights) for each in rights)

    def sees(self, kind: str, record: Record) -> frozenset[str]:
        """The fields of a record that may be shown."""
        held = list(self._held("see", kind, record))
        return frozenset(
            name for name in _shown(kind) if any(each.fields is None or name in each.fields for each in held)
        )

    def _held(self, verb: Verb, kind: str, record: Record | None) -> Iterator[Right]:
        """The rights that are about it."""
        owned: bool | None = None
        for each in self.rights:
            if each.verb != verb or each.kind not in ("*", kind):
                continue
            if each.rows == "own" and record is not None:
                if owned is None:
                    owned = bool(self.user) and owner_of(record, self.records) == self.user
                if not owned:
                    continue
            yield each


ROOT = Actor("root", rights=ALL)


def named(name: str) -> Actor:
    """Root under the name that the journal tells: somebody at the box's own command line or console."""
    return replace(ROOT, name=name)


def actor_of(user: User, snapshot: Snapshot) -> Actor:
    """A user as one who administers: on the admin page and by the API."""
    return Actor(user.username, user.id, given_by(user, snapshot), snapshot)


def actor_of_key(key: ApiKey, snapshot: Snapshot) -> Actor:
    """A program. `key_of` finds its record."""
    return Actor(f"{key.name} (API)", "", given_by(key, snapshot), snapshot)


def new_key(id: str) -> tuple[str, str]:
    """A key for a record, and what is kept of it."""
    text = f"{id}.{secrets.token_urlsafe(32)}"
    return text, _hash(text)


def key_of(text: str, snapshot: Snapshot, today: date) -> ApiKey | None:
    """The record of a key that was brought; None when it is none, or has expired. It works until the end of its last day."""
    key = snapshot.of("api-key").get(text.partition(".")[0])
    if not isinstance(key, ApiKey) or not hmac.compare_digest(key.key_hash, _hash(text)):
        return None
    return None if key.expires and today.isoformat() > key.expires else key


def _hash(text: str) -> str:
    """The text has 256 bits that nobody can guess, so that a plain hash keeps it."""
    return hashlib.sha256(text.encode()).hexdigest()


def owner_actor(user: User, snapshot: Snapshot) -> Actor:
    """A user on the page for everybody: with what is their own, whatever the role is. Without a login nothing."""
    return Actor(user.username, user.id, OWN if user.role != "none" else (), snapshot)


# ---- what an actor sees of the records ---------------------------------------------------------------------------------


@lru_cache
def _shown(kind: str) -> frozenset[str]:
    """The fields of a kind that can be seen at all."""
    return frozenset(KINDS[kind].record.declared.fields) - KINDS[kind].secrets


def _owned(records: Snapshot) -> Mapping[str, Mapping[str, list[str]]]:
    """By user and kind the ids of what belongs to each. Made once for a snapshot."""
    if (known := records.views.get(_owned)) is None:
        found: dict[str, dict[str, list[str]]] = {}
        for kind, row in KINDS.items():
            for key, record in records.of(kind).items() if row.owned_by else ():
                found.setdefault(owner_of(record, records), {}).setdefault(kind, []).append(key)
        known = records.views[_owned] = found
    return cast(Mapping[str, Mapping[str, list[str]]], known)


def _only(record: Record, fields: frozenset[str]) -> Record:
    """The record with nothing in its other fields."""
    empty = {name: type(record).model_fields[name].default for name in record.declared.fields if name not in fields}
    return record.model_copy(update=empty) if empty else record


def without_secrets(record: Record, actor: Actor) -> Record:
    """As the actor sees it, who may see it."""
    return _only(record, actor.sees(record.declared.kind, record))


class _Rows(Mapping[str, Record]):
    """The records of a kind that an actor may see, with nothing in the fields that the actor may not see. Made when they are asked for."""

    def __init__(self, kind: str, actor: Actor) -> None:
        self._kind, self._actor = kind, actor
        self._rows = actor.records.of(kind)
        self._made: dict[str, Record] = {}
        rights = [each for each in actor.rights if each.verb == "see" and each.kind in ("*", kind)]
        self._whole = any(each.rows == "all" and each.fields is None for each in rights)
        self._keys: Collection[str] = self._rows.keys()
        if not any(each.rows == "all" for each in rights):
            self._keys = _owned(actor.records).get(actor.user, {}).get(kind, ()) if actor.user else ()

    def __getitem__(self, key: str) -> Record:
        if key not in self._keys:
            raise KeyError(key)
        if (made := self._made.get(key)) is None:
            made = self._rows[key]
            may = _shown(self._kind) if self._whole else self._actor.sees(self._kind, made)
            if empty := {
                name: type(made).model_fields[name].default for name in made.declared.fields if name not in may
            }:
                made = made.model_copy(update=empty)
            self._made[key] = made
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def seen(actor: Actor) -> Snapshot:
    """The records as the actor may see them."""
    rights = tuple(each for each in actor.rights if each.verb == "see")
    own = any(each.rows == "own" for each in rights)
    if not own and (known := actor.records.views.get(rights)) is not None:
        return cast(Snapshot, known)
    rows = {kind: _Rows(kind, actor) for kind in KINDS if actor.may("see", kind)}
    made = Snapshot(actor.records.revision, MappingProxyType(rows), actor.records.moment)
    if not own:
        actor.records.views[rights] = made
    return made
