"""What the processes say to one another on the control sockets; `wire` carries it.

`calls` listens on run/calls.sock, the supervisor on run/supervisor.sock. A client sends one request and reads one reply, or
sends Subscribe and reads events until it hangs up.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.words import Said


class Message(msgspec.Struct, tag=True):
    pass


# ---- requests to calls ---------------------------------------------------------------------------------------------
class GetCalls(Message): ...


class GetRegistrations(Message):
    """Registrations: of these lines alone (ids), when some are named."""

    lines: list[str] = []


class GetPhones(Message):
    """Which lines have a phone, and which phones have dropped: Phones."""


class GetCounters(Message): ...


class Ping(Message):
    """Is the process awake? Ok."""


class HangUp(Message):
    call: str
    who: str = ""  # for the call record: who does it, in words


class Applied(Message):
    """The configuration has a new revision in the store."""

    revision: int


class Moved(Message):
    """This machine has another address: what phones are told from now on."""

    host: str


class Subscribe(Message): ...


class SelftestBegin(Message):
    """Make two temporary extensions that live until this connection closes (nothing is stored)."""


class GetRecord(Message):
    """The record of an ended call; "": the newest of the self-test. Record, or Failed while there is none."""

    call: str = ""


class GetSecurityEvents(Message): ...


class GetRefusals(Message):
    """Who was turned away last: Refusals."""


# ---- requests to the supervisor ------------------------------------------------------------------------------------
class GetStatus(Message): ...


class RestartProcess(Message):
    name: str


class ConfigurationSeen(Message):
    """What the pages have found: why the configuration cannot be read; "": it can."""

    damage: str


class StartAgain(Message):
    """End everything and start it again, with the backup that waits. Calls go on where systemd keeps what they need."""


# ---- replies -------------------------------------------------------------------------------------------------------
class Ok(Message): ...


class Failed(Message):
    message: str


class LegView(Message):
    number: str
    name: str
    address: str  # host:port of signalling
    transport: str  # UDP TCP TLS
    signalling_secure: bool
    media_secure: bool  # SRTP is agreed on
    codec: str
    state: str  # ringing, talking, held, on-hold
    packets_received: int = 0
    packets_sent: int = 0
    lost: int = 0
    jitter_ms: float = 0.0
    poor: Said | None = None  # how bad the sound from this phone is just now; None: good
    forged: int = 0  # packets that failed authentication
    secured_received: int = 0  # of the packets, those that were SRTP
    secured_sent: int = 0


class CallView(Message):
    id: str
    started: float  # unix time
    answered: float | None
    caller: LegView
    callees: list[LegView]
    dialled: str


class Calls(Message):
    calls: list[CallView]


class RegistrationView(Message):
    number: str
    name: str
    line: str
    sip_username: str
    address: str
    transport: str
    secure: bool
    user_agent: str
    since: float
    expires: float


class Registrations(Message):
    registrations: list[RegistrationView]


class DropView(Message):
    """A phone that was registered and is not any more."""

    time: float  # unix
    why: str  # closed: its connection ended; expired: it did not register again in time
    line: str
    address: str
    user_agent: str


class Phones(Message):
    """Line ids, and the phones that dropped, the last one first."""

    encrypted: list[str]  # with phones that all came over TLS
    open: list[str]  # with a phone that did not
    drops: list[DropView]


class Counters(Message):
    counters: dict[str, int]  # registrations, calls, dialogs, transactions, legs, rtp_ports, flows, …
    set_up: bool = False  # there is an administrator who can log in


class TestPhone(Message):
    number: str
    sip_username: str
    sip_password: str


class SelftestReady(Message):
    phones: list[TestPhone]
    realm: str
    host: str
    tls_port: int
    ca_file: str


class Record(Message):
    record: dict[str, Any]  # the fields of records.CallRow


class SecurityEventView(Message):
    time: float  # unix, of the last one
    kind: str  # forged media, mixed media
    source: str  # host
    account: str
    message: Said
    count: int


class FaultView(Message):
    time: float  # unix, of the last one
    message: Said  # what it has cost and why
    count: int


class SecurityEvents(Message):
    events: list[SecurityEventView]  # oldest first
    faults: list[FaultView]  # that have cost a call, oldest first


class RefusalView(Message):
    time: float  # unix, of the last attempt
    kind: str  # a row of calls.registrar.refusals.KINDS
    address: str  # host:port it came from
    line: str  # line id, "" when it belongs to none
    account: str  # SIP username tried, "" when none was said
    message: Said
    repair: Said
    count: int
    over: float | None = None  # unix time at which a phone has registered for the line since


class Refusals(Message):
    refusals: list[RefusalView]  # the last of each line, and those that belong to no line; newest first


class ProcessView(Message):
    name: str
    pid: int
    state: str  # running, starting, backing off, stopped
    uptime: float
    restarts: int
    memory: int  # bytes, proportional set size
    files: int


class Alarm(Message):
    id: str
    severity: str  # warning, error
    since: float
    message: Said  # what happened
    repair: Said  # what to do


class Status(Message):
    version: str
    started: float
    healthy: bool
    processes: list[ProcessView]
    counters: dict[str, int]
    alarms: list[Alarm]
    datapath: str
    addresses: dict[str, str]  # admin, sip, sips, rtp …
    cipher: str = ""  # the SRTP code in use, and what it was held against when the core started


# ---- events after Subscribe ----------------------------------------------------------------------------------------
class CallsChanged(Message): ...


class RegistrationsChanged(Message):
    lines: list[str] = []  # ids of those it is about; none: any


class CallEnded(Message):
    id: str


class StatusChanged(Message): ...
