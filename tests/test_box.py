"""The appliance around the telephone system, without a box: the console's screen, slots as files, what the privileged side refuses."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import json
import os
import pty
import re
import socket
import sqlite3
import termios
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance import cti
from appliance.box import console, privileged, system
from appliance.box.privileged import Helper
from appliance.upkeep import support
from appliance.words import LANGUAGES, Said, english, words_of

ALARM = cti.Alarm(
    id="clock", severity="warning", since=0.0, message=Said.of("call.told", words="The clock is wrong by an hour."),
    repair=Said.of("call.told", words="See that the box reaches a time server."),
)  # fmt: skip


def status(**changes: Any) -> cti.Status:
    views = [
        cti.ProcessView(name=name, pid=1, state="running", uptime=1.0, restarts=0, memory=0, files=0)
        for name in ("core", "calls", "web")
    ]
    facts: dict[str, Any] = {
        "version": "1.0", "started": 0.0, "healthy": True, "processes": views, "counters": {}, "alarms": [], "datapath": "",
        "addresses": {"admin": "https://192.0.2.7:4021/", "sip": "192.0.2.7:5060 (UDP, TCP)"},
    }  # fmt: skip
    return cti.Status(**(facts | changes))


MENU = [english().say(Said(f"console.menu-{name}")) for name, _ in console.MENU]
LAST = MENU[-1]


def screen(status: cti.Status | None, code: str = "", notes: tuple[str, ...] = (), **size: int) -> str:
    """Never wider nor higher than the terminal, and always with the whole menu."""
    text = console.screen(status, code, list(notes), "a", "switchroom", **size)
    assert len(text.splitlines()) <= size.get("rows", console.HEIGHT)
    assert max(map(len, text.splitlines())) <= size.get("columns", console.WIDTH)
    assert all(f" {number}  {words}" in text for number, words in enumerate(MENU, 1))
    assert text.endswith("\n\nNumber and Enter: ") or (LAST + "\nNumber and Enter: ") in text
    return text


def test_the_screen_shows_address_code_and_states() -> None:
    text = screen(status(), "ABCDEFGHJK")
    assert "https://192.0.2.7:4021/" in text
    assert "https://switchroom.local/" in text
    assert "Setup code   ABCDEFGHJK" in text
    assert "State        healthy" in text
    assert "calls       running" in text


def test_address_and_code_stand_out_and_nothing_else_changes() -> None:
    text = screen(status(), "ABCDEFGHJK")
    shown = console.bright(text, "ABCDEFGHJK")
    assert re.findall("\x1b\\[1m(.*?)\x1b\\[0m", shown) == [
        "https://192.0.2.7:4021/",
        "https://switchroom.local/",
        "ABCDEFGHJK",
    ]
    assert re.sub("\x1b\\[[0-9]m", "", shown) == text


@pytest.mark.parametrize("size", [{}, {"columns": 80, "rows": 25}, {"columns": 160, "rows": 50}, {"columns": 240, "rows": 67}])
def test_the_qr_code_is_whole_and_beside_the_words(size: dict[str, int]) -> None:
    lines = screen(status(alarms=[ALARM]), "ABCDEFGHJK", (), **size).splitlines()
    picture = console.code_picture("https://192.0.2.7:4021/#ABCDEFGHJK")
    column = lines[0].index("█")
    assert [line[column:] for line in lines[: len(picture)]] == picture
    assert "https://192.0.2.7:4021/" in "\n".join(line[:column] for line in lines)
    assert "The clock is wrong" in " ".join(line[:column].strip() for line in lines)


def test_the_qr_code_gives_way_to_what_is_wrong() -> None:
    wrong = [msgspec.structs.replace(ALARM, message=Said.of("call.told", words=f"Number {number} is wrong.")) for number in range(5)]
    text = screen(status(alarms=wrong), "ABCDEFGHJK")
    assert "█" not in text
    assert "Setup code   ABCDEFGHJK" in text
    assert all(f"Number {number} is wrong." in text for number in range(5))
    assert "█" in screen(status(alarms=wrong), "ABCDEFGHJK", columns=160, rows=50), "where there is room for both"


def test_too_much_to_say_leaves_code_and_menu() -> None:
    text = screen(status(alarms=[ALARM] * 12), "ABCDEFGHJK", ("Version 2 did not work",) * 4)
    assert "Setup code   ABCDEFGHJK" in text
    assert "… more on the admin page." in text


def test_a_terminal_too_small_for_the_qr_code_shows_the_rest() -> None:
    text = screen(status(), "ABCDEFGHJK", columns=80, rows=20)
    assert "█" not in text
    assert "Setup code   ABCDEFGHJK" in text


def test_a_box_without_address_says_so() -> None:
    text = screen(status(addresses={"admin": "https://127.0.0.1:4021/", "sip": "127.0.0.1:5060 (UDP, TCP)"}), "ABCDEFGHJK")
    assert "no address yet" in text
    assert "127.0.0.1" not in text
    assert "█" not in text


@pytest.mark.parametrize(("alarms", "words"), [([], "State        starting"), ([ALARM], "NOT HEALTHY")])
def test_what_has_not_come_up_yet_is_not_ill(alarms: list[cti.Alarm], words: str) -> None:
    alarms = [msgspec.structs.replace(alarm, severity="error") for alarm in alarms]
    views = [msgspec.structs.replace(view, state="starting") for view in status().processes]
    assert words in screen(status(healthy=False, processes=views, alarms=alarms), "ABCDEFGHJK")


def test_the_screen_of_a_box_that_is_set_up_has_no_code() -> None:
    text = screen(status(healthy=False), "", ("Version 2 did not work",))
    assert "Setup code  " not in text
    assert "NOT HEALTHY" in text
    assert "Version 2 did not work" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_screen_speaks_the_language_of_the_office_and_fits(tmp_path: Path, language: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "config.db", isolation_level=None)) as db:
        db.execute("create table record (kind, id, body)")
        db.execute("insert into record values ('settings', 'settings', ?)", [json.dumps({"language": language})])
    spoken = console.spoken_by(tmp_path)
    assert spoken is words_of(language)
    text = console.screen(status(alarms=[ALARM]), "ABCDEFGHJK", [], "a", "switchroom", spoken=spoken)
    assert max(map(len, text.splitlines())) <= console.WIDTH
    assert len(text.splitlines()) <= console.HEIGHT
    assert all(f" {number}  {spoken.say(Said(f'console.menu-{name}'))}" in text for number, (name, _) in enumerate(console.MENU, 1))
    assert "█" in text
    assert all(letter in "█▀▄" or letter.encode("cp437") for letter in console.in_letters_of_a_monitor(text))


def test_a_monitor_shows_letters_that_its_font_lacks_without_their_marks() -> None:
    assert console.in_letters_of_a_monitor("Příští „číslo“ – Größe ░█") == 'Prístí "císlo" - Größe ░█'


def test_the_screen_says_when_nothing_runs() -> None:
    assert "not running" in screen(None)


@pytest.mark.parametrize(("rows", "pages"), [(24, 3), (67, 1), (0, 1)])
async def test_a_monitor_shows_long_facts_page_by_page(monkeypatch: pytest.MonkeyPatch, rows: int, pages: int) -> None:
    """A real terminal; one that does not know its size is a serial line, which gets everything at once."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (rows, 80 if rows else 0))
    lines = [f"fact {number}" for number in range(60)]
    monkeypatch.setattr(console.facts, "report", lambda: lines)
    terminal = console.Terminal(Path(os.ttyname(theirs)))
    showing = asyncio.create_task(console.Console(Path(), [terminal]).facts(terminal))
    seen: list[str] = []
    for last in ["Enter: more"] * (pages - 1) + ["Enter: back"]:
        page = ""
        while last not in page:
            page += (await asyncio.to_thread(os.read, ours, 65536)).decode()
        assert not rows or len(page.strip().splitlines()) <= rows
        seen += re.findall(r"fact \d+", page)
        os.write(ours, b"\n")
    await showing
    assert seen == lines


def test_kernels_are_read_from_their_names(tmp_path: Path) -> None:
    for name in ("switchroom_1.0.efi", "switchroom_1.1+2-1.efi", "other.efi", "update.tmp"):
        (tmp_path / name).touch()
    assert system.kernels(tmp_path, running="1.1") == [
        system.Kernel("switchroom_1.1+2-1.efi", "1.1", 2, True, 1),
        system.Kernel("switchroom_1.0.efi", "1.0", None, False),
    ]


@pytest.mark.parametrize(
    ("other", "written", "words"),
    [
        ("switchroom_1.1+0-3.efi", None, "It was started 3 times and did not reach its health check"),
        ("switchroom_1.1+0-3.efi", system.Trial("1.1", "No sound.", 1.0), "No sound."),
        ("switchroom_1.1+0-3.efi", system.Trial("1.2", "No sound.", 1.0), "did not reach its health check"),
        ("switchroom_1.1.efi", None, "could not be loaded, though it has worked before"),
        ("switchroom_1.1+2-1.efi", None, "It was started once and its kernel image could not be loaded."),
        ("switchroom_1.1+1-2.efi", None, "It was started 2 times and its kernel image could not be loaded."),
        ("switchroom_0.9+2-1.efi", None, None),  # older: the running one has taken its place
        ("switchroom_1.1+3.efi", system.Trial("1.1", "No sound.", 1.0), None),
        ("switchroom_0.9.efi", None, None),
        ("switchroom_0.9+0.efi", system.Trial("0.9", "It was left.", 1.0, asked=True), "It was left."),
    ],
)
def test_why_a_version_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, written: system.Trial | None, words: str | None
) -> None:
    monkeypatch.setattr(system, "TRIAL_FILE", tmp_path / "trial.json")
    if written is not None:
        system.write_trial(written)
    for name in ("switchroom_1.0.efi", other):
        (tmp_path / name).touch()
    left = system.last_trial(tmp_path, "1.0")
    assert (left is None) == (words is None)
    assert words is None or (left is not None and words in left.reason)


@pytest.mark.parametrize(
    ("other", "fallback", "name", "words"),
    [
        ("1.1", True, "1.1+0-1", "though it has worked before"),
        ("1.1+2-1", True, "1.1+0-1", "started once and its kernel image could not be loaded"),
        ("1.1+3", True, "1.1+3", None),  # just installed: it has its first start before it
        ("1.1+0-3", True, "1.1+0-3", "did not reach its health check"),
        ("0.9", True, "0.9", None),
        ("1.1", False, "1.1", "though it has worked before"),  # somebody has chosen the older one in the boot loader's menu
    ],
)
def test_a_version_that_did_not_load_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, fallback: bool, name: str, words: str | None
) -> None:
    folder = tmp_path / "EFI/Linux"
    folder.mkdir(parents=True)
    for version in ("1.0", other):
        (folder / f"switchroom_{version}.efi").touch()
    for place in ("TRIAL_FILE", "FALLBACK"):
        monkeypatch.setattr(system, place, tmp_path / place)
    if fallback:
        system.FALLBACK.touch()
    found = [kernel for kernel in system.kernels(folder, "1.0") if not kernel.running]
    monkeypatch.setattr(system, "VERSION", "1.0")
    monkeypatch.setattr(system, "kernels", lambda *where: found)
    monkeypatch.setattr(system, "writable_esp", lambda: contextlib.nullcontext(tmp_path))
    system.give_up_on_what_did_not_load()
    monkeypatch.undo()
    monkeypatch.setattr(system, "TRIAL_FILE", tmp_path / "TRIAL_FILE")
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"switchroom_{v}.efi" for v in ("1.0", name))
    left = system.last_trial(folder, "1.0")
    assert (left is None) == (words is None)
    assert words is None or (left is not None and words in left.reason)


@pytest.mark.parametrize(
    ("running", "other", "asked", "names"),
    [  # the boot loader takes the newest that has starts left
        ("1.1+2-1", "1.0", False, ["1.0", "1.1+0"]),  # a trial that failed
        ("1.1", "1.0", True, ["1.0", "1.1+0"]),
        ("1.0", "1.1+0-3", True, ["1.0", "1.1+3"]),  # it failed before: on trial again, with the good one behind it
        ("1.0", "1.1+3", True, ["1.0", "1.1+3"]),
        ("1.0", "1.1", True, ["1.0", "1.1"]),
    ],
)
def test_the_other_version_is_made_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: str, other: str, asked: bool, names: list[str]
) -> None:
    folder = tmp_path / "EFI/Linux"
    folder.mkdir(parents=True)
    for name in (running, other):
        (folder / f"switchroom_{name}.efi").touch()
    version = running.split("+")[0]
    found = system.kernels(folder, version)
    monkeypatch.setattr(system, "TRIAL_FILE", tmp_path / "trial.json")
    monkeypatch.setattr(system, "kernels", lambda *where: found)
    monkeypatch.setattr(system, "last_trial", lambda: None)
    monkeypatch.setattr(system, "writable_esp", lambda: contextlib.nullcontext(tmp_path))
    assert system.switch_slot(asked) == other.split("+")[0]
    assert sorted(file.name for file in folder.iterdir()) == [f"switchroom_{name}.efi" for name in names]
    assert (tmp_path / "trial.json").exists() == asked


def test_the_boot_partition_has_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(system, "ESP_LOCK", tmp_path / "lock")
    monkeypatch.setattr(system, "ESP_PATIENCE", 0.0)
    monkeypatch.setattr(system, "run", lambda *command: said.append(command[2]))
    with system.writable_esp():
        with pytest.raises(system.CannotDo, match="being written to"), system.writable_esp():
            pass
        assert said == ["remount,rw"]
    with system.writable_esp():
        pass
    assert said == ["remount,rw", "remount,ro"] * 2


def test_a_blessing_syncs_the_kernel_image_before_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of FAT that is synced first may hold the new name without contents when the power goes."""
    folder = tmp_path / "EFI/Linux"
    folder.mkdir(parents=True)
    for name in ("switchroom_1.0.efi", "switchroom_1.1+2-1.efi"):
        (folder / name).touch()
    found = system.kernels(folder, "1.1")
    monkeypatch.setattr(system, "kernels", lambda *where: found)
    monkeypatch.setattr(system, "writable_esp", lambda: contextlib.nullcontext(tmp_path))
    synced: list[str] = []
    monkeypatch.setattr(system.os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name))
    system.bless()
    assert sorted(file.name for file in folder.iterdir()) == ["switchroom_1.0.efi", "switchroom_1.1.efi"]
    assert synced == ["switchroom_1.1.efi", "Linux"]


def test_a_version_left_by_choice_comes_back_without_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "TRIAL_FILE", tmp_path / "trial.json")
    for name in ("switchroom_1.0.efi", "switchroom_1.1+0.efi"):
        (tmp_path / "EFI/Linux").mkdir(parents=True, exist_ok=True)
        (tmp_path / "EFI/Linux" / name).touch()
    found = system.kernels(tmp_path / "EFI/Linux", "1.0")
    monkeypatch.setattr(system, "kernels", lambda *where: found)
    monkeypatch.setattr(system, "writable_esp", lambda: contextlib.nullcontext(tmp_path))
    monkeypatch.setattr(system, "last_trial", lambda: system.Trial("1.1", "It was left.", 1.0, asked=True))
    system.switch_slot(asked=True)
    assert sorted(file.name for file in (tmp_path / "EFI/Linux").iterdir()) == [
        "switchroom_1.0.efi",
        "switchroom_1.1.efi",
    ]


def test_an_address_without_network_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "NETWORK_FILE", tmp_path / "50-console.network")
    monkeypatch.setattr(system, "run", lambda *command, **options: "")
    for wrong in ("192.168.1.10", "nonsense", "192.168.1.10/40"):
        with pytest.raises(system.CannotDo):
            system.set_network(wrong, "", "")
    assert not (tmp_path / "50-console.network").exists()
    system.set_network("192.168.1.10/24", "192.168.1.1", "192.168.1.1 9.9.9.9")
    assert (
        "Address=192.168.1.10/24\nGateway=192.168.1.1\nDNS=192.168.1.1\nDNS=9.9.9.9"
        in (tmp_path / "50-console.network").read_text()
    )


def test_the_support_bundle_masks_secrets() -> None:
    text = "Authorization: Digest username=7\na=crypto:1 AES inline:QUJDREVG\npassword=hunter2 setup code: ABCDEFGHJK\n  Setup code   MNPQRSTUVW   (asked once)\nfine"
    masked = support.Mask()(text)
    for secret in ("username=7", "QUJDREVG", "hunter2", "ABCDEFGHJK", "MNPQRSTUVW"):
        assert secret not in masked
    assert "fine" in masked


def answers(helper: Helper, request: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    helper.handle(io.BytesIO(request), rows.append)
    return rows


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"not json\n",
        b'{"do": "shell"}\n',
        b'{"do": "_calls"}\n',
        b"[1]\n",
        b'{"do": "restart", "when": "25:99"}\n',
        b'{"do": "factory-reset"}\n',
    ],
)
def test_a_request_that_is_not_known_is_refused(tmp_path: Path, request_line: bytes) -> None:
    (row,) = answers(Helper(tmp_path, tmp_path / "progress"), request_line)
    assert row["failed"]


def test_a_restart_waits_for_the_last_call_or_the_hour(tmp_path: Path) -> None:
    helper = Helper(tmp_path, tmp_path / "progress")
    night = datetime.datetime(2026, 1, 2, 3, 30, tzinfo=datetime.UTC)
    assert not helper.restart_when_due(night, 0)
    assert answers(helper, b'{"do": "restart", "when": "idle"}\n') == [{"ok": "idle"}]
    assert [helper.restart_when_due(night, calls) for calls in (1, None, 0)] == [False, False, True]
    assert answers(helper, b'{"do": "restart", "when": "03:30"}\n') == [{"ok": "03:30"}]
    assert Helper(tmp_path, tmp_path / "progress").restart_when_due(night, 3), "also when the helper was started again"
    assert not helper.restart_when_due(night.replace(hour=4), 0)


def test_a_refused_update_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said("box.no-kernel")

    def not_mounted() -> Any:
        raise system.CannotDo(said)

    monkeypatch.setattr(system, "writable_esp", not_mounted)
    helper = Helper(tmp_path, tmp_path / "run/progress.json")
    assert answers(helper, b'{"do": "update"}\nrubbish') == [{"failed": msgspec.to_builtins(said)}]
    assert json.loads((tmp_path / "run/progress.json").read_text())["error"] == msgspec.to_builtins(said)


def test_a_factory_reset_leaves_the_page_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "writable_esp", lambda: contextlib.nullcontext(tmp_path))
    helper = Helper(tmp_path, tmp_path / "run/progress.json")
    line = b'{"do": "factory-reset", "sure": "factory reset", "keep_network": true, "erase_media": true}\n'
    with helper._updating:
        assert answers(helper, line) == [{"failed": msgspec.to_builtins(Said("box.installing-reset"))}]
    assert not (tmp_path / "factory-reset").exists()
    assert answers(helper, line) == [{"ok": "now"}]
    assert (tmp_path / "factory-reset").read_text() == "reset network media"
    assert not helper.restart_when_due(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), 3)
    helper._asked_at -= privileged.MOMENT + 1
    assert helper.restart_when_due(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), 3), "calls do not hold it up"


def test_the_helper_ends_when_there_is_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr("time.sleep", naps.append)
    restarts: list[int] = []
    monkeypatch.setattr(system, "reboot", lambda: restarts.append(len(naps)))
    helper = Helper(tmp_path, tmp_path / "progress")
    helper.watch(idle=0.0)
    assert naps == []
    answers(helper, b'{"do": "restart", "when": "idle"}\n')
    monkeypatch.setattr(helper, "_calls", lambda: max(0, 3 - len(naps)))
    helper.watch(idle=0.0)
    assert restarts == [3]
    helper.watch(idle=0.0)
    assert restarts == [3]


def test_a_broken_state_partition_is_made_anew_with_what_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition is a file here; debugfs reads it as the next start would mount it."""
    monkeypatch.setattr(system, "BOOT_FACTS", tmp_path / "boot")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    (tmp_path / "boot").mkdir()
    state, partition = tmp_path / "state", tmp_path / "partition"
    (state / "switchroom/restore").mkdir(parents=True)
    (state / "switchroom/restore/backup.json").write_text("{}")
    control = socket.socket(socket.AF_UNIX)  # as in run/: no file system of a disk needs it
    control.bind(os.path.relpath(state / "switchroom/calls.sock"))
    control.close()
    partition.write_bytes(os.urandom(8 << 20))
    before = partition.read_bytes()

    with pytest.raises(system.CannotDo, match="in order"):
        system.renew_state(partition, state)
    assert answers(Helper(tmp_path, tmp_path / "progress"), b'{"do": "renew-state"}\n') == [
        {"failed": msgspec.to_builtins(Said("box.unchanged"))}
    ]
    assert partition.read_bytes() == before

    (tmp_path / "boot/state").write_text("broken\n")
    system.renew_state(partition, state)
    shown = system.run("debugfs", "-R", "cat /switchroom/restore/backup.json", str(partition))
    assert shown == "{}"
    assert "switchroom-state" in system.run("blkid", "-p", str(partition))
