"""A configuration that cannot be read: no call is served on an empty one, terminal and page say so, and the page restores a backup for who
has the setup code. What is damaged is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.running import System, wait_until
from tests.image.browser import Browser

pytestmark = pytest.mark.timeout(180)
PASSWORD, PASSPHRASE = "correct horse battery", "a walk along the river"
GARBAGE = b"\xa5" * 20_000


def lose_database(data: Path) -> None:
    for file in data.glob("config.db*"):
        file.unlink()


def overwrite_database(data: Path) -> None:
    """Its write-ahead log goes as well: from that SQLite would have the pages back."""
    (data / "config.db").write_bytes(GARBAGE)
    for log in data.glob("config.db-*"):
        log.unlink()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "garbage": overwrite_database,
    "key lost": lambda data: (data / "keys/box.key").unlink(),
    "database lost": lose_database,
}


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    made = System(tmp_path / "data")
    made.start()
    yield made
    made.stop()


def code_of(system: System) -> str:
    return (system.data / "run/setup-code").read_text()


def a_backup(system: System, tmp_path: Path) -> Path:
    """What the page's script sends: a line with the passphrase, then the file."""
    done = System.run("backup", str(tmp_path / "office.backup"), "--data", str(system.data), typed=f"{PASSPHRASE}\n")
    assert done.returncode == 0, done.stderr
    sent = tmp_path / "sent"
    line = json.dumps({"passphrase": PASSPHRASE}).encode() + b"\n"
    sent.write_bytes(line + (tmp_path / "office.backup").read_bytes())
    return sent


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_configuration_is_said_and_a_backup_restored(damage: str, system: System, tmp_path: Path) -> None:
    browser = Browser(system.admin_port, tmp_path / "authority.pem")
    browser.set_up(code_of(system), PASSWORD)
    browser.add_extension("100")
    sent = a_backup(system, tmp_path)
    assert system.stop() == 0
    DAMAGES[damage](system.data)

    system.start()
    said = system.output.read_text()
    assert "The configuration cannot be read, so no telephone works" in said
    assert code_of(system) in said
    status = system.status()
    assert not status["healthy"]
    assert [alarm["id"] for alarm in status["alarms"]] == ["configuration-damaged"]
    assert "calls" not in {process["name"] for process in status["processes"]}
    assert System.run("user", "list", "--data", str(system.data)).returncode != 0

    stranger = Browser(system.admin_port, tmp_path / "again.pem")
    assert "configuration cannot be read, so no telephone works" in stranger.open("/login")
    with pytest.raises(AssertionError, match="403"):
        stranger.send("/setup/restore", sent)
    stranger.submit("/setup/code", code=code_of(system))
    assert stranger.place.endswith("/setup/restore")
    unwanted = stranger.submit(
        "/setup/administrator", username="eve", full_name="Eve", password=PASSWORD, again=PASSWORD
    )
    assert "Restore from a backup" in unwanted
    stranger.send("/setup/restore", sent)

    wait_until(lambda: System.run("status", "--data", str(system.data)).returncode == 0, "the restored system", 60)
    assert not (system.data / "run/setup-code").exists()
    browser = Browser(system.admin_port, tmp_path / "restored.pem")
    browser.log_in("anna", PASSWORD)
    assert ">100<" in browser.open("/extensions")
    assert System.run("selftest", "--data", str(system.data)).returncode == 0
    kept = system.data / "aside/before-restore.1/config.db"
    assert kept.exists() == (damage != "database lost")
    assert damage != "garbage" or GARBAGE[:4096] in kept.read_bytes()


def test_damaged_call_records_begin_anew_and_calls_go_on(system: System) -> None:
    data = ("--data", str(system.data))
    assert System.run("selftest", *data).returncode == 0
    assert system.stop() == 0
    for file in system.data.glob("calls.db-*"):
        file.unlink()
    (system.data / "calls.db").write_bytes(GARBAGE)
    system.start()
    wait_until(lambda: System.run("status", *data).returncode == 0, "the system on new call records", 60)
    assert System.run("selftest", *data).returncode == 0
    wait_until(lambda: "records-damaged" in [alarm["id"] for alarm in system.status()["alarms"]], "the alarm")
    assert (system.data / "aside/calls.db.1").read_bytes() == GARBAGE
