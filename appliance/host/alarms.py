"""What is wrong, how bad, and what to do: a table of checks over plain facts. Pure: time and facts are arguments.

An alarm is a row of CHECKS: severity, and what to look for. `find` gives a sentence for each thing that is wrong, keyed so that an alarm keeps
its beginning while it lasts; what to do stands in the catalogue (`alarm.ID-repair`). Adding an alarm is adding a row and those words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from appliance import cti
from appliance.words import Said, Words, english, printable
from appliance.words.said import pack

DAY = 86400.0
FAULTS = 5  # shown by themselves


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    state: str
    recent_deaths: int  # in the last ten minutes, hangs included
    recent_hangs: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the supervisor sees; None: not known."""

    processes: Mapping[str, ProcessFacts] = field(default_factory=dict)
    failed_parts: Mapping[str, str] = field(default_factory=dict)  # part -> why it could not be started
    damage: str = ""  # why the configuration cannot be read
    records_lost: bool = False  # the call records were damaged and have been begun anew
    disk_free: int | None = None  # bytes, where the data is
    certificate_ends: float | None = None  # unix time
    rtp_pairs: int = 0
    rtp_wanted: int = 0
    rtp_limited_by: Said | str = ""
    events_lost: int = 0
    hostile_media: Mapping[str, Said] = field(default_factory=dict)  # by kind, source and account, of the last ten minutes
    faults: Sequence[Said] = ()  # what has cost a call in the last ten minutes, oldest first
    partitions: Mapping[str, str] = field(default_factory=dict)  # of the box: what its start found, broken or repaired
    stays_root: str = ""  # why everything runs as root
    reserve: bool = True  # the room kept back on the disk is still there
    media_free: int | None = None  # bytes on the media partition
    cipher_differs: str = ""  # the core's cipher code is not as it should be: what was found, and what is used instead


Findings = Iterable[tuple[str, Said]]  # (key within the check, sentence)


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    severity: Literal["warning", "error"]
    find: Callable[[Facts, float], Findings]

    @property
    def repair(self) -> Said:
        return Said(f"alarm.{self.id}-repair")


STANDING = {"stopped": Said.of("alarm.stopped"), "backing off": Said.of("alarm.backing-off")}


def _down(facts: Facts, now: float) -> Findings:
    return (
        (name, Said.of("alarm.process-down", name=name, state=STANDING[p.state]))
        for name, p in facts.processes.items()
        if p.state in STANDING
    )


def _dying(facts: Facts, now: float) -> Findings:
    for name, process in facts.processes.items():
        deaths = process.recent_deaths - process.recent_hangs  # a hang not yet seen as a death makes it negative
        if deaths > 0:
            yield name, Said.of("alarm.process-died", name=name, times=deaths)


def _hanging(facts: Facts, now: float) -> Findings:
    for name, process in facts.processes.items():
        if hangs := process.recent_hangs:
            yield name, Said.of("alarm.process-hung", name=name, times=hangs)


def _failed(facts: Facts, now: float) -> Findings:
    return ((part, Said.of("alarm.part-failed", part=part, why=why)) for part, why in facts.failed_parts.items())


def _damage(facts: Facts, now: float) -> Findings:
    if facts.damage and "calls" in facts.processes:  # it has read it before
        yield "", Said.of("alarm.damaged-since", why=facts.damage)
    elif facts.damage:
        yield "", Said.of("alarm.damaged", why=facts.damage)


def _records(facts: Facts, now: float) -> Findings:
    if facts.records_lost:
        yield "", Said.of("alarm.records-lost")


def _disk(facts: Facts, now: float) -> Findings:
    if facts.disk_free is not None and facts.disk_free < 50 << 20 and not facts.reserve:
        yield "", Said.of("alarm.disk-full", megabytes=facts.disk_free >> 20)
    elif facts.disk_free is not None and facts.disk_free < 200 << 20:
        yield "", Said.of("alarm.disk-low", megabytes=facts.disk_free >> 20)


def _repaired(facts: Facts, now: float) -> Findings:
    for name, said in facts.partitions.items():
        if said == "repaired":
            yield name, Said.of("alarm.partition-repaired", name=name)


def _media(facts: Facts, now: float) -> Findings:
    if facts.media_free is not None and facts.media_free < 50 << 20:
        yield "", Said.of("alarm.media-low", megabytes=facts.media_free >> 20)


def _certificate(facts: Facts, now: float) -> Findings:
    if facts.certificate_ends is not None and facts.certificate_ends - now < 14 * DAY:
        days = int((facts.certificate_ends - now) // DAY)
        yield "", Said.of("alarm.expired") if days < 0 else Said.of("alarm.expires", days=days)


def _few_ports(facts: Facts, now: float) -> Findings:
    if 0 < facts.rtp_pairs < facts.rtp_wanted:
        why, pairs, wanted = facts.rtp_limited_by, facts.rtp_pairs, facts.rtp_wanted
        yield "", Said.of("alarm.ports-few", pairs=pairs, wanted=wanted, why=why)


def _no_ports(facts: Facts, now: float) -> Findings:
    if facts.rtp_wanted and not facts.rtp_pairs:
        yield "", Said.of("alarm.ports-none", why=facts.rtp_limited_by)


def _events(facts: Facts, now: float) -> Findings:
    if facts.events_lost:
        yield "", Said.of("alarm.events-lost", count=facts.events_lost)


def _cipher(facts: Facts, now: float) -> Findings:
    if facts.cipher_differs:
        yield "", Said.of("alarm.cipher-differs", found=facts.cipher_differs)


def _hostile(facts: Facts, now: float) -> Findings:
    yield from facts.hostile_media.items()


def _faults(facts: Facts, now: float) -> Findings:
    yield from ((pack(said).decode(), said) for said in facts.faults[-FAULTS:])
    if (more := len(facts.faults) - FAULTS) > 0:
        yield "more", Said.of("alarm.more-faults", count=more)


def _root(facts: Facts, now: float) -> Findings:
    if facts.stays_root:
        yield "", Said.of("alarm.runs-as-root", why=facts.stays_root)


CHECKS: tuple[Check, ...] = (
    Check("process-down", "error", _down),
    Check("process-died", "warning", _dying),
    Check("process-hung", "warning", _hanging),
    Check("part-failed", "error", _failed),
    Check("configuration-damaged", "error", _damage),
    Check("records-damaged", "warning", _records),
    Check("disk-full", "error", _disk),
    Check("media-full", "warning", _media),
    Check("partition-repaired", "warning", _repaired),
    Check("certificate-ends", "warning", _certificate),
    Check("runs-as-root", "warning", _root),
    Check("rtp-ports-few", "warning", _few_ports),
    Check("rtp-ports-none", "error", _no_ports),
    Check("hostile-media", "warning", _hostile),
    Check("fault", "warning", _faults),
    Check("cipher-differs", "warning", _cipher),
    Check("events-lost", "warning", _events),
)


def told(alarm: cti.Alarm, words: Words | None = None) -> str:
    """For a log, in English, or a terminal."""
    return " ".join((words or english()).say(said, escape=printable) for said in (alarm.message, alarm.repair))


class Alarms:
    """The alarms that stand now, each with its beginning."""

    def __init__(self, checks: tuple[Check, ...] = CHECKS) -> None:
        self._checks = checks
        self._standing: dict[str, cti.Alarm] = {}

    def update(self, facts: Facts, now: float) -> tuple[list[cti.Alarm], list[cti.Alarm]]:
        """Look at the facts (now: unix time); returns what has begun and what has ended."""
        found: dict[str, cti.Alarm] = {}
        for check in self._checks:
            for key, message in check.find(facts, now):
                name = f"{check.id} {key}".strip()
                since = self._standing[name].since if name in self._standing else now
                found[name] = cti.Alarm(
                    id=name, severity=check.severity, since=since, message=message, repair=check.repair
                )
        begun = [alarm for name, alarm in found.items() if name not in self._standing]
        ended = [alarm for name, alarm in self._standing.items() if name not in found]
        self._standing = found
        return begun, ended

    @property
    def standing(self) -> list[cti.Alarm]:
        """Errors first, oldest first."""
        return sorted(self._standing.values(), key=lambda alarm: (alarm.severity != "error", alarm.since))
