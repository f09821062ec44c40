"""What the boots start from: the built image, a box that has started once and is healthy, and disks with a second version that fails in one way.

The last line of a run is `N passed, N failed`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from image import boot
from image.build import COMMAND_LINE, Image
from tests.image.machine import Machine

ROOT = Path(__file__).parents[3]
Armed = Callable[..., Path]
Resume = Callable[[Path], Machine]


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


def without_init(image: Image, folder: Path) -> Path:
    line = COMMAND_LINE.format(hash=image.root_hash).replace("panic=10", "panic=1") + " rdinit=/nothing init=/nothing"
    kernel = next((image.base / "root/boot").glob(image.board["kernel_file"]))
    release = image.tree / "root/usr/lib/os-release"
    folder.mkdir()
    stub = image.loader / image.board["efi_stub"]
    return boot.uki(folder, stub, kernel, image.initrd / "initrd", release, line, image.keys, image.date)
