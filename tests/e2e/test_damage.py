"""A configuration that cannot be read: no call is served on an empty one, terminal and page say so, and the page restores a backup for who
has the setup code. What is damaged is kept."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.softphone import Account, Softphone
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
    assert "configuration cannot be read." in stranger.open("/login")
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


def overwrite(data: Path, content: bytes) -> None:
    """In place and with its log: the same file to whoever has it open."""
    for name in ("config.db", "config.db-wal"):
        with (data / name).open("r+b") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            file.write((content * (length // len(content) + 1))[:length])


def truncate(data: Path) -> None:
    os.truncate(data / "config.db-wal", 0)
    os.truncate(data / "config.db", 6000)


# While everything runs and a call is up: what is done, whether it can be undone.
DAMAGES_RUNNING: dict[str, Callable[[Path], object]] = {
    "zeros": lambda data: overwrite(data, bytes(4096)),
    "random octets": lambda data: overwrite(data, os.urandom(4096)),
    "cut off": truncate,
    "deleted": lose_database,
    "unreadable": lambda data: (data / "config.db").chmod(0),
}
TONE, OTHER_TONE = 697.0, 1209.0


async def call_through_damage(system: System, damage: Callable[[Path], object]) -> None:
    """Two phones talk; the configuration is lost; they go on talking, and one hangs up."""
    logins = [system.add_extension(encrypt="required") for _ in range(2)]
    phones = []
    for login, tone in zip(logins, (TONE, OTHER_TONE), strict=True):
        account = Account(
            system.host, system.sips_port, "TLS", login.number, login.username, login.password, str(system.authority), "required"
        )  # fmt: skip
        phones.append(Softphone(account, frequency=tone))
        await phones[-1].connect()
        await phones[-1].register()
    incoming = asyncio.create_task(phones[1].incoming())
    made = await phones[0].call(logins[1].number)
    taken = await incoming
    taken.answer()
    await made.wait(made.answered, 8, "answered")
    damage(system.data)
    await asyncio.to_thread(wait_until, lambda: alarm_of(system), "the alarm")
    assert await taken.hears(TONE, 8)
    assert await made.hears(OTHER_TONE, 8)
    made.hang_up()
    await taken.wait(taken.ended, 8, "told that the other one has hung up")
    again = asyncio.create_task(phones[1].incoming())
    once_more = await phones[0].call(logins[1].number)  # with what was read before
    (await again).answer()
    await once_more.wait(once_more.answered, 8, "answered")
    once_more.hang_up()
    for phone in phones:
        await phone.close()


def alarm_of(system: System) -> str:
    found = [alarm["message"] for alarm in system.status()["alarms"] if alarm["id"] == "configuration-damaged"]
    return found[0] if found else ""


@pytest.mark.parametrize("damage", DAMAGES_RUNNING)
def test_a_configuration_lost_while_running_is_said_and_calls_go_on(damage: str, system: System, tmp_path: Path) -> None:
    browser = Browser(system.admin_port, tmp_path / "authority.pem")
    browser.set_up(code_of(system), PASSWORD)
    sent = a_backup(system, tmp_path)
    asyncio.run(call_through_damage(system, DAMAGES_RUNNING[damage]))
    assert "Telephones go on with what was read before" in alarm_of(system)

    stranger = Browser(system.admin_port, tmp_path / "again.pem")
    wait_until(lambda: "configuration cannot be read." in stranger.open("/login"), "the pages to offer a restore", 40)
    restarts = {process["name"]: process["restarts"] for process in system.status()["processes"]}
    assert restarts["calls"] == restarts["core"] == 0
    assert restarts["web"] == 1
    if damage == "unreadable":
        (system.data / "config.db").chmod(0o600)
        wait_until(lambda: not alarm_of(system), "the configuration to be read again")
        browser = Browser(system.admin_port, tmp_path / "mended.pem")
        browser.log_in("anna", PASSWORD)
        assert ">100<" in browser.open("/extensions")
    if damage == "zeros":
        stranger.submit("/setup/code", code=code_of(system))
        stranger.send("/setup/restore", sent)
        wait_until(lambda: System.run("status", "--data", str(system.data)).returncode == 0, "the restored system", 60)
        Browser(system.admin_port, tmp_path / "restored.pem").log_in("anna", PASSWORD)
