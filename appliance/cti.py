"""The control socket: typed messages between processes (msgspec, length-prefixed MessagePack over a unix socket, peer uid checked).

`calls` listens on run/calls.sock, the supervisor on run/supervisor.sock. A client sends one request and reads one reply, or
sends Subscribe and reads events until it hangs up. Bounds: a message ≤ 1 MiB, 64 clients.
"""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, tag=True, frozen=True):
    pass


# ---- requests to calls ---------------------------------------------------------------------------------------------
class GetCalls(Message): ...
class GetRegistrations(Message): ...
class GetCounters(Message): ...
class HangUp(Message):
    call: str
class Applied(Message):
    """The configuration has a new revision in the store."""

    revision: int
class Subscribe(Message): ...
class SelftestBegin(Message):
    """Make two temporary extensions that live until this connection closes (nothing is stored)."""

# ---- requests to the supervisor ------------------------------------------------------------------------------------
class GetStatus(Message): ...
class RestartProcess(Message):
    name: str

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
    media_secure: bool
    codec: str
    state: str  # ringing, talking, held, on-hold
    packets_received: int = 0
    packets_sent: int = 0
    lost: int = 0
    jitter_ms: float = 0.0

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

class Counters(Message):
    counters: dict[str, int]  # registrations, calls, dialogs, transactions, legs, rtp_ports, flows, …

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
    message: str  # what happened
    repair: str  # what to do

class Status(Message):
    version: str
    started: float
    healthy: bool
    processes: list[ProcessView]
    counters: dict[str, int]
    alarms: list[Alarm]
    datapath: str
    addresses: dict[str, str]  # admin, sip, sips, rtp …

# ---- events after Subscribe ----------------------------------------------------------------------------------------
class CallsChanged(Message): ...
class RegistrationsChanged(Message): ...
class CallEnded(Message):
    id: str
class StatusChanged(Message): ...
