"""What the boots start from: the built image, and disks with a second version that fails in one way."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from image import boot, disk
from image.build import COMMAND_LINE, Image

ROOT = Path(__file__).parents[3]
Armed = Callable[[dict[str, Path]], Path]


@pytest.fixture(scope="session")
def image() -> Image:
    """The image of this checkout; `make image` has built it, so everything comes from the cache."""
    return Image("x86-64", ROOT / "build/image")


@pytest.fixture
def armed(image: Image, tmp_path: Path) -> Armed:
    """The image's disk with more kernel images on its boot partition."""

    def make(kernels: dict[str, Path]) -> Path:
        target = tmp_path / "armed.img"
        subprocess.run(["cp", "--sparse=always", image.disk, target], check=True)
        loader = image.loader / "usr/lib/systemd/boot/efi" / image.board["loader"]
        ours = {f"switchroom_{image.version}.efi": image.uki}
        esp = disk.esp(tmp_path, image.board["boot_file"], loader, boot.LOADER_CONF, ours | kernels, image.date)
        subprocess.run(
            ["dd", f"if={esp}", f"of={target}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none"], check=True
        )
        esp.unlink()
        return target

    return make


@pytest.fixture
def panicking(image: Image, tmp_path: Path) -> Path:
    """A kernel image that is signed and loads, and whose kernel finds nothing to run."""
    line = COMMAND_LINE.format(hash=image.root_hash).replace("panic=10", "panic=1") + " rdinit=/nothing init=/nothing"
    kernel = next((image.base / "root/boot").glob(image.board["kernel_file"]))
    release = image.tree / "root/usr/lib/os-release"
    folder = tmp_path / "panicking"
    folder.mkdir()
    stub = image.loader / image.board["efi_stub"]
    return boot.uki(folder, stub, kernel, image.initrd / "initrd", release, line, image.keys, image.date)
