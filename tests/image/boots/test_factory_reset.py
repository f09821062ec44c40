"""A factory reset, asked for at the console and on the page of a box in use, and a power cut at any moment of it: the next start repeats it, until the box is as new; what was to be kept is kept.

Every write of a start that resets is recorded (tests/image/replay.py). After each cut either the flag is still there, whole, and the
settings to be kept can still be found, or everything is done. Some of the cuts are started, to their end.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from image.build import Image
from tests.image.boots.conftest import PASSWORD, Office
from tests.image.boots.test_console import FIXED, fix_address
from tests.image.boots.test_power_cuts import files_of, repaired
from tests.image.browser import Browser
from tests.image.machine import Machine
from tests.image.replay import Partitions, disk_after, places

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]
DRAWS, SEED = 4, 30_000  # cuts behind each write, with other survivors each time
NETWORK = b"[Match]\nType=ether\n[Network]\nAddress=192.168.7.7/24\n"
WORDS = b"reset network media"
KEPT = "network-kept/50-console.network"
Ask = Callable[[Machine, Browser, bool], None]


@pytest.fixture(scope="module")
def asked(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a configuration, a fixed address, and the wish to be reset."""
    folder = tmp_path_factory.mktemp("asked")
    disk = folder / "asked.img"
    subprocess.run(["cp", "--sparse=always", image.disk, disk], check=True)
    (folder / "network").write_bytes(NETWORK)
    (folder / "config").write_bytes(b"everything that shall go" * 1000)
    (folder / "flag").write_bytes(WORDS)
    steps = ["mkdir network", f"write {folder}/network network/50-console.network", "mkdir switchroom", f"write {folder}/config switchroom/config.db"]  # fmt: skip
    state = f"{disk}?offset={places(disk)['switchroom-state'][0]}"
    subprocess.run(["debugfs", "-w", "-f", "-", state], input="\n".join(steps), text=True, check=True, capture_output=True)  # fmt: skip
    subprocess.run(["mcopy", "-i", f"{disk}@@{places(disk)['esp'][0]}", folder / "flag", "::factory-reset"], check=True)
    return disk


@pytest.fixture(scope="module")
def log(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reset")
    with Machine(folder / "box", asked, write_log=folder / "writes.log") as box:
        box.wait("SWITCHROOM-INITRD factory reset")
        box.wait("SWITCHROOM-INITRD root ready")
    return folder / "writes.log"


def state_of(image: Path) -> tuple[bytes, bytes] | None:
    """The configuration and the address on a state partition, b"" when there is none; None when it cannot be mounted."""
    if not repaired(image):
        return None
    found = [
        subprocess.run(["debugfs", "-R", f"cat {name}", image], capture_output=True, check=True).stdout
        for name in ("switchroom/config.db", "network/50-console.network")
    ]
    return found[0], found[1]


def test_a_cut_at_any_moment(asked: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)
    done = 0
    with contextlib.closing(Partitions(asked, ["esp", "switchroom-state"], log, tmp_path / "parts")) as parts:
        every = parts.writes_to("esp", "switchroom-state")
        cuts = [entry for entry in every for _ in range(DRAWS)]
        for entry in cuts:
            parts.at(entry)
            survivors = parts.survivors(chance)
            files = files_of(parts.after("esp", survivors, tmp_path / "esp.img"), tmp_path / "esp")
            state = state_of(parts.after("switchroom-state", survivors, tmp_path / "state.img"))
            if files.get("factory-reset"):  # an empty one is being removed: nothing is left to do
                assert files["factory-reset"] == WORDS
                kept = files.get(KEPT) == NETWORK or (state is not None and state[1] == NETWORK)
                assert kept, f"the address is lost, behind entry {entry}: {sorted(files)}"
            else:
                done += 1
                assert state == (b"", NETWORK), f"behind entry {entry}"
    with capsys.disabled():
        print(f"\n{len(cuts)} power cuts of a factory reset replayed (seed {SEED}), {done} after its end")  # noqa: T201
    assert 0 < done < len(cuts)


class AllOfThem(random.Random):
    """A cut that every write survives (`replay.torn`)."""

    def random(self) -> float:
        return 0.5


@pytest.mark.parametrize("part", [0.3, 0.8])
def test_the_next_start_repeats_it(asked: Path, log: Path, tmp_path: Path, part: float) -> None:
    with contextlib.closing(Partitions(asked, ["esp", "switchroom-state"], log, tmp_path / "parts")) as parts:
        erasing = parts.writes_to("switchroom-state")
        for gone in (entry for entry in parts.writes_to("esp") if entry > erasing[0]):
            parts.at(gone)
            left = parts.after("esp", parts.survivors(AllOfThem()), tmp_path / "esp.img")
            if "factory-reset" not in files_of(left, tmp_path / "esp"):
                break
        cuts = [entry for entry in erasing if entry < gone]  # before the flag's removal begins
    disk = disk_after(asked, log, cuts[int(part * len(cuts))], random.Random(f"{SEED} {part}"), tmp_path / "cut")
    with Machine(tmp_path / "box", disk) as box:
        box.wait("SWITCHROOM-INITRD factory reset")
        box.wait("SWITCHROOM-INITRD root ready")
        box.wait("Setup code")
    raw = tmp_path / "after.img"
    subprocess.run(["qemu-img", "convert", "-O", "raw", tmp_path / "box/disk.qcow2", raw], check=True)
    with contextlib.closing(Partitions(raw, ["esp", "switchroom-state"], log, tmp_path / "after")) as after:
        assert "factory-reset" not in files_of(after.after("esp", [], tmp_path / "esp.img"), tmp_path / "esp")
        state = state_of(after.after("switchroom-state", [], tmp_path / "state.img"))
    assert state is not None
    assert state[1] == NETWORK
    assert b"everything that shall go" not in state[0]


@pytest.fixture(scope="module")
def fixed(office: Office, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The office's box with a fixed address; saved as it was then."""
    folder = tmp_path_factory.mktemp("fixed")
    with Machine(folder, office.folder, like=office.folder) as box:
        fix_address(box)
        box.wait(rf"Admin page +https://{FIXED}:4021/")
        box.wait(r"State +healthy")
        box.save()
    return folder


def at_the_console(box: Machine, browser: Browser, keep: bool) -> None:
    box.send("6")
    for question, answer in (
        ("Everything is erased", "yes"),
        ("Keep the network settings", "yes" if keep else "no"),
        ("Erase recordings and prompts too", "yes"),
    ):
        box.wait(question)
        box.send(answer)


def on_the_page(box: Machine, browser: Browser, keep: bool) -> None:
    browser.log_in("anna", PASSWORD)
    browser.open("/reset")
    said = browser.submit("/reset", current=PASSWORD, **({"keep_network": "yes"} if keep else {}))
    assert "The box starts as new" in said


@pytest.mark.parametrize("keep", [True, False], ids=["network kept", "network forgotten"])
@pytest.mark.parametrize("ask", [at_the_console, on_the_page])
def test_a_box_in_use_starts_as_new(fixed: Path, tmp_path: Path, ask: Ask, keep: bool) -> None:
    with Machine(tmp_path / "box", fixed, like=fixed) as box:
        before = Browser(box.forward("tcp", 4021, address=FIXED), tmp_path / "before.pem")
        assert "Log in" in before.open("/")
        ask(box, before, keep)
        box.wait("SWITCHROOM-INITRD factory reset")
        box.wait(rf"Admin page +https://{FIXED if keep else '10.0.2.15'}:4021/")
        code = box.wait(r"Setup code +([A-Z0-9]{10})")[1]
        box.wait(r"State +healthy")
        after = Browser(box.forward("tcp", 4021, address=FIXED if keep else ""), tmp_path / "after.pem")
        after.set_up(code, PASSWORD)
        assert ">100<" not in after.open("/extensions"), "the telephones are forgotten"
        assert after.authority.read_bytes() != before.authority.read_bytes(), "the box has new keys"
