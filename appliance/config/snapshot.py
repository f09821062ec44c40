"""The immutable snapshot of all records that every process works on, and what is asked of it: claims, checks, references. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from types import MappingProxyType
from typing import Any, cast

from appliance.config import countries
from appliance.config.claims import EMERGENCY, EXTENSION, SERVICE, Claim, Claims
from appliance.config.declare import Destination, Kind, Problem, Record, Reference, Refused, all_of
from appliance.config.kinds import KINDS
from appliance.config.kinds.devices import Line
from appliance.config.kinds.numbers import Extension
from appliance.config.kinds.people import User
from appliance.config.kinds.services import Service
from appliance.config.kinds.system import Settings
from appliance.words import Listed, PhoneNumber, Said

# The kinds that lead to the public telephone network, and so could carry an emergency call. None does yet.
OUTSIDE: tuple[str, ...] = ()


def _empty() -> Mapping[str, Mapping[str, Record]]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Snapshot:
    """All records at one revision, with the indexes calls need. Never changed; a change is a new snapshot."""

    revision: int = 0
    records: Mapping[str, Mapping[str, Record]] = dataclass_field(default_factory=_empty)  # kind -> id -> record
    moment: float = 0.0  # unix time of the revision
    # What has been made of it and is made once, as what somebody may see of it; it goes when the snapshot goes.
    views: dict[Hashable, object] = dataclass_field(default_factory=dict, compare=False, repr=False)

    def of(self, kind: str) -> Mapping[str, Record]:
        """The records of a kind by id; empty when there are none."""
        return self.records.get(kind, MappingProxyType({}))

    @property
    def mark(self) -> str:
        """Names this configuration for a form to carry. With its moment: after a restore another one may have the number."""
        return f"{self.revision} {self.moment}"

    @cached_property
    def settings(self) -> Settings:
        return cast(Settings, find(self, "settings", "settings"))

    @cached_property
    def users(self) -> Mapping[str, User]:
        return all_of(self, User)

    @cached_property
    def extensions(self) -> Mapping[str, Extension]:
        return all_of(self, Extension)

    @cached_property
    def lines(self) -> Mapping[str, Line]:
        return all_of(self, Line)

    @cached_property
    def extension_by_number(self) -> Mapping[str, Extension]:
        return MappingProxyType({extension.number: extension for extension in self.extensions.values()})

    @cached_property
    def line_by_sip_username(self) -> Mapping[str, Line]:
        return MappingProxyType({line.sip_username: line for line in self.lines.values()})

    @cached_property
    def lines_of(self) -> Mapping[str, tuple[Line, ...]]:
        """Extension id to its lines, in the order in which they were made."""
        found: dict[str, list[Line]] = {key: [] for key in self.extensions}
        for line in self.lines.values():
            found.setdefault(line.extension, []).append(line)
        return MappingProxyType({key: tuple(lines) for key, lines in found.items()})

    @cached_property
    def claims(self) -> Claims:
        """Every number in use and what has it."""
        found: list[Claim] = []
        for name, row in KINDS.items():
            there = [find(self, name, key) for key in row.always] if row.always else self.of(name).values()
            found += [claim for record in there for _, claim in row.claims(record)]
        return Claims(found)

    @cached_property
    def has_administrator(self) -> bool:
        """Whether somebody can log in and change everything; as long as nobody can, the first-run wizard is open."""
        return any(user.role == "full" and user.password_hash for user in self.users.values())

    @cached_property
    def emergency_numbers(self) -> tuple[str, ...]:
        """What is dialled for help in this country."""
        return countries.emergency_numbers(self.settings.country)

    @cached_property
    def reaches_emergency(self) -> bool:
        """Whether an emergency call could leave this system at all."""
        return any(self.of(kind) for kind in OUTSIDE)

    def with_record(self, kind: str, record: Record) -> Snapshot:
        return Snapshot(
            self.revision,
            MappingProxyType({**self.records, kind: MappingProxyType({**self.of(kind), record.id: record})}),
            self.moment,
        )

    def without(self, kind: str, id: str) -> Snapshot:
        rest = {key: record for key, record in self.of(kind).items() if key != id}
        return Snapshot(self.revision, MappingProxyType({**self.records, kind: MappingProxyType(rest)}), self.moment)


def find(snapshot: Snapshot, kind: str, key: str) -> Record | None:
    """One record; of those that are there from the start, as it is while none is stored."""
    return snapshot.of(kind).get(key) or KINDS[kind].always.get(key)


def services(snapshot: Snapshot) -> Mapping[str, Service]:
    """The PBX services by name, all there are."""
    return {name: cast(Service, find(snapshot, "service", name)) for name in KINDS["service"].always}


def service_number(snapshot: Snapshot, name: str) -> str:
    """What is dialled for a service; "" when nobody can."""
    service = services(snapshot).get(name)
    return service.number if service is not None and service.on else ""


def owner(claim: Claim, snapshot: Snapshot) -> Said:
    """What has the number, for "… is in use by …"."""
    extension = snapshot.extensions.get(claim.target.id) if claim.target.kind == EXTENSION else None
    if extension is not None:
        number = PhoneNumber(extension.number)
        if not extension.name:
            return Said.of("claims.extension", number=number)
        return Said.of("claims.extension-of", number=number, name=extension.name)
    if claim.target.kind == SERVICE:
        return Said.of(f"{claim.target.id}.name")
    return Said.of(f"claims.{claim.target.kind}")


def name_of(record: Record) -> str:
    """How it is called in a sentence."""
    return KINDS[record.declared.kind].name_of(record)


def destinations(snapshot: Snapshot) -> Iterator[tuple[str, Said]]:
    """What a field of type Destination may hold, as it is typed and in words: all that has a number, but for emergency calls."""
    told = set()
    for claim in snapshot.claims:
        if claim.target.kind != EMERGENCY and claim.target not in told:
            told.add(claim.target)
            yield ":".join(claim.target), owner(claim, snapshot)


def next_number(snapshot: Snapshot) -> str:
    """The lowest unused extension number from the first one on."""
    first = snapshot.settings.first_extension
    number = int(first)
    while snapshot.claims.find(str(number).zfill(len(first))) is not None:
        number += 1
    return str(number).zfill(len(first))


def make(kind: str, values: Mapping[str, Any]) -> Record:
    """A record of the kind; Refused with a problem per field when values do not fit it."""
    if kind not in KINDS:
        raise Refused(Problem("", Said.of("fields.no-kind", name=kind)))
    made: Record = KINDS[kind].make(values)
    return made


# ---- what a save has to keep to ----------------------------------------------------------------------------------------


def check(kind: str, record: Record, snapshot: Snapshot) -> list[Problem]:
    """What making the record could not tell: letters, references that lead nowhere, numbers in use (by whom), and what the kind itself
    demands."""
    row = KINDS[kind]
    rest = snapshot.without(kind, record.id) if record.id else snapshot
    problems = list(_fields(record, rest))
    wrong = {problem.field for problem in problems}
    found = (*_numbers(row, record, snapshot), *row.check(record, rest))
    return problems + [problem for problem in found if problem.field not in wrong]


def _fields(record: Record, rest: Snapshot) -> Iterator[Problem]:
    for name, declared in record.declared.fields.items():
        value = getattr(record, name, "")  # a record that was never checked may lack one
        if isinstance(value, str) and any(_unprintable(letter) for letter in value):
            yield Problem(name, Said.of("fields.control-characters"))
        if not declared.fits(value):
            yield Problem(name, record.declared.wrong(name))
        match declared:
            case Reference(kind=kind, required=required):
                if value not in rest.of(kind) and (value or required):
                    yield Problem(name, Said.of("fields.gone", kind=Said.of(f"kind.{kind}")))
            case Destination():
                if value is not None and ":".join(value) not in dict(destinations(rest)):
                    yield Problem(name, Said.of("fields.no-destination", field=record.declared.label(name)))


def _unprintable(letter: str) -> bool:
    """Control characters and line ends of any script, lone surrogates, and marks that turn the direction of a whole text."""
    return (
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        or letter in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def _numbers(row: Kind[Any], record: Record, snapshot: Snapshot) -> Iterator[Problem]:
    """A problem for each number that somebody else has, or the record itself for something else, with the name of who has it."""
    claimed = list(row.claims(record))
    if not claimed:
        return
    before = find(snapshot, row.name, record.id)
    mine = {claim for _, claim in row.claims(before)} if before is not None else set()
    others = Claims(claim for claim in snapshot.claims if claim not in mine)
    own: list[Claim] = []
    for field, claim in claimed:
        if (other := others.conflict(claim) or Claims(own).conflict(claim)) is not None:
            number, who = PhoneNumber(claim.number), owner(other, snapshot)
            if claim.target.kind == EMERGENCY:
                yield Problem(field, Said.of("claims.needed-for-emergency", number=number, owner=who))
            elif other.target.kind == EMERGENCY:
                yield Problem(field, Said.of("claims.kept-for", number=number, owner=who))
            else:
                yield Problem(field, Said.of("claims.in-use", number=number, owner=who))
        own.append(claim)


def without(
    snapshot: Snapshot, kind: str, key: str, kinds: Mapping[str, Kind[Any]] = KINDS
) -> list[tuple[str, str, Record | None]]:
    """What deleting a record does, as (kind, id, None or the record as it is then): it goes, and so does what refers to it, or the
    reference is cleared. Refused with the names of what it may not be taken from."""
    changes: dict[tuple[str, str], Record | None] = {(kind, key): None}
    held: list[Said] = []
    for gone_kind, gone in _going(snapshot, kind, key, kinds):
        for name, row in kinds.items():
            for field, reference in row.references.items():
                if reference.kind != gone_kind:
                    continue
                for record in snapshot.of(name).values():
                    if getattr(record, field) != gone:
                        continue
                    if reference.gone == "refuse":
                        held.append(
                            Said.of(
                                "fields.named", kind=Said.of(f"kind.{name}"), name=str(getattr(record, row.named_by))
                            )
                        )
                    elif reference.gone == "take along":
                        changes[name, record.id] = None
                    elif changes.get((name, record.id), record) is not None:
                        now = changes.get((name, record.id)) or record
                        changes[name, record.id] = now.model_copy(update={field: ""})
    if held:
        raise Refused(Problem("", Said.of("fields.in-use", kind=Said.of(f"kind.{kind}"), who=Listed(tuple(held)))))
    return [(name, id, record) for (name, id), record in changes.items()]


def _going(snapshot: Snapshot, kind: str, key: str, kinds: Mapping[str, Kind[Any]]) -> Iterable[tuple[str, str]]:
    """The record and all that is taken along with it."""
    found = [(kind, key)]
    for gone_kind, gone in found:
        found += [
            (name, record.id)
            for name, row in kinds.items()
            for field, reference in row.references.items()
            if reference.kind == gone_kind and reference.gone == "take along"
            for record in snapshot.of(name).values()
            if getattr(record, field) == gone and (name, record.id) not in found
        ]
    return found
