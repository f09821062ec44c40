"""A desk with the real configuration store and a made-up box: what the pages need to be tried without a telephone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from argon2 import PasswordHasher
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from appliance import cti
from appliance.calls.history.records import CallRecords
from appliance.config.admin import Admin
from appliance.config.store import Store
from appliance.host import certificates
from appliance.host.boot import Boot
from webui.desk import Desk, Service
from webui.login.sessions import Sessions

CODE = "ABCD-EFGH-JKLM"
PASSWORD = "correct horse battery"
START = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeBox:
    """Answers as `calls` and the supervisor would; `away` makes it silent."""

    calls: list[cti.CallView] = field(default_factory=list)
    phones: list[cti.RegistrationView] = field(default_factory=list)
    refused: list[cti.RefusalView] = field(default_factory=list)
    drops: list[cti.DropView] = field(default_factory=list)
    status: cti.Status | None = None
    away: bool = False
    hung_up: list[tuple[str, str]] = field(default_factory=list)
    started_again: int = 0

    def ask(self, service: Service, request: cti.Message) -> cti.Message:
        if self.away:
            raise cti.Unavailable("away")
        match request:
            case cti.GetCalls():
                return cti.Calls(self.calls)
            case cti.GetRegistrations(lines=lines):
                return cti.Registrations([phone for phone in self.phones if not lines or phone.line in lines])
            case cti.GetPhones():
                opened = {phone.line for phone in self.phones if not phone.secure}
                return cti.Phones([phone.line for phone in self.phones if phone.line not in opened], sorted(opened), self.drops)
            case cti.GetRefusals():
                return cti.Refusals(self.refused)
            case cti.GetStatus() if self.status:
                return self.status
            case cti.HangUp(call=call, who=who):
                self.hung_up.append((call, who))
                return cti.Ok()
            case cti.StartAgain():
                self.started_again += 1
                return cti.Ok()
        return cti.Failed("not asked in tests")


def leg(
    number: str, name: str, *, secure: bool, state: str = "talking", codec: str = "Opus", lost: int = 0
) -> cti.LegView:
    transport = "TLS" if secure else "UDP"
    return cti.LegView(
        number, name, f"192.0.2.{number}:50612", transport, secure, secure, codec, state, 5000, 5000, lost,
        secured_received=5000 if secure else 0, secured_sent=5000 if secure else 0,
    )  # fmt: skip


def phone(number: str, name: str, *, line: str, secure: bool, agent: str, since: float) -> cti.RegistrationView:
    transport = "TLS" if secure else "UDP"
    return cti.RegistrationView(
        number, name, line, number, f"192.0.2.{number}:50612", transport, secure, agent, since, since + 600
    )


def make_desk(folder: Path, now: Callable[[], float], box: FakeBox) -> Desk:
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    (run / "setup-code").write_text(CODE + "\n")
    certificates.ensure(folder)
    admin = Admin(Store(folder), now=now)
    admin._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)  # the strength is tested with Admin
    admin._nobody = admin._hasher.hash("nobody")
    return Desk(
        admin=admin,
        box=box,
        box_id="AAAA-BBBB-CCCC-DDDD",
        history=CallRecords(folder),
        sessions=Sessions(run / "web-sessions.db"),
        boot=Boot(data=str(folder), run=str(run)),
        now=now,
        elapsed=now,
        certificate=lambda: certificates.facts(folder),
    )


class Visitor:
    """A browser without a screen: keeps cookies, takes the form token from the page it looks at."""

    def __init__(self, client: FlaskClient, address: str = "127.0.0.1") -> None:
        self._client = client
        self._from = {"REMOTE_ADDR": address}
        self.token = ""

    def get(self, path: str, **headers: str) -> TestResponse:
        return self._remember(
            self._client.get(path, base_url="https://localhost", headers=headers, environ_base=self._from, buffered=True)
        )

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> TestResponse:
        """Follows no redirect."""
        return self._remember(
            self._client.post(
                path,
                data={"csrf_token": self.token, **(form or {})},
                base_url="https://localhost",
                headers={"Referer": "https://localhost/", **headers},
                environ_base=self._from,
                buffered=True,
            )
        )

    def _remember(self, response: TestResponse) -> TestResponse:
        if found := re.search(r'name="csrf_token" value="([^"]+)"', response.get_data().decode(errors="replace")):
            self.token = found.group(1)
        return response

    def log_in(self, username: str, password: str = PASSWORD) -> TestResponse:
        self.get("/login")
        response = self.post("/login", {"username": username, "password": password})
        self.get("/account")
        return response
