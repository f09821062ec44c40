"""What the pages stand on: the use-cases, the running box, call history, sessions, the throttle and the clock, made once at start."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast

from flask import current_app

from appliance.calls.history.records import CallRecords
from appliance.config.admin import Admin
from appliance.cti import Message
from appliance.host import certificates
from appliance.host.boot import Boot
from appliance.upkeep.scheduled import Maker
from webui.login.sessions import Sessions
from webui.login.throttle import Throttle
from webui.work import Desktop
from webui.work.phone_apps import Handed

Service = Literal["calls", "supervisor"]


class Box(Protocol):
    """The running processes, asked through their control sockets."""

    def ask(self, service: Service, request: Message) -> Message:
        """One request, one reply; cti.Unavailable when the process is not there or says Failed."""


@dataclass(slots=True)
class PendingSetup:
    """The administrator typed in the wizard before the last step. In memory only: it holds a password."""

    username: str
    full_name: str
    password: str
    until: float


@dataclass(frozen=True)
class Desk:
    admin: Admin
    box: Box
    history: CallRecords
    sessions: Sessions
    boot: Boot
    now: Callable[[], float]
    certificate: Callable[[], certificates.Facts | None]
    box_id: str  # what a licence is issued for
    elapsed: Callable[[], float] = time.monotonic  # seconds that no change of the clock touches
    throttle: Throttle = field(default_factory=Throttle)
    desktop: Desktop = field(default_factory=Desktop)
    maker: Maker = field(default_factory=Maker)  # of scheduled backups
    handed: Handed = field(default_factory=Handed)
    damage: str = ""  # why the configuration cannot be read: `admin` stands on an empty one, and only a restore is offered
    start: str = field(default_factory=lambda: secrets.token_hex(8))  # another one at each start of the pages
    pending_setups: dict[str, PendingSetup] = field(default_factory=dict)  # by session key; at most 8

    @property
    def setup_code_file(self) -> Path:
        return Path(self.boot.run) / "setup-code"


def desk() -> Desk:
    """The desk of the application that handles this request."""
    return cast(Desk, current_app.extensions["switchroom"])
