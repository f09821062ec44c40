"""Updates from the admin page of a running box: one that is good stays, one whose telephone system does not start is left by itself.

Slow: the emulated box writes and reads back two hundred megabytes and starts two or three times.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from image.build import Image
from image.graph import Graph
from image.tree import PRODUCT
from tests.image.browser import Browser
from tests.image.machine import Machine

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]
KEPT = ("base", "product", "keys", "loader", "initrd")
PASSWORD = "correct horse battery"
NEWER = "99.0"
Change = Callable[[Path], None]


def newer(image: Image, folder: Path, change: Change) -> Path:
    """An update bundle of a later version, its root tree changed."""
    made = Image(image.name, folder)
    made.graph, made.version = Graph(folder), NEWER
    made.__dict__.update({name: getattr(image, name) for name in KEPT})
    root = made.tree / "root"
    for metadata in root.glob(f"{PRODUCT}/lib/python3*/site-packages/switchroom-*.dist-info/METADATA"):
        metadata.write_text(metadata.read_text().replace(f"\nVersion: {image.version}\n", f"\nVersion: {NEWER}\n"))
    change(root)
    return made.bundle


def does_not_start(root: Path) -> None:
    unit = root / "etc/systemd/system/switchroom.service"
    unit.write_text(unit.read_text().replace("ExecStart=", "ExecStart=/bin/false "))


@pytest.mark.parametrize(
    ("change", "works"), [(lambda root: None, True), (does_not_start, False)], ids=["good", "does not start"]
)
def test_an_update(image: Image, tmp_path: Path, change: Change, works: bool) -> None:
    bundle = newer(image, tmp_path / "newer", change)
    with Machine(tmp_path / "box", image.disk) as machine:
        code = machine.wait(r"Setup code +([A-Z0-9]{10})")[1]
        machine.wait(r"State +healthy")
        port = machine.forward("tcp", 4021)
        browser = Browser(port, tmp_path / "authority.pem")
        browser.set_up(code, PASSWORD)
        assert "This box runs version" in browser.open("/updates")
        assert browser.send("/updates/install", bundle) == NEWER
        browser.open("/updates")
        browser.submit("/updates/restart", when="now", hour="")

        machine.wait(f"Switchroom {NEWER} +slot B")
        if not works:
            machine.wait(f"Switchroom {image.version} +slot A", 900)
            machine.wait(f"Version {NEWER} did not work and was left")
            machine.wait(r"State +healthy")
        else:
            machine.wait(r"State +healthy")
        browser = Browser(port, tmp_path / "authority.pem")
        browser.log_in("anna", PASSWORD)
        page = browser.open("/updates")
        assert f"This box runs version {NEWER if works else image.version}" in page
        assert ("did not work and the box went back" in page) == (not works)
    shutil.rmtree(tmp_path / "newer")
