"""`switchroom console`: the screen of the box, on its monitor and its serial line. No login, no shell.

It shows where the admin page is, the setup code until it has been used, the state of every process and what is wrong, and has a menu.
 Whoever can press keys here holds the box in hands anyway. One process serves every terminal; each is drawn again when
what it shows has changed and nobody is typing.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import re
import secrets
import socket
import sqlite3
import termios
import textwrap
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from appliance import cti
from appliance.box import facts, system
from appliance.box.privileged import PROGRESS
from appliance.box.system import CannotDo
from appliance.host import setup_code
from appliance.host.alarms import told
from appliance.storage import migration, on_disk
from appliance.version import VERSION
from appliance.words import LANGUAGES, Fact, Said, Words, english, words_of

EVERY = 2.0  # seconds
WIDTH, HEIGHT = 80, 24  # of a terminal that does not say how large it is, such as a serial line
ROOMY = 26  # rows from which on nothing need be saved
CLEAR = "\x1b[2J\x1b[H"
QUOTES = {"“": '"', "”": '"', "„": '"', "’": "'", "–": "-", "→": ">"}


def screen(
    status: cti.Status | None, setup_code: str, notes: list[str], slot: str, name: str, columns: int = WIDTH, rows: int = HEIGHT, spoken: Words | None = None
) -> str:
    """The whole text, no wider and no higher than the terminal. The QR code stands beside the words, and gives way to what is wrong where
    there is no room for both. `name`: of the box, in `.local`. Pure."""
    spoken, address = spoken or english(), address_of(status)
    head, said = words(status, setup_code, notes, slot, name, spoken)
    tight = [line for line in head if line]
    code = code_picture(f"{address}#{setup_code}") if setup_code and address else []
    for picture in (code, []):
        foot = ["", *menu(columns, spoken), *([] if picture and rows < ROOMY else [""]), spoken.say(Said("console.prompt")) + " "]
        room = rows - len(foot)
        width = min(columns, WIDTH) - len(picture[0]) - 1 if picture else columns
        if picture and (len(picture) > room or max(map(len, head)) > width):
            continue
        for lines in (
            [*head, *states(status, width, spoken), *wrapped(said, width)],
            [*tight, *states(status, width, spoken), *wrapped(said, width)],
            [*tight, *states(status, width, spoken, short=True), *wrapped(said, width)],
        ):
            if len(lines) <= room:
                both = itertools.zip_longest(lines, picture, fillvalue="")
                return "\n".join([*(f"{left:<{width}} {right}".rstrip() for left, right in both), *foot])
    return "\n".join([*lines[: room - 1], spoken.say(Said("console.more")), *foot])


def bright(text: str, setup_code: str) -> str:
    """What a person looks for stands out: addresses and the setup code."""
    return re.sub(rf"(https://\S+){f'|{re.escape(setup_code)}' if setup_code else ''}", "\x1b[1m\\g<0>\x1b[0m", text)


def in_letters_of_a_monitor(text: str) -> str:
    """The kernel's font has those of code page 437; a letter that it lacks is written without its mark."""

    def shown(letter: str) -> str:
        try:
            letter.encode("cp437")
        except UnicodeEncodeError:
            plain = unicodedata.normalize("NFKD", QUOTES.get(letter, letter)).encode("ascii", "ignore").decode()
            return plain or "?"
        return letter

    return "".join(letter if letter.isascii() else shown(letter) for letter in text)


def words(
    status: cti.Status | None, setup_code: str, notes: list[str], slot: str, name: str, spoken: Words
) -> tuple[list[str], list[str]]:
    """What is always shown, in short lines, and what is wrong or going on, in sentences."""

    def say(key: str) -> str:
        return spoken.say(Said(f"console.{key}"))

    width = 3 + max(len(say(label)) for label in ("admin-page", "setup-code", "phones", "state"))
    lines = [f"Switchroom {VERSION}    {spoken.say(Said.of('console.slot', slot=slot.upper()))}", ""]
    if status is None:
        return [*lines, say("silent")], notes
    if address := address_of(status):
        lines += [f"{say('admin-page'):<{width}}{address}", f"{'  ' + say('or'):<{width}}https://{name}.local/"]
    else:
        lines += [f"{say('admin-page'):<{width}}{say('no-address')}", f"  {say('no-cable')}"]
    lines += ["", f"{say('setup-code'):<{width}}{setup_code}", f"  {say('asked-once')}"] if setup_code else []
    phones = [status.addresses[kind] for kind in ("sip", "sips") if kind in status.addresses] if address else []
    lines += ["", *(f"{'' if number else say('phones'):<{width}}{phone}" for number, phone in enumerate(phones))]
    lines += ["", f"{say('state'):<{width}}{say(state_of(status))}"]
    alarms = [spoken.say(Said.of(f"console.alarm-{alarm.severity}", alarm=told(alarm, spoken))) for alarm in status.alarms]
    return lines, [*alarms, *notes]


def states(status: cti.Status | None, width: int, spoken: Words, short: bool = False) -> list[str]:
    """Of every process, one to a line or all in a row."""

    def state(process: cti.ProcessView) -> str:
        return spoken.say(Said(f"console.process-{process.state.replace(' ', '-')}"))

    each = [(process.name, state(process)) for process in status.processes] if status else []
    if short:
        return wrapped([", ".join(f"{name} {state}" for name, state in each)], width)
    return [f"  {name:<12}{state}" for name, state in each]


def state_of(status: cti.Status) -> str:
    """A name in [console]. What has not come up yet is not ill."""
    starting = any(process.state == "starting" for process in status.processes)
    if starting and not any(alarm.severity == "error" for alarm in status.alarms):
        return "starting"
    return "healthy" if status.healthy else "ill"


def address_of(status: cti.Status | None) -> str:
    """Of the admin page; "" as long as the network has given none, for the box's own 127.0.0.1 leads nobody anywhere."""
    address = status.addresses.get("admin", "") if status else ""
    return "" if urlsplit(address).hostname in (None, "127.0.0.1", "::1") else address


def wrapped(sentences: list[str], width: int) -> list[str]:
    return [line for one in sentences for line in textwrap.wrap(one, width, subsequent_indent="  ")]


def menu(columns: int, spoken: Words) -> list[str]:
    """In two columns where there is room for them."""
    rows = [f"{number:>3}  {spoken.say(Said(f'console.menu-{name}'))}" for number, (name, _) in enumerate(MENU, 1)]
    half = (len(rows) + 1) // 2
    left, right = rows[:half], rows[half:]
    width = max(map(len, left)) + 1
    if width + max(map(len, right)) > columns:
        return rows
    return [f"{one:<{width}}{other}" for one, other in zip(left, right, strict=True)]


def code_picture(text: str) -> list[str]:
    """A QR code in half blocks."""
    import segno  # only until the box is set up

    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, border=2, compact=True)
    return out.getvalue().splitlines()


def read_setup_code(data: Path) -> str:
    with contextlib.suppress(OSError):
        return (data / "run/setup-code").read_text().strip()
    return ""


def spoken_by(data: Path) -> Words:
    """The language of the office, as its settings say now; English where nothing can be read."""
    with (
        contextlib.suppress(sqlite3.Error, OSError),
        contextlib.closing(sqlite3.connect(f"file:{data / 'config.db'}?mode=ro", uri=True, timeout=0.2)) as db,
    ):
        found = db.execute("select json_extract(body, '$.language') from record where kind = 'settings'").fetchone()
        return words_of(found[0] if found and found[0] in LANGUAGES else "en")
    return english()


def notes(data: Path) -> Iterator[Said]:
    """What the last start had to say."""
    for part in ("state", "media"):
        with contextlib.suppress(OSError):
            if (system.BOOT_FACTS / part).read_text().strip() == "broken":
                yield Said.of("console.part-broken", part=part)
    with contextlib.suppress(OSError):
        if system.on_trial():
            yield Said.of("console.on-trial", version=VERSION)
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(PROGRESS.read_text())
        percent = 100 * told["done"] // max(1, told["total"])
        if told["error"]:
            yield Said.of("console.update-refused", why=msgspec.convert(told["error"], Said))
        elif told["version"]:
            yield Said.of("console.update-installed", version=told["version"])
        else:
            yield Said.of("console.update", what=told["what"], percent=percent)
    if (report := migration.read(data)) is not None:
        yield report.words(time.time())
    if (trial := system.last_trial()) is not None:
        yield Said.of(
            "console.version-left" if trial.asked else "console.version-failed", version=trial.version, why=trial.known()
        )


class Terminal:
    """One screen with a keyboard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._monitor = re.fullmatch(r"tty\d+", path.name) is not None
        self.spoken = english()
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        mode = termios.tcgetattr(self._fd)
        mode[0] = termios.ICRNL | termios.IUTF8 if hasattr(termios, "IUTF8") else termios.ICRNL
        mode[1] = termios.OPOST | termios.ONLCR
        mode[3] = termios.ICANON | termios.ECHO | termios.ECHOE
        mode[2] |= termios.CLOCAL | termios.CREAD
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        os.set_blocking(self._fd, True)  # a screenful is longer than the buffer of a serial line
        self._lines: asyncio.Queue[str] = asyncio.Queue(8)
        self.busy = False
        self.drawn = ""
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            text = os.read(self._fd, 4096).decode(errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            with contextlib.suppress(asyncio.QueueFull):
                self._lines.put_nowait(line.strip()[:200])

    def size(self) -> tuple[int, int]:
        """Columns and rows; zeros from a serial line, which does not know what is at its other end."""
        with contextlib.suppress(OSError):
            return os.get_terminal_size(self._fd)
        return 0, 0

    def show(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody reads this line: it is drawn again
            os.write(self._fd, (in_letters_of_a_monitor(text) if self._monitor else text).encode())

    def say(self, key: str, **facts: Fact) -> str:
        """A sentence of [console] in the language of the office."""
        return self.spoken.say(Said(f"console.{key}", facts))

    async def line(self) -> str:
        return await self._lines.get()

    async def ask(self, question: str) -> str:
        self.show(f"{question} ")
        return await asyncio.wait_for(self.line(), 300)

    async def sure(self, what: str) -> bool:
        """`what` is a name in [console]'s sentences, or such a sentence."""
        return self._is_yes(await self.ask(self.say("sure", what=what, yes=self.say("yes"))))

    async def yes(self, question: str) -> bool:
        return self._is_yes(await self.ask(self.say("which-yes-no", question=question, yes=self.say("yes"))))

    def _is_yes(self, typed: str) -> bool:
        return typed.lower() in ("yes", self.say("yes"))


def _last(terminal: Terminal, words: str, end: Callable[[], None]) -> str:
    """Said before the end is ordered, which may leave no time for words."""
    terminal.show(f"{words}\n")
    end()
    return ""


class Console:
    def __init__(self, data: Path, terminals: list[Terminal]) -> None:
        self._data = data
        self._terminals = terminals

    async def run(self) -> None:
        await asyncio.gather(self._draw(), *(self._listen(terminal) for terminal in self._terminals))

    async def _draw(self) -> None:
        while True:
            status = await self._status()
            spoken = await asyncio.to_thread(spoken_by, self._data)
            slot, told = "?", [spoken.say_any(said) for said in notes(self._data)]
            with contextlib.suppress(OSError):
                slot = system.slot()
            for terminal in self._terminals:
                terminal.spoken, code = spoken, read_setup_code(self._data)
                columns, rows = terminal.size()
                text = screen(status, code, told, slot, socket.gethostname(), columns or WIDTH, rows or HEIGHT, spoken)
                if not terminal.busy and text != terminal.drawn:
                    terminal.drawn = text
                    terminal.show(CLEAR + bright(text, code))
            await asyncio.sleep(EVERY)

    async def _status(self) -> cti.Status | None:
        with contextlib.suppress(cti.Unavailable):
            reply = await cti.ask(str(self._data / "run/supervisor.sock"), cti.GetStatus())
            return reply if isinstance(reply, cti.Status) else None
        return None

    async def _listen(self, terminal: Terminal) -> None:
        while True:
            typed = await terminal.line()
            terminal.busy = True
            try:
                if typed.isdigit() and 1 <= int(typed) <= len(MENU):
                    name, action = MENU[int(typed) - 1]
                    terminal.show(terminal.say(f"menu-{name}") + "\n")
                    terminal.show(f"{await action(self, terminal)}\n")
                    await asyncio.sleep(EVERY)
            except CannotDo as error:
                terminal.show(terminal.spoken.say(error.said) + "\n")
                await asyncio.sleep(2 * EVERY)
            except TimeoutError:
                pass
            terminal.busy, terminal.drawn = False, ""

    # ---- the menu
    async def network(self, terminal: Terminal) -> str:
        address = await terminal.ask(terminal.say("ask-address"))
        gateway = servers = ""
        if address:
            gateway = await terminal.ask(terminal.say("ask-gateway"))
            servers = await terminal.ask(terminal.say("ask-servers"))
        await asyncio.to_thread(system.set_network, address, gateway, servers)
        return terminal.say("network-done")

    async def setup_code(self, terminal: Terminal) -> str:
        file = self._data / "run/setup-code"
        if not file.exists():
            return terminal.say("is-set-up")
        code = setup_code.make()
        owner = file.stat()
        on_disk.write(file, code.encode())
        os.chown(file, owner.st_uid, owner.st_gid)
        return terminal.say("new-code", code=code)

    async def switch(self, terminal: Terminal) -> str:
        if not await terminal.sure(terminal.say("ask-switch")):
            return terminal.spoken.say(Said("box.unchanged"))
        version = await asyncio.to_thread(system.switch_slot, asked=True)
        return _last(terminal, terminal.say("switching", version=version), system.reboot)

    async def restart(self, terminal: Terminal) -> str:
        await asyncio.to_thread(system.restart_telephony)
        return terminal.say("restarted")

    async def reboot(self, terminal: Terminal) -> str:
        if not await terminal.sure(terminal.say("ask-reboot")):
            return terminal.spoken.say(Said("box.unchanged"))
        return _last(terminal, terminal.say("rebooting"), system.reboot)

    async def reset(self, terminal: Terminal) -> str:
        if not await terminal.sure(terminal.say("ask-reset")):
            return terminal.spoken.say(Said("box.unchanged"))
        keep = await terminal.yes(terminal.say("ask-keep-network"))
        media = await terminal.yes(terminal.say("ask-erase-media"))
        await asyncio.to_thread(system.ask_factory_reset, keep, media)
        return _last(terminal, terminal.say("resetting"), system.reboot)

    async def bundle(self, terminal: Terminal) -> str:
        from appliance.upkeep import support  # it opens the databases, which nothing else here does

        file = await asyncio.to_thread(support.write, self._data, support.BOX)
        return terminal.say("bundle-written", size=file.stat().st_size >> 10)

    async def password(self, terminal: Terminal) -> str:
        from appliance.config.rights import named
        from appliance.config.rights.acting import Acting
        from appliance.host.entitlement import open_admin
        from appliance.storage.database import StorageFailed

        word = "-".join("".join(secrets.choice(setup_code.ALPHABET) for _ in range(4)) for _ in range(4))
        try:
            with open_admin(self._data) as admin:
                found = next((user for user in admin.snapshot.users.values() if user.role == "full"), None)
                if found is None:
                    return terminal.say("no-administrator")
                if not await terminal.sure(terminal.say("ask-password", user=found.username)):
                    return terminal.spoken.say(Said("box.unchanged"))
                acting = Acting(admin, named("the console"))
                acting.set_password(found.id, word)
                if found.totp_seed:  # whoever needs this may have lost the app too
                    acting.remove_second_factor(found.id)
            terminal.show(terminal.say("new-password", user=found.username, password=word) + "\n")
            return await terminal.ask(terminal.say("change-it"))
        except StorageFailed as error:
            raise CannotDo(error.said) from None

    async def facts(self, terminal: Terminal) -> str:
        lines = await asyncio.to_thread(facts.report)
        columns, rows = terminal.size()
        if rows:  # a monitor does not scroll back
            lines = wrapped(lines, columns)
            while len(lines) >= rows:
                terminal.show("\n".join([*lines[: rows - 1], ""]))
                await terminal.ask(terminal.say("enter-more"))
                lines = lines[rows - 1 :]
        terminal.show("\n".join([*lines, terminal.say("facts-end")]))
        return await terminal.ask("")

    async def power_off(self, terminal: Terminal) -> str:
        if not await terminal.sure(terminal.say("ask-power-off")):
            return terminal.spoken.say(Said("box.unchanged"))
        return _last(terminal, terminal.say("powering-off"), system.power_off)


Action = Callable[[Console, Terminal], Awaitable[str]]
MENU: tuple[tuple[str, Action], ...] = (
    ("network", Console.network),
    ("setup-code", Console.setup_code),
    ("switch", Console.switch),
    ("restart", Console.restart),
    ("reboot", Console.reboot),
    ("reset", Console.reset),
    ("bundle", Console.bundle),
    ("password", Console.password),
    ("power-off", Console.power_off),
    ("facts", Console.facts),
)


def terminals() -> list[Path]:
    """Where the kernel writes its own console; the first virtual terminal for `tty0`."""
    names = Path("/sys/class/tty/console/active").read_text().split()
    paths = [Path("/dev") / ("tty1" if name == "tty0" else name) for name in names]
    return [path for path in paths if path.exists()]


async def serve(data: Path) -> None:
    opened = []
    for path in terminals():
        with contextlib.suppress(OSError, termios.error):
            opened.append(Terminal(path))
    await Console(data, opened).run()
