"""What is wrong, how bad, and what to do: a table of checks over plain facts. Pure: time and facts are arguments.

An alarm is a row of CHECKS: severity, what to look for, what to do. `find` gives a sentence for each thing that is wrong, keyed so
that an alarm keeps its beginning while it lasts. Adding an alarm is adding a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from appliance import cti
from appliance.words import Said, english

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
    rtp_limited_by: str = ""
    events_lost: int = 0
    hostile_media: Mapping[str, Said] = field(default_factory=dict)  # by kind, source and account, of the last ten minutes
    faults: Sequence[Said] = ()  # what has cost a call in the last ten minutes, oldest first
    partitions: Mapping[str, str] = field(default_factory=dict)  # of the box: what its start found, broken or repaired
    stays_root: str = ""  # why everything runs as root
    reserve: bool = True  # the room kept back on the disk is still there
    media_free: int | None = None  # bytes on the media partition
    cipher_differs: str = ""  # the core's cipher code is not as it should be: what was found, and what is used instead


Findings = Iterable[tuple[str, str]]  # (key within the check, sentence)


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    severity: Literal["warning", "error"]
    find: Callable[[Facts, float], Findings]
    repair: str


def _down(facts: Facts, now: float) -> Findings:
    return (
        (name, f"The process {name} is not running ({p.state}).")
        for name, p in facts.processes.items()
        if p.state in ("stopped", "backing off")
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _dying(facts: Facts, now: float) -> Findings:
    for name, process in facts.processes.items():
        deaths = process.recent_deaths - process.recent_hangs  # a hang not yet seen as a death makes it negative
        if deaths > 0:
            yield name, f"The process {name} died {_times(deaths)} in the last ten minutes and was started again."


def _hanging(facts: Facts, now: float) -> Findings:
    for name, process in facts.processes.items():
        if hangs := process.recent_hangs:
            again = f"The process {name} stood still {_times(hangs)} in the last ten minutes; it was killed and started again."
            yield name, again


def _failed(facts: Facts, now: float) -> Findings:
    return ((part, f"The part {part} could not be started ({why}).") for part, why in facts.failed_parts.items())


def _damage(facts: Facts, now: float) -> Findings:
    if facts.damage and "calls" in facts.processes:  # it has read it before
        yield "", f"The configuration cannot be read any more: {facts.damage} Telephones go on with what was read before; nothing can be changed."
    elif facts.damage:
        yield "", f"The configuration cannot be read, so no telephone works: {facts.damage}"


def _records(facts: Facts, now: float) -> Findings:
    if facts.records_lost:
        yield "", "The call records were damaged and have been begun anew at this start; calls are not affected."


def _disk(facts: Facts, now: float) -> Findings:
    if facts.disk_free is not None and facts.disk_free < 50 << 20 and not facts.reserve:
        yield "", f"The disk is full: calls go on and are recorded into the last {facts.disk_free >> 20} MB."
    elif facts.disk_free is not None and facts.disk_free < 200 << 20:
        yield "", f"Only {facts.disk_free >> 20} MB are free where the data is."


def _repaired(facts: Facts, now: float) -> Findings:
    for name, said in facts.partitions.items():
        if said == "repaired":
            yield name, f"The {name} partition was damaged and has been repaired at this start."


def _media(facts: Facts, now: float) -> Findings:
    if facts.media_free is not None and facts.media_free < 50 << 20:
        yield "", f"Only {facts.media_free >> 20} MB are free for recordings and prompts; calls go on."


def _certificate(facts: Facts, now: float) -> Findings:
    if facts.certificate_ends is not None and facts.certificate_ends - now < 14 * DAY:
        days = int((facts.certificate_ends - now) // DAY)
        yield "", "The certificate has expired." if days < 0 else f"The certificate expires in {days} days."


def _few_ports(facts: Facts, now: float) -> Findings:
    if 0 < facts.rtp_pairs < facts.rtp_wanted:
        yield (
            "",
            f"Only {facts.rtp_pairs} of {facts.rtp_wanted} RTP port pairs could be opened, because of {facts.rtp_limited_by}.",
        )


def _no_ports(facts: Facts, now: float) -> Findings:
    if facts.rtp_wanted and not facts.rtp_pairs:
        yield "", f"No RTP port could be opened, because of {facts.rtp_limited_by}: calls have no sound."


def _events(facts: Facts, now: float) -> Findings:
    if facts.events_lost:
        yield "", f"{facts.events_lost} events of the media core were lost."


def _cipher(facts: Facts, now: float) -> Findings:
    if facts.cipher_differs:
        yield "", f"The code that encrypts sound failed its test when the media core started; SRTP is done by {facts.cipher_differs}."


def _hostile(facts: Facts, now: float) -> Findings:
    yield from ((key, english().say(said)) for key, said in facts.hostile_media.items())


def _faults(facts: Facts, now: float) -> Findings:
    yield from ((message, message) for message in map(english().say, facts.faults[-FAULTS:]))
    if (more := len(facts.faults) - FAULTS) > 0:
        yield "more", f"{more} more faults in the last ten minutes are in the log."


def _root(facts: Facts, now: float) -> Findings:
    if facts.stays_root:
        yield "", f"Everything runs as root: {facts.stays_root}."


CHECKS: tuple[Check, ...] = (
    Check(
        "process-down",
        "error",
        _down,
        "It is started again by itself. If it stays down, its last words are in the log.",
    ),
    Check(
        "process-died",
        "warning",
        _dying,
        "Nothing need be done if it stays up. Its last words are in the log; please report them.",
    ),
    Check(
        "process-hung",
        "warning",
        _hanging,
        "Nothing need be done if it happens once. If it comes back, look at the load of the machine, and please report it.",
    ),
    Check("part-failed", "error", _failed, "Mend the cause and start Switchroom again."),
    Check(
        "configuration-damaged",
        "error",
        _damage,
        "Open the admin page with the setup code: it restores a backup and keeps what is damaged aside.",
    ),
    Check(
        "records-damaged",
        "warning",
        _records,
        "What is damaged is kept aside; a backup has the older records. The disk may be failing.",
    ),
    Check("disk-full", "error", _disk, "Delete old recordings and logs, or give the box a larger disk."),
    Check("media-full", "warning", _media, "Delete old recordings, or give the box a larger disk."),
    Check(
        "partition-repaired",
        "warning",
        _repaired,
        "Look whether extensions and call records are complete; otherwise restore a backup. The disk may be failing.",
    ),
    Check(
        "certificate-ends",
        "warning",
        _certificate,
        "Switchroom renews it by itself, 30 days before; that it could not means that its clock is wrong or that the data directory cannot be written, which the log then says.",
    ),
    Check(
        "runs-as-root",
        "warning",
        _root,
        "Telephones work. For safety, put program and data where others may go (--data), or start it as another user.",
    ),
    Check("rtp-ports-few", "warning", _few_ports, "Raise the limit of open files or choose a free port range (--rtp)."),
    Check("rtp-ports-none", "error", _no_ports, "Choose a free port range (--rtp) and start Switchroom again."),
    Check(
        "hostile-media",
        "warning",
        _hostile,
        "The call goes on, what is not genuine is not heard. Look at the device with this address; if it is the phone itself, restart it.",
    ),
    Check(
        "fault",
        "warning",
        _faults,
        "Only what is named here was affected. If it comes back, please report it with a support bundle; if a phone is named, update it.",
    ),
    Check(
        "cipher-differs",
        "warning",
        _cipher,
        "Calls go on. Install an update when there is one, and please report this line; if it comes back, the processor or its memory may be faulty.",
    ),
    Check("events-lost", "warning", _events, "The process calls was too slow. Look at the load of the box."),
)


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
