"""The configuration as TOML, and back. Pure.

    [extension.100]
    id = "5f0c…"            # so that a new name is a new name, not another record
    name = "Reception"
    user = "anna"           # what it leads to, by name
    ring_seconds = "60 s"   # as people write it

A table for each record, in the order of the menu and of the names, so the same configuration is always the same octets. A kind that stands in
a text stands there whole: who is missing is deleted; a kind that does not stand there stays. Secrets are not in it (`secrets_of`: a second
file, sealed), nor what belongs to people and not to the office (fields marked personal).
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import tomli_w

from appliance.config.declare import Destination, Duration, FieldType, Record, Reference, Refused, Several, Text
from appliance.config.model import KINDS, Problem, Snapshot
from appliance.config.reading.listing import listed
from appliance.config.saving.batch import Wanted, new_id
from appliance.exchange.names import Names, there
from appliance.words import Said

LONGEST = 32_000_000  # characters of a text

Secrets = Mapping[str, Mapping[str, Mapping[str, str]]]  # kind -> id -> field -> value


class Read(NamedTuple):
    """What a text wants, and how each is called in it, "extension 100"."""

    wanted: list[Wanted]
    places: list[str]


def written(snapshot: Snapshot) -> str:
    names = Names(snapshot)
    tables: dict[str, Any] = {}
    for kind, row in KINDS.items():
        tables[kind] = {
            names.of(kind, record.id): {"id": record.id, **dict(_values(record, names))} for record in listed(snapshot, kind, sort="id" if row.always else row.named_by)
        }
    return tomli_w.dumps(tables)


def _values(record: Record, names: Names) -> Iterator[tuple[str, Any]]:
    for name, field in record.declared.fields.items():
        if not _stands(field):
            continue
        value = names.value(field, getattr(record, name))
        yield name, field.text(value) if isinstance(field, Duration) else list(value) if isinstance(value, tuple) else value


def _stands(field: FieldType) -> bool:
    """Whether it is in the text."""
    return not field.secret and not field.personal and not field.forgotten


def secrets_of(snapshot: Snapshot) -> Secrets:
    """All secrets that are not empty."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for kind, row in KINDS.items():
        for key, record in there(snapshot, kind).items():
            if held := {name: str(getattr(record, name)) for name in sorted(row.secrets) if getattr(record, name)}:
                found.setdefault(kind, {})[key] = held
    return found


def read(text: str, snapshot: Snapshot, secrets: Secrets | None = None) -> Read:
    """What has to be wanted so that the configuration is as the text says. Refused with the place of everything that cannot be read."""
    if len(text) > LONGEST:
        raise Refused(Problem("", Said.of("exchange.too-long", most=LONGEST)))
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Refused(Problem("", Said.of("exchange.no-toml", why=str(error)))) from None
    return _Reading(tables, snapshot, secrets or {}).all()


class _Reading:
    def __init__(self, tables: Mapping[str, Any], snapshot: Snapshot, secrets: Secrets) -> None:
        self._tables, self._snapshot, self._secrets = tables, snapshot, secrets
        self._names = Names(snapshot)
        self._problems: list[Problem] = []
        self._ids: dict[tuple[str, str], str] = {}  # what the text calls something -> its id
        self._known: set[tuple[str, str]] = set()  # kind and id of all that stands in it

    def all(self) -> Read:
        for kind, records in self._tables.items():
            if kind not in KINDS or not isinstance(records, dict):
                self._problems.append(Problem(kind, Said.of("fields.no-kind", name=kind)))
                continue
            for name, values in records.items():
                self._ids[kind, name] = self._id_of(kind, name, values if isinstance(values, dict) else {})
        self._known = {(kind, key) for (kind, _), key in self._ids.items()}
        found = Read([], [])
        for kind, records in self._tables.items():
            if kind in KINDS and isinstance(records, dict):
                for name, values in records.items():
                    self._record(kind, name, values, found)
                self._missing(kind, found)
        if self._problems:
            raise Refused(*self._problems)
        brought = {
            (one.kind, name, key)
            for one in found.wanted
            for name in KINDS[one.kind].references
            for value in (one.inside.get(name), (one.values or {}).get(name))
            for key in (value if isinstance(value, list) else [value])
        }
        return Read([self._with_what_it_brings(one, brought) for one in found.wanted], found.places)

    def _with_what_it_brings(self, one: Wanted, brought: Collection[tuple[str, str, Any]]) -> Wanted:
        """What a new record comes with is made where the text has nothing in its place: an extension has a line. brought: kind, field and
        id of everything that the text leads to."""
        for row in KINDS.values() if one.new else ():
            fields = [name for name, leads in row.references.items() if leads.kind == one.kind]
            if one.kind in row.with_new and not any((row.name, name, one.key) in brought for name in fields):
                return one._replace(back=False)
        return one

    def _id_of(self, kind: str, name: str, values: Mapping[str, Any]) -> str:
        """By its id, else by its name; a new one keeps the id that the text gives it."""
        given = values.get("id")
        known = there(self._snapshot, kind)
        if isinstance(given, str) and given:
            return given
        found = self._names.id(kind, name)
        return found if found is not None and found in known else new_id()

    def _record(self, kind: str, name: str, values: Any, found: Read) -> None:
        row, place = KINDS[kind], f"{kind} {name}"
        if not isinstance(values, dict):
            self._problems.append(Problem(place, Said.of("exchange.no-table", place=place)))
            return
        key = self._ids[kind, name]
        new = key not in there(self._snapshot, kind)
        read: dict[str, Any] = {}
        inside: dict[str, Any] = {}
        for field_name, value in values.items():
            field = row.record.declared.fields.get(field_name)
            if field_name == "id":
                continue
            if field is None or not _stands(field):
                self._problems.append(Problem(f"{place}.{field_name}", Said.of("fields.no-field", name=f"{place}.{field_name}")))
                continue
            (inside if field.hidden else read)[field_name] = self._value(f"{place}.{field_name}", field, value)
        for field_name, secret in self._secrets.get(kind, {}).get(key, {}).items():
            if field_name in row.secrets:
                (inside if field_name in row.hidden else read)[field_name] = secret
        found.wanted.append(Wanted(kind, key, read, new=new, back=new, usernames="keep", inside=inside))
        found.places.append(place)

    def _value(self, place: str, field: FieldType, value: Any) -> Any:
        match field:
            case Several(of=Reference(kind=kind)) if isinstance(value, list):
                return [self._leads(place, kind, each) for each in value]
            case Reference(kind=kind):
                return self._leads(place, kind, value) if value else ""
            case Destination() if isinstance(value, str) and value:
                kind, _, name = value.partition(":")
                return f"{kind}:{self._leads(place, kind, name)}"
            case Text() if not isinstance(value, str):
                self._problems.append(Problem(place, Said.of("exchange.no-text", place=place)))
                return ""
        return value

    def _leads(self, place: str, kind: str, name: Any) -> str:
        key = self._ids.get((kind, str(name)))
        if key is None and kind not in self._tables:
            key = self._names.id(kind, str(name))
        if key is None and (kind, str(name)) in self._known:
            key = str(name)  # the id itself
        if key is None:
            named = Said.of(f"kind.{kind}") if kind in KINDS else kind
            self._problems.append(Problem(place, Said.of("exchange.leads-nowhere", place=place, kind=named, name=str(name))))
        return key or ""

    def _missing(self, kind: str, found: Read) -> None:
        if KINDS[kind].always:
            return
        kept = {key for (each, _), key in self._ids.items() if each == kind}
        for key in self._snapshot.of(kind):
            if key not in kept:
                found.wanted.append(Wanted(kind, key, None))
                found.places.append(f"{kind} {self._names.of(kind, key)}")
