"""What the boots start from: the built image, a box that has started once and is healthy, and disks with a second version that fails in one way.

The last line of a run is `N passed, N failed`.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.softphone import Account
from image.build import Image
from image.graph import Graph
from image.tree import PRODUCT
from tests.image.browser import Browser
from tests.image.machine import PATIENCE, Machine
from tests.image.phones import NUMBERS, account

ROOT = Path(__file__).parents[3]
Armed = Callable[..., Path]
Change = Callable[[Path], None]
KEPT = ("base", "product", "keys", "loader", "initrd")
PASSWORD = "correct horse battery"
NEWER = "99.0"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    stats = config.pluginmanager.get_plugin("terminalreporter").stats
    passed, failed = len(stats.get("passed", ())), len(stats.get("failed", ())) + len(stats.get("error", ()))
    print(f"{passed} passed, {failed} failed")  # noqa: T201


@pytest.fixture(scope="session")
def image() -> Image:
    """The image of this checkout; `make image` has built it, so everything comes from the cache."""
    return Image("x86-64", ROOT / "build/image")


@dataclass(frozen=True, slots=True)
class Started:
    """A box that has started for the first time, on a larger disk, and passed its health check; saved as it was then."""

    folder: Path
    setup_code: str
    said: str  # the serial line, from power-on
    facts: str  # of the console's menu
    seconds: float  # from power-on to the passed health check


@pytest.fixture(scope="session")
def started(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Started:
    folder = tmp_path_factory.mktemp("started")
    with Machine(folder, image.disk, size="8G") as machine:
        code = machine.wait(r"Setup code +([A-Z0-9]{10})")[1]
        machine.wait(r"State +healthy")
        facts = facts_of(machine)
        seconds = machine.seconds()
        machine.save()
        return Started(folder, code, machine.text(), facts, seconds)


@pytest.fixture
def box(started: Started, tmp_path: Path) -> Iterator[Machine]:
    """That box, going on from there."""
    with Machine(tmp_path / "box", started.folder, like=started.folder, size="8G") as machine:
        yield machine


def facts_of(machine: Machine) -> str:
    """What the console's menu tells about the box, once the health check is over."""
    while True:
        machine.send("10")
        machine.wait("Facts about this box\n")
        found = machine.wait(r"(?s)(.*?)end of facts")[1]
        machine.send("")
        if "health still running" not in found:
            return str(found)
        time.sleep(3)


def switch_off(machine: Machine) -> None:
    """At the console, so that its file systems are clean: the tools of ext4 cannot replay a journal inside a disk's file."""
    machine.send("9")
    machine.wait("switched off; calls are cut.")
    machine.send("yes")
    machine.process.wait(PATIENCE)


@pytest.fixture
def armed(image: Image, tmp_path: Path) -> Armed:
    """The image's disk with more kernel images on its boot partition, and `more` lines in the loader's configuration."""

    def make(kernels: dict[str, Path], more: str = "") -> Path:
        target = tmp_path / "armed.img"
        subprocess.run(["cp", "--sparse=always", image.disk, target], check=True)
        ours = {f"switchroom_{image.version}.efi": image.uki}
        esp = image.esp(tmp_path, ours | kernels, more)
        subprocess.run(
            ["dd", f"if={esp}", f"of={target}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"], check=True
        )
        esp.unlink()
        return target

    return make


@pytest.fixture
def panicking(image: Image, tmp_path: Path) -> Path:
    """A kernel image that is signed and loads, and whose kernel finds nothing to run."""
    return without_init(image, tmp_path / "panicking")


def later(image: Image, folder: Path, change: Change = lambda root: None, *, panics: bool = False) -> Image:
    """A later version, its root tree changed."""
    made = Image(image.name, folder)
    made.graph, made.version = Graph(folder), NEWER
    made.__dict__.update({name: getattr(image, name) for name in KEPT})
    if panics:
        made.__dict__.update(slot=image.slot, uki=without_init(image, folder / "panicking"))
        return made
    root = made.tree / "root"
    for metadata in root.glob(f"{PRODUCT}/lib/python3*/site-packages/switchroom-*.dist-info/METADATA"):
        metadata.write_text(metadata.read_text().replace(f"\nVersion: {image.version}\n", f"\nVersion: {NEWER}\n"))
    change(root)
    return made


@pytest.fixture(scope="session")
def good(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A later version that works."""
    return later(image, tmp_path_factory.mktemp("good") / "newer")


def without_init(image: Image, folder: Path) -> Path:
    folder.mkdir()
    return image.kernel_image(folder, image.command_line.replace("panic=10", "panic=1") + " rdinit=/nothing init=/nothing")


@dataclass(frozen=True, slots=True)
class Office:
    """A box that is set up, with two extensions; saved as it was then."""

    folder: Path
    logins: list[tuple[str, str]]


@pytest.fixture(scope="session")
def office(started: Started, tmp_path_factory: pytest.TempPathFactory) -> Office:
    folder = tmp_path_factory.mktemp("office")
    with Machine(folder, started.folder, like=started.folder) as machine:
        browser = Browser(machine.forward("tcp", 4021), folder / "authority.pem")
        browser.set_up(started.setup_code, PASSWORD)
        logins = [browser.add_extension(number) for number in NUMBERS]
        machine.save()
    return Office(folder, logins)


class Running:
    """The office's box, going on from there."""

    def __init__(self, office: Office, machine: Machine) -> None:
        self.machine = machine
        self.port = machine.forward("tcp", 4021)
        self.browser = Browser(self.port, machine.folder / "authority.pem")
        self.logins = office.logins

    def accounts(self) -> list[Account]:
        return [
            account(self.machine, self.browser, number, *login)
            for number, login in zip(NUMBERS, self.logins, strict=True)
        ]

    def log_in(self) -> Browser:
        self.browser = Browser(self.port, self.machine.folder / "authority.pem")
        self.browser.log_in("anna", PASSWORD)
        return self.browser

    def updates(self) -> str:
        """The page of versions, by somebody who has just logged in."""
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.log_in().open("/updates")))


@pytest.fixture
def running(office: Office, tmp_path: Path) -> Iterator[Running]:
    with Machine(tmp_path / "box", office.folder, like=office.folder) as machine:
        yield Running(office, machine)
