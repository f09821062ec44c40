"""The console of a box as somebody with a keyboard has it: a fixed address, a new setup code, the support bundle."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from tests.image.boots.conftest import Started
from tests.image.browser import Browser
from tests.image.machine import Machine

pytestmark = [pytest.mark.timeout(1800)]
PASSWORD = "correct horse battery"
FIXED = "10.0.2.77"


def fix_address(box: Machine) -> None:
    box.send("1")
    for question, answer in (
        ("Address with network", f"{FIXED}/24"),
        ("Gateway:", "10.0.2.2"),
        ("Name servers:", "10.0.2.3"),
    ):
        box.wait(question)
        box.send(answer)
    box.wait("Done. The new address appears in a moment.")


def test_a_fixed_address_and_a_new_setup_code(box: Machine, started: Started, tmp_path: Path) -> None:
    fix_address(box)
    box.wait(rf"Admin page +https://{FIXED}:4021/")
    box.wait(r"State +healthy")
    box.send("2")
    code = box.wait(r"New setup code: ([A-Z0-9]{10})")[1]
    assert code != started.setup_code
    browser = Browser(box.forward("tcp", 4021, address=FIXED), tmp_path / "authority.pem")
    browser.set_up(code, PASSWORD)


def test_the_support_bundle_has_no_secret(box: Machine, started: Started, tmp_path: Path) -> None:
    box.send("7")
    box.wait(r"Written \(\d+ KiB\)")
    browser = Browser(box.forward("tcp", 4021), tmp_path / "authority.pem")
    browser.set_up(started.setup_code, PASSWORD)
    _, password = browser.add_extension("100")
    browser.open("/updates")
    packed = browser.download("/updates/support")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        texts = {
            entry.name.rpartition("/")[2]: tar.extractfile(entry).read().decode()  # type: ignore[union-attr]
            for entry in tar.getmembers()
        }
    assert "healthy" in texts["journal.txt"]
    assert re.search(r"record: [1-9]", texts["databases.txt"]), texts["databases.txt"]
    for secret in (started.setup_code, PASSWORD, password, "PRIVATE KEY"):
        assert [part for part, text in texts.items() if secret in text] == []
