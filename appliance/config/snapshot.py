"""The immutable snapshot of all records that every process works on, and what is asked of it: claims, checks, references. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import tzinfo
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from appliance.config import countries
from appliance.config.claims import EMERGENCY, EXTENSION, SERVICE, Claim, Claims
from appliance.config.declare import Destination, Kind, Problem, Record, Reference, Refused, Several, Text, all_of
from appliance.config.kinds import KINDS
from appliance.config.kinds.devices import Line
from appliance.config.kinds.numbers import Extension
from appliance.config.kinds.people import User, has_administrator
from appliance.config.kinds.services import Service
from appliance.config.kinds.system import Settings
from appliance.words import Listed, PhoneNumber, Said

# The kinds that lead to the public telephone network, and so could carry an emergency call. None does yet.
OUTSIDE: tuple[str, ...] = ()


class Change(NamedTuple):
    """One record of a save. record None: deleted."""

    kind: str
    key: str
    record: Record | None


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
        """The records of a kind by id, as they are stored; empty when there are none."""
        return self.records.get(kind, MappingProxyType({}))

    @cached_property
    def made(self) -> dict[tuple[str, ...], Any]:
        """What is made of it once and asked often: indices, orders. Whoever makes something keeps it here, by a name of its own."""
        return {}

    def having(self, kind: str, field: str, value: str) -> Iterable[Record]:
        """Those of a kind whose text is the same as `value`, or one of whose references is that."""
        declared = KINDS[kind].record.declared.fields[field]
        same = declared.compared if isinstance(declared, Text) else str
        index: dict[str, list[Record]] | None = self.made.get(("having", kind, field))
        if index is None:
            index = {}
            for record in self.of(kind).values():
                held = getattr(record, field)
                for each in held if isinstance(held, tuple) else (held,):
                    index.setdefault(same(each), []).append(record)
            self.made["having", kind, field] = index
        return index.get(same(value), ())

    @property
    def mark(self) -> str:
        """Names this configuration for a form to carry. With its moment: after a restore another one may have the number."""
        return f"{self.revision} {self.moment}"

    @cached_property
    def settings(self) -> Settings:
        return cast(Settings, find(self, "settings", "settings"))

    @cached_property
    def zone(self) -> tzinfo:
        """The time zone of the office: where its days begin, and when something is due."""
        return countries.zone(self.settings.time_zone, self.settings.country)

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
        return has_administrator(self)

    @cached_property
    def emergency_numbers(self) -> tuple[str, ...]:
        """What is dialled for help in this country."""
        return countries.emergency_numbers(self.settings.country)

    @cached_property
    def reaches_emergency(self) -> bool:
        """Whether an emergency call could leave this system at all."""
        return any(self.of(kind) for kind in OUTSIDE)

    def changed(self, changes: Iterable[Change]) -> Snapshot:
        """With these records instead, as the next revision will be."""
        records: dict[str, dict[str, Record]] = {}
        for kind, key, record in changes:
            there = records.get(kind)
            if there is None:
                there = records[kind] = dict(self.of(kind))
            if record is None:
                there.pop(key, None)
            else:
                there[key] = record
        proxies = {kind: MappingProxyType(there) for kind, there in records.items()}
        return Snapshot(self.revision, MappingProxyType({**self.records, **proxies}), self.moment)

    def with_record(self, kind: str, record: Record) -> Snapshot:
        return self.changed([Change(kind, record.id, record)])

    def without(self, kind: str, id: str) -> Snapshot:
        return self.changed([Change(kind, id, None)])


class Rest:
    """All records but one: `declare.Records` for its checks."""

    def __init__(self, snapshot: Snapshot, kind: str, id: str) -> None:
        self._snapshot, self._kind, self._id = snapshot, kind, id

    @cached_property
    def _own(self) -> Mapping[str, Record]:
        return MappingProxyType({key: one for key, one in self._snapshot.of(self._kind).items() if key != self._id})

    def of(self, kind: str) -> Mapping[str, Record]:
        return self._own if kind == self._kind else self._snapshot.of(kind)

    def having(self, kind: str, field: str, value: str) -> Iterable[Record]:
        found = self._snapshot.having(kind, field, value)
        return (record for record in found if (kind, record.id) != (self._kind, self._id))

    @cached_property
    def claims(self) -> Claims:
        mine = set()
        if (record := find(self._snapshot, self._kind, self._id)) is not None:
            mine = {claim for _, claim in KINDS[self._kind].claims(record)}
        return Claims(claim for claim in self._snapshot.claims if claim not in mine)


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


def make(kind: str, values: Mapping[str, Any]) -> Record:
    """A record of the kind; Refused with a problem per field when values do not fit it."""
    if kind not in KINDS:
        raise Refused(Problem("", Said.of("fields.no-kind", name=kind)))
    made: Record = KINDS[kind].make(values)
    return made


# ---- what a save has to keep to ----------------------------------------------------------------------------------------


def check(kind: str, record: Record, snapshot: Snapshot) -> list[Problem]:
    """What making the record could not tell: letters, references that lead nowhere, what only one may have, numbers in use (by whom), and
    what the kind itself demands. The snapshot may hold it already as it will be: then many are checked on the same indices."""
    row = KINDS[kind]
    together = snapshot if snapshot.of(kind).get(record.id) is record else snapshot.with_record(kind, record)
    rest = Rest(together, kind, record.id)
    problems = list(_fields(record, rest, together))
    wrong = {problem.field for problem in problems}
    found = (*_numbers(row, record, together), *row.check(record, rest))
    return problems + [problem for problem in found if problem.field not in wrong]


def _fields(record: Record, rest: Rest, together: Snapshot) -> Iterator[Problem]:
    kind = record.declared.kind
    for name, declared in record.declared.fields.items():
        value = getattr(record, name, "")  # a record that was never checked may lack one
        texts = value if isinstance(value, tuple) else (value,)
        if any(_unprintable(letter) for text in texts if isinstance(text, str) for letter in text):
            yield Problem(name, Said.of("fields.control-characters"))
        if not declared.fits(value):
            yield Problem(name, record.declared.wrong(name))
        inner = declared.of if isinstance(declared, Several) else declared
        match inner:
            case Reference(kind=other, required=required):
                ids = KINDS[kind].leads_to(record, name)
                if any(id not in together.of(other) for id in ids) or (required and not ids):
                    yield Problem(name, Said.of("fields.gone", kind=Said.of(f"kind.{other}")))
            case Destination():
                if isinstance(value, tuple) and not _is_destination(value, rest):
                    yield Problem(name, Said.of("fields.no-destination", field=record.declared.label(name)))
            case Text(unique=True):
                if value and any(True for _ in rest.having(kind, name, value)):
                    yield Problem(name, record.declared.taken(name, value))


def _is_destination(value: tuple[Any, ...], rest: Rest) -> bool:
    return any(claim.target == value and claim.target.kind != EMERGENCY for claim in rest.claims)


def _unprintable(letter: str) -> bool:
    """Control characters and line ends of any script, lone surrogates, and marks that turn the direction of a whole text."""
    return (
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        or letter in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def _numbers(row: Kind[Any], record: Record, together: Snapshot) -> Iterator[Problem]:
    """A problem for each number that somebody else has, or the record itself for something else, with the name of who has it."""
    claimed = list(row.claims(record))
    mine = {claim for _, claim in claimed}
    own: list[Claim] = []
    for field, claim in claimed:
        if (other := together.claims.conflict(claim, mine) or Claims(own).conflict(claim)) is not None:
            number, who = PhoneNumber(claim.number), owner(other, together)
            if claim.target.kind == EMERGENCY:
                yield Problem(field, Said.of("claims.needed-for-emergency", number=number, owner=who))
            elif other.target.kind == EMERGENCY:
                yield Problem(field, Said.of("claims.kept-for", number=number, owner=who))
            else:
                yield Problem(field, Said.of("claims.in-use", number=number, owner=who))
        own.append(claim)


def without(
    snapshot: Snapshot, gone: Iterable[tuple[str, str]], kinds: Mapping[str, Kind[Any]] = KINDS
) -> list[Change]:
    """What deleting records does: they go, and so does what refers to them, or the reference is cleared. Refused with the names of what
    they may not be taken from."""
    changes: dict[tuple[str, str], Record | None] = {}
    held: dict[str, list[Said]] = {}
    following = list(gone)
    for kind, key in following:  # grows by what is taken along
        changes[kind, key] = None
        for name, row in kinds.items():
            for field, reference in row.references.items():
                if reference.kind != kind:
                    continue
                for record in list(_referring(snapshot, row, field, key)):
                    if changes.get((name, record.id), record) is None:
                        continue
                    if reference.gone == "refuse":
                        shown = str(getattr(record, row.named_by))
                        held.setdefault(kind, []).append(Said.of("fields.named", kind=Said.of(f"kind.{name}"), name=shown))
                    elif reference.gone == "take along":
                        following.append((name, record.id))
                    else:
                        now = changes.get((name, record.id)) or record
                        changes[name, record.id] = now.model_copy(update={field: _unreferred(getattr(now, field), key)})
    if held:
        raise Refused(
            *(
                Problem("", Said.of("fields.in-use", kind=Said.of(f"kind.{kind}"), who=Listed(tuple(who))))
                for kind, who in held.items()
            )
        )
    return [Change(name, id, record) for (name, id), record in changes.items()]


def _referring(snapshot: Snapshot, row: Kind[Any], field: str, key: str) -> Iterable[Record]:
    if row.name in KINDS and KINDS[row.name] is row:
        return snapshot.having(row.name, field, key)
    return [record for record in snapshot.of(row.name).values() if key in row.leads_to(record, field)]


def _unreferred(value: Any, key: str) -> Any:
    return tuple(each for each in value if each != key) if isinstance(value, tuple) else ""
