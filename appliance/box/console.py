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
import termios
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from appliance import cti
from appliance.box import facts, system
from appliance.box.privileged import PROGRESS
from appliance.box.system import CannotDo
from appliance.host import setup_code
from appliance.host.alarms import told
from appliance.storage import migration, on_disk
from appliance.version import VERSION

EVERY = 2.0  # seconds
WIDTH, HEIGHT = 80, 24  # of a terminal that does not say how large it is, such as a serial line
ROOMY = 26  # rows from which on nothing need be saved
CLEAR = "\x1b[2J\x1b[H"


def screen(
    status: cti.Status | None, setup_code: str, notes: list[str], slot: str, name: str, columns: int = WIDTH, rows: int = HEIGHT
) -> str:
    """The whole text, no wider and no higher than the terminal. The QR code stands beside the words, and gives way to what is wrong where
    there is no room for both. `name`: of the box, in `.local`. Pure."""
    address = address_of(status)
    head, said = words(status, setup_code, notes, slot, name)
    tight = [line for line in head if line]
    code = code_picture(f"{address}#{setup_code}") if setup_code and address else []
    for picture in (code, []):
        foot = ["", *menu(columns), *([] if picture and rows < ROOMY else [""]), "Number and Enter: "]
        room = rows - len(foot)
        width = min(columns, WIDTH) - len(picture[0]) - 1 if picture else columns
        if picture and (len(picture) > room or max(map(len, head)) > width):
            continue
        for lines in (
            [*head, *states(status, width), *wrapped(said, width)],
            [*tight, *states(status, width), *wrapped(said, width)],
            [*tight, *states(status, width, short=True), *wrapped(said, width)],
        ):
            if len(lines) <= room:
                both = itertools.zip_longest(lines, picture, fillvalue="")
                return "\n".join([*(f"{left:<{width}} {right}".rstrip() for left, right in both), *foot])
    return "\n".join([*lines[: room - 1], "… more on the admin page.", *foot])


def bright(text: str) -> str:
    """What a person looks for stands out: addresses and the setup code."""
    return re.sub(r"(?m)(https://\S+)|(?<=^Setup code   )\w+", "\x1b[1m\\g<0>\x1b[0m", text)


def words(
    status: cti.Status | None, setup_code: str, notes: list[str], slot: str, name: str
) -> tuple[list[str], list[str]]:
    """What is always shown, in short lines, and what is wrong or going on, in sentences."""
    lines = [f"Switchroom {VERSION}    slot {slot.upper()}", ""]
    if status is None:
        return [*lines, "The telephone system is not running."], notes
    if address := address_of(status):
        lines += [f"Admin page   {address}", f"  or         https://{name}.local/"]
    else:
        lines += ["Admin page   no address yet", "  Is the network cable in? A fixed one: 1"]
    lines += ["", f"Setup code   {setup_code}", "  asked once, by the first page"] if setup_code else []
    phones = [status.addresses[kind] for kind in ("sip", "sips") if kind in status.addresses] if address else []
    lines += ["", *(f"{'' if number else 'Phones':<13}{phone}" for number, phone in enumerate(phones))]
    lines += ["", "State        " + state_of(status)]
    alarms = [f"{alarm.severity.upper()}: {told(alarm)}" for alarm in status.alarms]
    return lines, [*alarms, *notes]


def states(status: cti.Status | None, width: int, short: bool = False) -> list[str]:
    """Of every process, one to a line or all in a row."""
    each = [(process.name, process.state) for process in status.processes] if status else []
    if short:
        return wrapped([", ".join(f"{name} {state}" for name, state in each)], width)
    return [f"  {name:<12}{state}" for name, state in each]


def state_of(status: cti.Status) -> str:
    """What has not come up yet is not ill."""
    starting = any(process.state == "starting" for process in status.processes)
    if starting and not any(alarm.severity == "error" for alarm in status.alarms):
        return "starting"
    return "healthy" if status.healthy else "NOT HEALTHY"


def address_of(status: cti.Status | None) -> str:
    """Of the admin page; "" as long as the network has given none, for the box's own 127.0.0.1 leads nobody anywhere."""
    address = status.addresses.get("admin", "") if status else ""
    return "" if urlsplit(address).hostname in (None, "127.0.0.1", "::1") else address


def wrapped(sentences: list[str], width: int) -> list[str]:
    return [line for one in sentences for line in textwrap.wrap(one, width, subsequent_indent="  ")]


def menu(columns: int) -> list[str]:
    """In two columns where there is room for them."""
    rows = [f"{number:>3}  {words}" for number, (words, _) in enumerate(MENU, 1)]
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


def notes(data: Path) -> Iterator[str]:
    """What the last start had to say."""
    for part in ("state", "media"):
        with contextlib.suppress(OSError):
            if (system.BOOT_FACTS / part).read_text().strip() == "broken":
                yield f"The {part} partition cannot be read; the box runs without it. Restore a backup, or reset (6)."
    with contextlib.suppress(OSError):
        if system.on_trial():
            yield f"Version {VERSION} is on trial until it has proved itself."
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(PROGRESS.read_text())
        percent = 100 * told["done"] // max(1, told["total"])
        yield f"Update: {told['what']} {told['version']} {told['error']} {percent} %".replace("  ", " ")
    if (report := migration.read(data)) is not None:
        yield report.words(time.time())
    if (trial := system.last_trial()) is not None:
        yield (
            f"Version {trial.version}: {trial.reason}"
            if trial.asked
            else f"Version {trial.version} did not work and was left: {trial.reason}"
        )


class Terminal:
    """One screen with a keyboard."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
            os.write(self._fd, text.encode())

    async def line(self) -> str:
        return await self._lines.get()

    async def ask(self, question: str) -> str:
        self.show(f"{question} ")
        return await asyncio.wait_for(self.line(), 300)

    async def sure(self, what: str) -> bool:
        return (await self.ask(f"{what} Type yes and Enter, anything else to go back:")).lower() == "yes"


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
            slot, told = "?", list(notes(self._data))
            with contextlib.suppress(OSError):
                slot = system.slot()
            for terminal in self._terminals:
                columns, rows = terminal.size()
                text = screen(
                    status, read_setup_code(self._data), told, slot, socket.gethostname(), columns or WIDTH, rows or HEIGHT
                )
                if not terminal.busy and text != terminal.drawn:
                    terminal.drawn = text
                    terminal.show(CLEAR + bright(text))
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
                    words, action = MENU[int(typed) - 1]
                    terminal.show(f"{words}\n")
                    terminal.show(f"{await action(self, terminal)}\n")
                    await asyncio.sleep(EVERY)
            except CannotDo as error:
                terminal.show(f"{error}\n")
                await asyncio.sleep(2 * EVERY)
            except TimeoutError:
                pass
            terminal.busy, terminal.drawn = False, ""

    # ---- the menu
    async def network(self, terminal: Terminal) -> str:
        address = await terminal.ask("Address with network, such as 192.168.1.10/24 (empty: by DHCP):")
        gateway = servers = ""
        if address:
            gateway = await terminal.ask("Gateway:")
            servers = await terminal.ask("Name servers:")
        await asyncio.to_thread(system.set_network, address, gateway, servers)
        return "Done. The new address appears in a moment."

    async def setup_code(self, terminal: Terminal) -> str:
        file = self._data / "run/setup-code"
        if not file.exists():
            return "The box is set up already. `Factory reset` begins anew; a forgotten password is changed under 8."
        code = setup_code.make()
        owner = file.stat()
        on_disk.write(file, code.encode())
        os.chown(file, owner.st_uid, owner.st_gid)
        return f"New setup code: {code}"

    async def switch(self, terminal: Terminal) -> str:
        if not await terminal.sure("The box starts with its other version; calls are cut."):
            return "Nothing was changed."
        version = await asyncio.to_thread(system.switch_slot, asked=True)
        return _last(terminal, f"Starting with version {version}.", system.reboot)

    async def restart(self, terminal: Terminal) -> str:
        await asyncio.to_thread(system.restart_telephony)
        return "The telephone system was restarted; calls went on."

    async def reboot(self, terminal: Terminal) -> str:
        if not await terminal.sure("The box restarts; calls are cut."):
            return "Nothing was changed."
        return _last(terminal, "Restarting.", system.reboot)

    async def reset(self, terminal: Terminal) -> str:
        if not await terminal.sure("Everything is erased: extensions, call records, keys."):
            return "Nothing was changed."
        keep = (await terminal.ask("Keep the network settings? (yes or no)")).lower() == "yes"
        media = (await terminal.ask("Erase recordings and prompts too? (yes or no)")).lower() == "yes"
        await asyncio.to_thread(system.ask_factory_reset, keep, media)
        return _last(terminal, "Erasing at the next start, which is now.", system.reboot)

    async def bundle(self, terminal: Terminal) -> str:
        from appliance.upkeep import support  # it opens the databases, which nothing else here does

        file = await asyncio.to_thread(support.write, self._data, support.BOX)
        return f"Written ({file.stat().st_size >> 10} KiB); it is on the admin page under Updates."

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
                    return "There is no administrator yet: use the setup code."
                if not await terminal.sure(f"{found.username} gets a new password."):
                    return "Nothing was changed."
                acting = Acting(admin, named("the console"))
                acting.set_password(found.id, word)
                if found.totp_seed:  # whoever needs this may have lost the app too
                    acting.remove_second_factor(found.id)
            return f"New password of {found.username}: {word}\nChange it on the admin page. (Enter)" + await terminal.ask(
                ""
            )
        except StorageFailed as error:
            raise CannotDo(error.said) from None

    async def facts(self, terminal: Terminal) -> str:
        lines = await asyncio.to_thread(facts.report)
        columns, rows = terminal.size()
        if rows:  # a monitor does not scroll back
            lines = wrapped(lines, columns)
            while len(lines) >= rows:
                terminal.show("\n".join([*lines[: rows - 1], ""]))
                await terminal.ask("Enter: more")
                lines = lines[rows - 1 :]
        terminal.show("\n".join([*lines, "end of facts. Enter: back"]))
        return await terminal.ask("")

    async def power_off(self, terminal: Terminal) -> str:
        if not await terminal.sure("The box is switched off; calls are cut."):
            return "Nothing was changed."
        return _last(terminal, "Switching off.", system.power_off)


Action = Callable[[Console, Terminal], Awaitable[str]]
MENU: tuple[tuple[str, Action], ...] = (
    ("Network", Console.network),
    ("New setup code", Console.setup_code),
    ("Switch to the other version", Console.switch),
    ("Restart the telephone system (calls go on)", Console.restart),
    ("Restart the box", Console.reboot),
    ("Factory reset", Console.reset),
    ("Support bundle", Console.bundle),
    ("New administrator password", Console.password),
    ("Switch off", Console.power_off),
    ("Facts about this box", Console.facts),
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
