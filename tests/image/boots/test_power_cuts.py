"""The power goes while an update is being written and calls are being recorded: at any moment, some hundred times.

One box is watched from its first power-on over calls, an update while calls go on, the restart into it and its blessing; every write and
flush of its disk is recorded. Then the disk is made anew as it is after cuts drawn from the whole log (tests/image/replay.py), and of each
one is asked, on files, what the next start would ask:

- boot partition: first stage, loader and the first version's kernel image are whole; every other kernel image that the loader would start is whole
  too, and has a whole slot behind it, checked through its hash tree; the first slot was never written to
- state partition: repaired by its journal alone, or with a copy of its superblock when that is torn; the product
  opens its databases and keys, as it does at each start; SQLite finds them whole
- what the box has told somebody on a page is there: call records, extensions, its authority

Some of the cuts are started for real.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
import re
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from appliance.box import update
from appliance.calls.history.records import CallRecords
from appliance.config.store import Store
from appliance.host import certificates
from appliance.softphone import Account, PhoneError, Softphone
from image import boot
from image.build import Image
from tests.image.boots.conftest import NEWER, PASSWORD, facts_of
from tests.image.browser import Browser
from tests.image.machine import Machine
from tests.image.phones import HIGH, LIMIT, LOW, phones_of
from tests.image.replay import Partitions, Write, disk_after, places

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]
CUTS = {"esp": 200, "switchroom-state": 200}  # by the partition whose write they follow
SEED = 20_000
DIALLED = re.compile(r'data-label="To"><span class="fw-semibold">(\d+)<')
NAMES = ("esp", "switchroom-state", "switchroom-root-b", "switchroom-verity-b")


@dataclass
class Told:
    """What the box has told somebody, and how long the log of its disk was at that moment."""

    log: Path
    rows: dict[tuple[str, str], int] = field(default_factory=dict)

    def now(self, kind: str, value: str) -> None:
        self.rows.setdefault((kind, value), self.log.stat().st_size)

    def before(self, place: int, kind: str) -> set[str]:
        return {value for (which, value), told in self.rows.items() if which == kind and told <= place}


@dataclass
class Story:
    """A box's life as its disk saw it."""

    log: Path
    told: Told
    kernels: dict[str, bytes]  # version -> hash of its kernel image
    root_hashes: dict[str, str]
    begin: int  # length of the log when the box was set up


@pytest.fixture(scope="module")
def story(image: Image, good: Image, tmp_path_factory: pytest.TempPathFactory) -> Story:
    return live(image, good.bundle, tmp_path_factory.mktemp("story"))


def live(image: Image, made: Path, folder: Path) -> Story:
    log = folder / "writes.log"
    told = Told(log)
    kernel = next(made.parents[1].rglob("uki.efi"))
    root_hash = next(made.parents[1].rglob("roothash")).read_text()
    with Machine(folder / "box", image.disk, write_log=log) as box:
        code = box.wait(r"Setup code +([A-Z0-9]{10})")[1]
        facts_of(box)
        browser = Browser(box.forward("tcp", 4021), folder / "authority.pem")
        told.now("authority", browser.authority.read_text())
        browser.set_up(code, PASSWORD)
        begin = log.stat().st_size
        accounts = phones_of(browser, box)
        for account in accounts:
            told.now("extension", account.number)
        browser.open("/updates")
        asyncio.run(office(accounts, told, browser, lambda: browser.send("/updates/install", made)))
        browser.open("/updates")
        browser.submit("/updates/restart", when="now", hour="")
        box.wait(f"Switchroom {NEWER} +slot B")
        facts_of(box)
        again = Browser(int(browser.address.rpartition(":")[2]), folder / "again.pem")
        again.log_in("anna", PASSWORD)
        for _ in range(120):
            if "has to prove itself" not in again.open("/updates") and "on trial" not in again.page:
                break
        asyncio.run(office(accounts, told, again, lambda: None, least=5))
    shutil.rmtree(folder / "box")
    kernels = {image.version: image.uki.read_bytes(), NEWER: kernel.read_bytes()}
    hashes = {version: hashlib.sha256(content).digest() for version, content in kernels.items()}
    return Story(log, told, hashes, {image.version: image.root_hash, NEWER: root_hash}, begin)


async def office(accounts: list[Account], told: Told, browser: Browser, work: object, least: int = 15) -> None:
    """Calls, one after the other, until `work` in its own thread is done; after each the page is asked which ones are recorded."""
    done = threading.Event()

    def working() -> None:
        try:
            work()  # type: ignore[operator]
        finally:
            done.set()

    reader = Browser(int(browser.address.rpartition(":")[2]), told.log.with_name("reader.pem"))
    await asyncio.to_thread(reader.log_in, "anna", PASSWORD)
    async with contextlib.AsyncExitStack() as stack:
        phones = [Softphone(account, frequency=tone) for account, tone in zip(accounts, (LOW, HIGH), strict=True)]
        for phone in phones:
            await phone.connect(LIMIT)
            stack.push_async_callback(phone.close)
            await phone.register(3600, LIMIT)
        worker = asyncio.create_task(asyncio.to_thread(working))
        first = 7000 + sum(kind == "call" for kind, _ in told.rows)
        for number in itertools.count(first):
            with contextlib.suppress(PhoneError):  # there is no such number; that is recorded as well
                await phones[0].call(str(number), LIMIT)
            if number % 5:
                continue
            if done.is_set() and number - first > least:
                break
            incoming = asyncio.create_task(phones[1].incoming(LIMIT))
            made = await phones[0].call("101", LIMIT)
            taken = await incoming
            taken.answer()
            await made.wait(made.answered, LIMIT, "answered")
            made.hang_up()
            for dialled in DIALLED.findall(await asyncio.to_thread(reader.open, "/calls")):
                if dialled != "101":
                    told.now("call", dialled)
        await worker


class Checked:
    """Asks of a disk after a cut what the next start would ask."""

    def __init__(self, image: Image, story: Story, parts: Partitions, folder: Path) -> None:
        self.image, self.story, self.parts, self.folder = image, story, parts, folder
        self.loader = {
            f"EFI/BOOT/{image.board['boot_file']}": (image.first_stage / "first.efi").read_bytes(),
            image.loader_file: image.boot_loader.read_bytes(),
            "loader/loader.conf": boot.LOADER_CONF.encode(),
        }
        self.seen: set[object] = set()
        self.slots: dict[object, bool] = {}
        self.newer = 0  # cuts after which the newer version would be started

    def cut(self, entry: int, chance: random.Random) -> None:
        self.parts.at(entry)
        survivors = self.parts.survivors(chance)
        place = self.parts.entries[entry].place
        esp = self.parts.state_of("esp", survivors)
        if esp not in self.seen:
            self.boot_partition(survivors)
            self.seen.add(esp)
        known = frozenset(value for kind in ("call", "extension") for value in self.story.told.before(place, kind))
        state = (self.parts.state_of("switchroom-state", survivors), known)
        if state not in self.seen:
            self.state_partition(survivors, place)
            self.seen.add(state)

    def boot_partition(self, survivors: list[Write]) -> None:
        image = self.parts.after("esp", survivors, self.folder / "esp.img")
        found = files_of(image, self.folder / "esp")
        for name, content in self.loader.items():
            assert found.get(name) == content, f"{name} is damaged"
        kernels = set()
        for name, content in found.items():
            if (match := update.OURS.fullmatch(Path(name).name)) and name.startswith("EFI/Linux/"):
                kernels.add(match["version"])
                whole = hashlib.sha256(content).digest() == self.story.kernels[match["version"]]
                assert whole, f"{name} is not whole, it has {len(content)} bytes"
        assert self.image.version in kernels, f"the first version is gone; there are {sorted(found)}"
        if NEWER in kernels:
            self.newer += 1
            assert self.slot_is_whole(survivors), "a version can be started whose slot is not whole"

    def slot_is_whole(self, survivors: list[Write]) -> bool:
        names = ("switchroom-root-b", "switchroom-verity-b")
        key = tuple(self.parts.state_of(name, survivors) for name in names)
        if key not in self.slots:
            root, tree = (self.parts.after(name, survivors, self.folder / name) for name in names)
            words = ["veritysetup", "verify", root, tree, self.story.root_hashes[NEWER]]
            self.slots[key] = subprocess.run(words, capture_output=True, check=False).returncode == 0
        return self.slots[key]

    def state_partition(self, survivors: list[Write], place: int) -> None:
        image = self.parts.after("switchroom-state", survivors, self.folder / "state.img")
        assert repaired(image), "the state partition cannot be mounted"
        clean = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True, check=False)
        assert clean.returncode == 0, clean.stdout
        data = self.folder / "switchroom"
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(["debugfs", "-R", f"rdump switchroom {self.folder}", image], capture_output=True, check=True)
        told = self.story.told
        store = Store(data)
        extensions = {record.number for record in store.load().extensions.values()}
        store.close()
        assert told.before(place, "extension") <= extensions
        records = CallRecords(data)
        while records.index_more():
            pass
        calls = {row.dialled for row in records.each()}
        records.close()
        assert told.before(place, "call") <= calls
        for name in ("config.db", "calls.db"):
            with contextlib.closing(sqlite3.connect(data / name)) as db:
                assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        files = certificates.ensure(data)
        for pem in told.before(place, "authority"):
            assert x509.load_pem_x509_certificate(pem.encode()) == x509.load_pem_x509_certificate(
                files.authority.read_bytes()
            )


def repaired(image: Path) -> bool:
    """Whether the start mounts a data partition (image/initrd/init): after its journal, and thoroughly only when the superblock itself
    is torn, which is one block that the disk writes as two sectors; a copy of it takes its place then."""
    first = subprocess.run(["e2fsck", "-p", image], capture_output=True, text=True, check=False)
    if first.returncode < 4:
        return True
    torn = "Superblock checksum does not match" in first.stdout + first.stderr
    return torn and subprocess.run(["e2fsck", "-y", image], capture_output=True, check=False).returncode < 4


def files_of(image: Path, folder: Path) -> dict[str, bytes]:
    """All files of a FAT file system, read as a program reads it that knows nothing of a repair."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for top in ("EFI", "loader", "factory-reset", "network-kept"):
        words = ["mcopy", "-s", "-n", "-Q", "-i", image, f"::{top}", folder]
        subprocess.run(words, env={"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin"}, capture_output=True, check=False)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def parts(image: Image, story: Story, tmp_path: Path) -> Iterator[Partitions]:
    with contextlib.closing(Partitions(image.disk, NAMES, story.log, tmp_path / "parts")) as made:
        yield made


def drawn(parts: Partitions, story: Story, chance: random.Random) -> list[int]:
    """Entries behind which the power goes: behind writes to the boot partition and to the state partition, once the box is set up. The
    same one may come twice: other writes survive then."""
    writes = {name: parts.writes_to(name, since=story.begin) for name in CUTS}
    return sorted(entry for name, wanted in CUTS.items() for entry in chance.choices(writes[name], k=wanted))


def test_a_cut_at_any_moment(
    image: Image, story: Story, parts: Partitions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slot_a = [places(image.disk)[f"switchroom-{kind}-a"] for kind in ("root", "verity")]
    assert not [
        entry.write
        for entry in parts.entries
        if entry.write
        and any(
            start < entry.write.offset + entry.write.length and entry.write.offset < start + size
            for start, size in slot_a
        )
    ], "the running slot was written to"
    chance = random.Random(SEED)
    cuts = drawn(parts, story, chance)
    checked = Checked(image, story, parts, tmp_path)
    for entry in cuts:
        try:
            checked.cut(entry, chance)
        except Exception as error:
            raise AssertionError(f"a cut behind entry {entry} of {len(parts.entries)}: {error}") from error
    calls = sum(kind == "call" for kind, _ in story.told.rows)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{len(cuts)} power cuts replayed (seed {SEED}) from {len(parts.entries)} entries of the log; "
            f"{calls} calls had been told; after {checked.newer} boot partitions the newer version starts"
        )
    assert len(cuts) >= 300
    assert calls >= 20
    assert checked.newer


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_box_that_starts_after_a_cut(image: Image, story: Story, tmp_path: Path, part: float) -> None:
    """The whole thing, at a moment of writing to the boot partition, started and asked for its calls."""
    with contextlib.closing(Partitions(image.disk, ["esp"], story.log, tmp_path / "parts")) as parts:
        writes = parts.writes_to("esp", since=story.begin)
        entry = writes[int(part * len(writes))]
        place = parts.entries[entry].place
    disk = disk_after(image.disk, story.log, entry, random.Random(f"{SEED} {part}"), tmp_path / "whole")
    with Machine(tmp_path / "box", disk) as box:
        box.wait("Number and Enter")
        assert "health passed" in facts_of(box)
        browser = Browser(box.forward("tcp", 4021), tmp_path / "authority.pem")
        assert browser.authority.read_text() in story.told.before(place, "authority")
        browser.log_in("anna", PASSWORD)
        for number in story.told.before(place, "call"):
            assert f">{number}<" in browser.open(f"/calls?q={number}")
