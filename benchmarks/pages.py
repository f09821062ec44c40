"""The pages at the size of a large office: python -m benchmarks.pages [--extensions 10000] [--users 2000] [--calls 1000000].

The whole system runs on a configuration and a call history of that size, and one administrator opens, searches and saves over HTTPS, one
request after the other, on a connection that stays; what is measured is the time from a request to the whole answer. Lists: first, middle and last
page, by every column both ways, by every filter; searches with and without marks. Meanwhile `calls` is asked again and again whether it is awake:
its slowest answers while saves go on, beside those of the same time without any, are what a save costs it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from appliance import cti
from appliance.calls.history.records import CallRecords
from appliance.config.kinds import KINDS
from appliance.config.model import Change, Extension, Line, User
from appliance.config.store import Store
from appliance.host.entitlement import open_admin
from appliance.words import Duration, Person, Said
from benchmarks.system import System, wait_until

LOGIN = ("owner", "correct horse battery staple")
FIRST = ("Anna", "Jürgen", "Łukasz", "Zoë", "Émile", "Carla", "Đorđe", "Nils", "Ötzi", "Peter", "Šárka", "Walter", "Řehoř", "Olga", "Ivan")
LAST = tuple(f"{a}{b}{c}" for a in ("Berg", "Groß", "Novák", "Müll", "Hav", "Smi", "Lind", "Krá") for b in ("er", "mann", "ová", "") for c in ("", "sen", "l", "y"))
SEARCHES = ("jurgen", "Jürgen", "gross", "lukasz novak", "zoe", "1234", "12", "nobody at all", "sarka havova", "5")
OUTCOMES = (("answered", 16, "caller", 80), ("no answer", 19, "caller", 12), ("busy", 17, "callee", 5), ("failed", 20, "system", 3))
DAY = 86400.0
CHUNK = 5000
SAVES = 100
PING = 0.002  # seconds between two questions whether `calls` is awake


# ---- an office of that size ---------------------------------------------------------------------------------------------


def configure(data: Path, extensions: int, users: int, rng: random.Random) -> list[tuple[str, str]]:
    """An administrator, people, extensions with a line each; (number, name) of the extensions. Written as a restore would, for no licence
    allows so many to be added one by one."""
    with open_admin(data) as admin:
        admin.complete_setup(username=LOGIN[0], full_name="Owner", password=LOGIN[1], first_extension="10000", country="DE")
        revision = admin.snapshot.revision
    people = [
        User(id=f"u{n}", username=f"user{n}", full_name=f"{rng.choice(FIRST)} {rng.choice(LAST)}") for n in range(users)
    ]
    changes = [Change("user", user.id, user) for user in people]
    named = []
    for n in range(extensions):
        owner, number = people[n % users], str(20000 + n)
        named.append((number, owner.full_name))
        extension = Extension(id=f"e{n}", number=number, name=owner.full_name, user=owner.id, encrypt=rng.choice(("off", "preferred", "required")))
        password = "".join(rng.choices("abcdefghjkmnpqrstuvwxyz23456789", k=24))
        changes += [Change("extension", extension.id, extension), Change("line", f"l{n}", Line(id=f"l{n}", extension=f"e{n}", sip_username=number, sip_password=password))]
    store = Store(data)
    store.save(changes, "benchmark", time.time(), revision)
    store.close()
    return named


def record(calls: int, parties: list[tuple[str, str]], rng: random.Random, rest: int) -> dict[str, Any]:
    """One call of the last two years; `rest`: how many newer ones there are."""
    (a, caller), (b, callee) = rng.choice(parties), rng.choice(parties)
    outcome, cause, who, _ = rng.choices(OUTCOMES, [one[3] for one in OUTCOMES])[0]
    started = time.time() - 730 * DAY * rest / calls - 3600 + rng.random()
    answered = started + 6 if outcome == "answered" else None
    legs = [
        {"side": side, "number": number, "name": name, "address": "192.0.2.9:5061", "transport": "TLS", "signalling_secure": True, "media_secure": True,
         "codec": "Opus", "user_agent": "Yealink SIP-T54W 96.86.0.100", "packets_received": 9000, "packets_sent": 9010, "secured_received": 9000,
         "secured_sent": 9010, "lost": 2, "jitter_ms": 1.4, "who": place}
        for place, (side, number, name) in enumerate((("caller", a, caller), ("callee", b, callee)), 1)
    ]  # fmt: skip
    said = Said.of("call.connected", caller=Person(caller, a), callee=Person(callee, b), talked=Duration(60.0), who=Person(caller, a))
    return {
        "id": f"{rng.getrandbits(128):032x}", "started": started, "answered": answered, "ended": started + 66, "caller_number": a, "caller_name": caller,
        "dialled": b, "callee_number": b, "callee_name": callee, "outcome": outcome, "cause": cause, "hung_up_by": who, "said": said,
        "people": [{"number": b, "name": callee, "fate": "answered" if answered else "missed"}],
        "parts": [{"who": 1, "kind": "talking", "seconds": 60.0}], "selftest": False, "legs": legs,
    }  # fmt: skip


def remember(data: Path, calls: int, parties: list[tuple[str, str]], rng: random.Random) -> float:
    """The call history; seconds it took."""
    begun = time.monotonic()
    records = CallRecords(data, most=calls + 1)
    records._largest = 2**62  # whatever the disk
    for first in range(0, calls, CHUNK):
        records.keep([record(calls, parties, rng, calls - n) for n in range(first, min(calls, first + CHUNK))])
    records.close()
    return time.monotonic() - begun


# ---- one administrator ------------------------------------------------------------------------------------------------------


class Browser:
    """One connection and its cookies. `get` and `post` give the text and the milliseconds."""

    def __init__(self, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
        self._cookies: dict[str, str] = {}
        self._address = f"https://127.0.0.1:{port}"

    def _ask(self, method: str, path: str, body: str = "") -> tuple[int, str, float]:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()), "Referer": self._address + "/"}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        begun = time.perf_counter()
        self._connection.request(method, path, body or None, headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        took = 1000 * (time.perf_counter() - begun)
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self._cookies[key] = rest.partition(";")[0]
        return answer.status, text, took

    def is_served(self) -> bool:
        """Whether the pages have started."""
        return self._ask("GET", "/login")[0] == 200

    def get(self, path: str) -> tuple[str, float]:
        status, text, took = self._ask("GET", path)
        assert status == 200, f"{path}: {status}"
        return text, took

    def post(self, path: str, form: dict[str, str]) -> float:
        status, text, took = self._ask("POST", path, urlencode(form))
        assert status in (302, 303), f"{path}: {status} {re.findall(r'invalid-feedback[^>]*>([^<]*)', text)[:3]}"
        return took

    def log_in(self) -> None:
        page, _ = self.get("/login")
        self.post("/login", {"csrf_token": _token(page), "username": LOGIN[0], "password": LOGIN[1]})


def _token(page: str) -> str:
    return unescape(re.findall(r'name="csrf_token" value="([^"]*)"', page)[0])


def _hidden(page: str, name: str) -> str:
    return unescape(re.findall(rf'name="{name}" value="([^"]*)"', page)[0])


# ---- what is opened, searched and saved ------------------------------------------------------------------------------------------


def lists(totals: dict[str, int], middle: int) -> Iterator[str]:
    """Addresses of lists: pages, columns, filters."""
    for name in ("extension", "user"):
        row, last = KINDS[name], -(-totals[name] // 50)
        fields = row.record.declared.fields
        for column in (row.named_by, *row.columns):
            for down in ("", "-"):
                yield from (f"/{row.path}?sort={down}{column}&page={page}" for page in (1, last // 2, last))
        if "encrypt" in fields:
            yield from (f"/{row.path}?is.encrypt={value}&page={page}" for value in ("off", "preferred", "required") for page in (1, 40))
        if "role" in fields:
            yield f"/{row.path}?is.role=none&page=20"
    yield from ("/phones", "/phones?page=100", "/phones?which=off", "/phones?which=open", "/")
    yield from ("/calls", f"/calls?before={middle}", "/calls?after=1")
    for result in ("answered", "missed", "failed"):
        yield from (f"/calls?result={result}{rest}" for rest in ("", "&after=1", f"&before={middle}"))
    for who in ("20007", "29999"):
        yield from (f"/calls?who={who}&direction={way}&result={result}" for way in ("", "made", "received") for result in ("", "failed"))
    yield from (f"/calls?from={day}&to={day}" for day in (_day(2), _day(365), _day(700)))
    yield f"/calls?from={_day(400)}&to={_day(380)}&result=failed&who=20007"


def _day(ago: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(time.time() - ago * DAY))


def searches() -> Iterator[str]:
    for text in SEARCHES:
        yield from (f"{path}?q={quote(text)}" for path in ("/extensions", "/users", "/phones", "/calls", "/search"))
        yield f"/calls?q={quote(text)}&after=1"
        yield f"/calls?q={quote(text)}&result=failed"


def measure(browser: Browser, addresses: list[str], rounds: int) -> tuple[list[float], list[tuple[float, str]]]:
    """Milliseconds of all, and the slowest addresses by their median."""
    took: dict[str, list[float]] = {address: [] for address in addresses}
    for _ in range(rounds):
        for address in addresses:
            took[address].append(browser.get(address)[1])
    slowest = sorted(((statistics.median(times), address) for address, times in took.items()), reverse=True)[:5]
    return [one for times in took.values() for one in times], slowest


def saves(browser: Browser, rng: random.Random, extensions: int) -> list[float]:
    """Names of extensions change, one save after the other."""
    took = []
    for count in range(SAVES):
        path = f"/extensions/e{rng.randrange(extensions)}"
        page, _ = browser.get(path)
        form = {"csrf_token": _token(page), "mark": _hidden(page, "mark"), "name": f"Saved {count}"}
        took.append(browser.post(path, form))
    return took


class Awake(threading.Thread):
    """Asks `calls` again and again whether it is awake."""

    def __init__(self, socket: Path) -> None:
        super().__init__(daemon=True)
        self._socket, self._ended = str(socket), threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        with cti.Client(self._socket) as client:
            while not self._ended.wait(PING):
                begun = time.perf_counter()
                client.ask(cti.Ping())
                self.took.append(1000 * (time.perf_counter() - begun))

    def end(self) -> list[float]:
        self._ended.set()
        self.join()
        return self.took


def beside(socket: Path, work: Callable[[], Any]) -> tuple[Any, list[float]]:
    watching = Awake(socket)
    watching.start()
    try:
        return work(), watching.took
    finally:
        watching.end()


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1)


def made(folder: Path, extensions: int, users: int, calls: int) -> Path:
    """The data of such an office, made unless they are there; how long a record took stands beside them."""
    data, note = folder / f"office-{extensions}-{users}-{calls}", folder / "record_us"
    if not note.exists():
        rng = random.Random(13)
        data.mkdir()
        filled = remember(data, calls, configure(data, extensions, users, rng), rng)
        note.write_text(f"{1e6 * filled / calls:.1f}")
    return data


def run(folder: Path, extensions: int, users: int, calls: int, rounds: int) -> dict[str, Any]:
    rng, data = random.Random(7), made(folder, extensions, users, calls)
    filled = float((folder / "record_us").read_text())
    system = System(data)
    begun = time.monotonic()
    system.start()
    try:
        started = time.monotonic() - begun
        browser = Browser(system.admin_port)
        wait_until(browser.is_served, "the pages", 120)
        browser.log_in()
        socket = data / "run/calls.sock"
        middle = int((time.time() - 365 * DAY) * 1e6)
        browser.get("/extensions?q=warm")  # what is made at the first search is made once
        first, slow = measure(browser, list(lists({"extension": extensions, "user": users}, middle)), rounds)
        found, slow_found = measure(browser, list(searches()), rounds)
        _, quiet = beside(socket, lambda: time.sleep(10))
        saved, stalled = beside(socket, lambda: saves(browser, rng, extensions))
        memory = {process["name"]: process["memory"] / 1e6 for process in system.status()["processes"]}
        for what, rows in (("lists", slow), ("searches", slow_found)):
            for took, address in rows:
                print(f"slowest {what}: {took:7.1f} ms  {address}")
    finally:
        system.stop()
    return {
        "extensions": extensions, "users": users, "calls": calls, "start_s": round(started, 1), "record_us": filled,
        "calls_db_mb": round((data / "calls.db").stat().st_size / 1e6), "found_db_mb": round((data / "found.db").stat().st_size / 1e6),
        "list_ms_p50": percentile(first, 0.5), "list_ms_p95": percentile(first, 0.95), "list_ms_most": round(max(first), 1),
        "search_ms_p50": percentile(found, 0.5), "search_ms_p95": percentile(found, 0.95), "search_ms_most": round(max(found), 1),
        "save_ms_p50": percentile(saved, 0.5), "save_ms_p95": percentile(saved, 0.95),
        "calls_quiet_ms_p99": percentile(quiet, 0.99), "calls_stall_ms_p99": percentile(stalled, 0.99), "calls_stall_ms_most": round(max(stalled), 1),
        "memory_mb": round(memory["web"], 1), "calls_memory_mb": round(memory["calls"], 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extensions", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a folder where the data are made once and kept for other runs")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.keep or Path(folder), options.extensions, options.users, options.calls, options.rounds)
    for name, value in result.items():
        print(f"{name:20} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
