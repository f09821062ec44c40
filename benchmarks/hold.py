"""The box under attack: `python -m benchmarks.hold [--full]` (short form: under two minutes).

The whole system runs on the loopback while strangers do what `benchmarks.attacks` lists, two attacks at a time, one against the
telephones and one against the pages. Beside them and measured: a call in which both phones listen for the other's tone; at each attack 20 new
phones that register for the first time, half over UDP, half over TLS; the owner of the account that is guessed at, who knows the password and has
the guesser's address; an administrator who is logged in and one who logs in with the right password. A stranger who knows the call's tags sends BYE.

- `new_phones_refused`, `right_password_refused`: did not get in within 10 s, with the repetitions that a phone makes;
- `calls_disturbed`: ended, or a second without the other's sound;
- `memory_mb_above_idle`: all processes together, at the worst, above what they have with the call and a page open; `memory_mb_after_60s`: 60 s after the last attack, above idle;
- `memory_mb_of`: idle, at the worst and in the end, by process;
- `pages_down_s`: the longest time the page of who is logged in stayed away.

The short form attacks for half as long as --full does, with the same strength. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from appliance.host.entitlement import open_admin
from appliance.sip.text.message import Request, parse
from appliance.softphone import Account, PhoneCall, PhoneError, Softphone
from benchmarks.attacks import ATTACKS, Attack, Browser, Running, Target
from benchmarks.contenders import allow_files
from benchmarks.system import Credentials, System

LOGIN = ("owner", "seven lamps in the hall")
PHASES = (  # names of attacks that run beside each other
    ("source ports of one host", "slow POSTs"),
    ("OPTIONS flood",),
    ("connections held open", "open HTTP/2 requests"),
    ("guessed SIP passwords", "guessed logins"),
    ("INVITE without ACK", "rapid reset"),
    ("neighbour's RTP", "endless CONTINUATION"),
)
NEW_PHONES = 20
PATIENCE = 10.0  # seconds until a phone or person counts as refused
SETTLE = 60.0
MEGABYTE = 1 << 20


class Listening(Softphone):
    """Keeps the requests it got, so that a stranger can be told what stands in them."""

    def __init__(self, account: Account, *, frequency: float) -> None:
        super().__init__(account, frequency=frequency)
        self.requests: dict[str, Request] = {}  # the newest of each method

    def _receive(self, data: bytes) -> None:
        message = parse(data)
        if isinstance(message, Request):
            self.requests[message.method] = message
        super()._receive(data)


@dataclass
class Seen:
    """What is counted while the attacks run."""

    new_phones: int = 0
    new_phones_refused: int = 0
    right_passwords: int = 0
    right_password_refused: int = 0
    calls: int = 0
    calls_disturbed: int = 0
    pages: int = 0
    pages_down_s: float = 0.0
    reasons: list[str] = field(default_factory=list)

    def refused(self, reason: object) -> None:
        if len(self.reasons) < 20:
            self.reasons.append(str(reason)[:200])


class Memory(threading.Thread):
    """Proportional memory of the system's processes, looked at four times a second."""

    def __init__(self, processes: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self._processes = processes
        self.idle = self.now()
        self.most = dict(self.idle)
        self.most_together = self.idle_together = sum(self.idle.values())
        self.over = threading.Event()

    def now(self) -> dict[str, int]:
        """Octets by process; one that has died is told as `processes_restarted`."""
        found = {}
        for name, pid in self._processes.items():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                found[name] = sum(1024 * int(n) for n in re.findall(r"^Pss: +(\d+) kB", text, re.MULTILINE))
        return found

    def run(self) -> None:
        while not self.over.wait(0.25):
            now = self.now()
            self.most = {name: max(octets, now.get(name, 0)) for name, octets in self.most.items()}
            self.most_together = max(self.most_together, sum(now.values()))


class Visitor(threading.Thread):
    """Who is logged in and looks at the status page again and again."""

    def __init__(self, target: Target, seen: Seen) -> None:
        super().__init__(daemon=True)
        self._seen = seen
        self._browser = Browser(target, "127.50.0.1")
        assert self._browser.log_in(*LOGIN) == 303
        self.over = threading.Event()

    def run(self) -> None:
        asked = time.monotonic()
        while not self.over.wait(0.3):
            try:
                ok = self._browser.ask("GET", "/", seconds=3.0)[0] == 200
            except OSError:
                ok = False
            now = time.monotonic()
            if ok:
                self._seen.pages += 1
                self._seen.pages_down_s = max(self._seen.pages_down_s, now - asked - 0.3)
                asked = now


class Office:
    """The phones and people that must not notice anything."""

    def __init__(self, system: System, target: Target, accounts: list[Credentials], seen: Seen) -> None:
        self._system, self._target, self._seen = system, target, seen
        self._owner, self._caller, self._called, *self._others = accounts
        self._phase = 0

    def account(self, credentials: Credentials, transport: Any, source: str) -> Account:
        system = self._system
        return Account(
            system.host, system.sips_port if transport == "TLS" else system.sip_port, transport,
            credentials.number, credentials.username, credentials.password, str(system.authority), source=source,
        )  # fmt: skip

    async def let_in(self, account: Account) -> Softphone | None:
        """A phone that registers, with what SIP repeats and no other patience; None when it was not let in."""
        phone = Softphone(account, user_agent="Desk phone/1.0")
        try:
            await phone.connect(seconds=PATIENCE)
            await phone.register(seconds=PATIENCE)
            return phone
        except (PhoneError, OSError) as error:
            self._seen.refused(f"{account.transport} from {account.source}: {error}")
            await phone.close()
            return None

    async def new_phones(self) -> None:
        """20 phones on addresses nobody has had before; they go again when all are in."""
        self._phase += 1
        wanted = [
            self.account(
                self._others[n % len(self._others)], "TLS" if n % 2 else "UDP", f"127.41.{self._phase}.{n + 1}"
            )
            for n in range(NEW_PHONES)
        ]
        found = await asyncio.gather(*(self.let_in(account) for account in wanted))
        self._seen.new_phones += len(found)
        self._seen.new_phones_refused += sum(phone is None for phone in found)
        await asyncio.gather(*(phone.close() for phone in found if phone is not None))

    async def owner(self, over: asyncio.Event) -> None:
        """Comes again and again with the right password: as a phone at the guesser's address and at others, and at the page."""
        turn = 0
        while not over.is_set():
            turn += 1
            source = "127.40.0.1" if turn % 2 else f"127.42.0.{turn % 250}"
            phone, logged_in = await asyncio.gather(
                self.let_in(self.account(self._owner, "UDP", source)),
                asyncio.to_thread(self._log_in, f"127.51.0.{turn % 250}"),
            )
            self._seen.right_passwords += 2
            self._seen.right_password_refused += (phone is None) + (not logged_in)
            if phone is not None:
                await phone.close()
            await asyncio.sleep(0.5)

    def _log_in(self, source: str) -> bool:
        try:
            status: object = Browser(self._target, source).log_in(*LOGIN)
        except OSError as error:
            status = error
        if status != 303:
            self._seen.refused(f"login from {source}: {status}")
        return status == 303

    async def talk(self, transport: Any, over: asyncio.Event) -> None:
        """A call with sound in both directions until `over`, listened to every second."""
        self._seen.calls += 1
        try:
            trouble = await self._talk(transport, over)
        except (PhoneError, OSError) as error:
            trouble = str(error)
        if trouble:
            self._seen.calls_disturbed += 1
            self._seen.refused(trouble)

    async def _talk(self, transport: Any, over: asyncio.Event) -> str:
        async with (
            Listening(self.account(self._caller, transport, "127.0.0.1"), frequency=697.0) as caller,
            Listening(self.account(self._called, transport, "127.0.0.1"), frequency=1209.0) as called,
        ):
            coming = asyncio.create_task(called.incoming())
            made = await caller.call(self._called.number)
            taken = await coming
            taken.answer()
            await made.wait(made.answered, 5.0, "The call was not answered")
            await asyncio.sleep(1.0)
            hung_up_by_stranger(called, self._target)
            return await self._listen(made, taken, over)

    @staticmethod
    async def _listen(made: PhoneCall, taken: PhoneCall, over: asyncio.Event) -> str:
        while not over.is_set():
            heard = await asyncio.gather(made.hears(1209.0, 1.0), taken.hears(697.0, 1.0))
            if ended := next((call for call in (made, taken) if call.ended.is_set()), None):
                return f"the call ended: {ended.status} {ended.reason}"
            if not all(heard):
                return "a second without sound"
            await asyncio.sleep(0.3)
        return ""


def hung_up_by_stranger(called: Listening, target: Target) -> None:
    """A BYE with the right Call-ID and tags, from an address that has nothing to do with the call."""
    ack, invite = called.requests["ACK"], called.requests["INVITE"]
    fields = {
        "From": ack.get("To"),
        "To": ack.get("From"),
        "Call-ID": ack.call_id,
        "CSeq": "77 BYE",
        "Max-Forwards": "70",
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.30.0.1", 0))
        host, port = sock.getsockname()
        head = (
            f"BYE {invite.contacts[0].uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bKstranger\r\n"
        )
        text = head + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "Content-Length: 0\r\n\r\n"
        sock.sendto(text.encode(), (target.host, target.sip_port))


async def attacked(office: Office, target: Target, attacks: list[Attack]) -> list[dict[str, Any]]:
    """One phase; what each attack was and did."""
    running = [Running(attack, target) for attack in attacks]
    over = asyncio.Event()

    async def until_over() -> None:
        while not all(each.over for each in running):
            await asyncio.sleep(0.1)
        over.set()

    await asyncio.sleep(1.5)  # the attack has begun
    names = {attack.name for attack in attacks}
    work: list[Awaitable[None]] = [until_over(), office.new_phones()]
    if "guessed SIP passwords" in names:
        work.append(office.owner(over))
    if "neighbour's RTP" in names:
        work.append(office.talk("UDP", over))
    await asyncio.gather(*work)
    rows = []
    for each in running:
        row = {key: value for key, value in asdict(each.attack).items() if key != "made"}
        rows.append({**row, **await asyncio.to_thread(each.result)})
    return rows


async def hold(
    system: System, target: Target, accounts: list[Credentials], scale: float, settle: float
) -> dict[str, Any]:
    seen = Seen()
    office = Office(system, target, accounts, seen)
    await asyncio.sleep(2.0)
    visitor = await asyncio.to_thread(Visitor, target, seen)
    visitor.start()
    over = asyncio.Event()
    call = asyncio.create_task(office.talk("TLS", over))
    await asyncio.sleep(5.0)
    memory = Memory({process["name"]: process["pid"] for process in system.status()["processes"]})
    memory.start()
    rows: list[dict[str, Any]] = []
    by_name = {attack.name: replace(attack, seconds=attack.seconds * scale) for attack in ATTACKS}
    for names in PHASES:
        rows += await attacked(office, target, [by_name[name] for name in names])
        for row in rows[-len(names) :]:
            print(row, flush=True)
    over.set()
    await call
    visitor.over.set()
    await asyncio.sleep(settle)
    memory.over.set()
    after = memory.now()
    status = system.status()
    return {
        **{key: value for key, value in asdict(seen).items() if key != "reasons"},
        "pages_down_s": round(seen.pages_down_s, 2),
        "memory_mb_idle": round(memory.idle_together / MEGABYTE, 1),
        "memory_mb_above_idle": round((memory.most_together - memory.idle_together) / MEGABYTE, 1),
        f"memory_mb_after_{settle:.0f}s": round((sum(after.values()) - memory.idle_together) / MEGABYTE, 1),
        "memory_mb_of": {
            name: [round(octets.get(name, 0) / MEGABYTE, 1) for octets in (memory.idle, memory.most, after)]
            for name in memory.idle
        },
        "processes_restarted": sum(process["restarts"] for process in status["processes"]),
        "faults": status["counters"]["faults"],
        "attacks": rows,
        "reasons": seen.reasons,
    }


def prepare(system: System) -> list[Credentials]:
    """An administrator and extensions."""
    with open_admin(system.data) as admin:
        username, password = LOGIN
        admin.complete_setup(
            username=username, full_name="Owner", password=password, first_extension="100", country="DE"
        )
    return [system.add_extension() for _ in range(13)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="attacks as long as the table says")
    parser.add_argument("--scale", type=float, default=0.5, help="share of the table's seconds in the short form")
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds until memory is looked at again")
    options = parser.parse_args()
    allow_files(8192)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder) / "var")
        system.start()
        try:
            accounts = prepare(system)
            rtp = system.arguments[system.arguments.index("--rtp") + 1].split("-")
            target = Target(
                system.host, system.sip_port, system.sips_port, system.admin_port, (int(rtp[0]), int(rtp[1])),
                accounts[0].username, accounts[1].number, LOGIN[0],
            )  # fmt: skip
            result = asyncio.run(hold(system, target, accounts, 1.0 if options.full else options.scale, options.settle))
        finally:
            system.stop()
    result = {"form": "full" if options.full else "short", "seconds": round(time.monotonic() - begin), **result}
    for name, value in result.items():
        if not isinstance(value, list):
            print(f"{name:28} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
