from collections.abc import Sequence
from typing import NamedTuple

from media_core.records import SipSocket, TlsFiles

class Limits(NamedTuple):
    """What a peer may cost. Milliseconds, bytes."""

    connect: int = 10_000
    handshake: int = 5_000
    first_message: int = 10_000
    message: int = 15_000
    idle: int = 7_200_000
    write_stall: int = 30_000
    unproved: int = 35_000
    grace: int = 5_000
    answer: int = 32_000
    tick: int = 500
    write_bytes: int = 262_144
    user_timeout: int = 30_000
    keepalive_seconds: int = 45

class FlowLoop:
    """The flows thread: `run` leaves the interpreter and returns after `stop`, which any thread may call."""

    def __init__(
        self,
        area: int,
        commands: int,
        events: int,
        core_wake: int,
        calls_wake: int,
        sip: Sequence[SipSocket],
        tls: TlsFiles | None,
        limits: Limits | None = None,
    ) -> None: ...
    def run(self) -> None: ...
    def renew(self, tls: TlsFiles) -> None: ...
    def stop(self) -> None: ...
