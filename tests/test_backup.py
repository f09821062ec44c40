"""Backup and restore on real files: what goes out comes back, whatever is wrong is refused with nothing changed, a power cut is survived."""

from __future__ import annotations

import contextlib
import io
import secrets
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from argon2 import PasswordHasher

from appliance.calls.history.records import CallRecords
from appliance.config.admin import Admin
from appliance.config.store import Store
from appliance.host import certificates
from appliance.storage.database import StorageFailed
from appliance.storage.sealed import BLOCK, MAGIC, NotOpened, Opener, Sealer
from appliance.upkeep import backup
from appliance.upkeep.backup import BadBackup, kept_states, make, put_in_place, stage, waits
from appliance.words import Instant, Said
from tests.power_cut import states

PASSPHRASE = "a walk along the river"
NOW = 1_800_000_000.0
CALL = {
    "id": "c1", "started": 10.0, "answered": 12.0, "ended": 20.0, "caller_number": "100", "caller_name": "Anna", "dialled": "101",
    "callee_number": "101", "callee_name": "Bert", "outcome": "answered", "cause": 16, "hung_up_by": "caller", "said": Said("call.system"), "people": [], "parts": [],
    "selftest": False, "legs": [],
}  # fmt: skip


def sentence() -> str:
    """Long, and cannot be made shorter, so that a few fill several blocks of a backup."""
    return secrets.token_hex(8000)


def office(data: Path, *numbers: str, calls: int = 1) -> list[str]:
    """A box with extensions and call records; its SIP passwords."""
    data.mkdir(exist_ok=True)
    with contextlib.closing(Store(data)) as store:
        admin = Admin(store)
        admin._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        if not admin.snapshot.settings.completed:
            admin.complete_setup(
                username="anna", full_name="Anna", password="correct horse", first_extension="100", country="DE"
            )
        for number in numbers:
            admin.create("extension", {"number": number}, "anna")
        passwords = [line.sip_password for line in admin.snapshot.lines.values()]
    with contextlib.closing(CallRecords(data)) as records:
        for number in range(calls):
            records.write({**CALL, "id": f"{'-'.join(numbers)}-{number}", "said": Said.of("call.told", words=sentence())})
    certificates.ensure(data)
    (data / "run").mkdir(exist_ok=True)
    return passwords


def seen(data: Path) -> tuple[list[str], list[str]]:
    """Numbers of extensions, ids of calls: what a start would find."""
    with contextlib.closing(Store(data)) as store:
        numbers = sorted(extension.number for extension in store.load().extensions.values())
    with contextlib.closing(CallRecords(data)) as records:
        while records.index_more():
            pass
        return numbers, sorted(row.id for row in records.page().rows)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Everything, without the locks and logs that opening a database leaves."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm"))
    }


def made(data: Path, passphrase: str = PASSPHRASE) -> bytes:
    out = io.BytesIO()
    make(data, out, passphrase, NOW)
    return out.getvalue()


def restore(data: Path, sealed: bytes, passphrase: str = PASSPHRASE) -> backup.Restored:
    return stage(data, io.BytesIO(sealed), passphrase, "anna", NOW + 60)


def test_what_was_backed_up_comes_back_on_another_box(tmp_path: Path) -> None:
    passwords = office(tmp_path / "old", "100", "101", calls=3)
    (tmp_path / "old/licence.json").write_text("licence")
    sealed = made(tmp_path / "old")
    office(tmp_path / "new", "200")

    restored = restore(tmp_path / "new", sealed)
    assert (restored.contents.extensions, restored.contents.calls, restored.administrators) == (2, 3, ("anna",))
    assert seen(tmp_path / "new") == (["200"], ["200-0"])  # until the next start
    kept = put_in_place(tmp_path / "new")
    assert seen(tmp_path / "new") == (["100", "101"], ["100-101-0", "100-101-1", "100-101-2"])
    with contextlib.closing(Store(tmp_path / "new")) as store:
        assert [line.sip_password for line in store.load().lines.values()] == passwords
        assert store.journal()[0].event == Said.of("journal.restored", time=Instant(NOW))
    assert (tmp_path / "new/licence.json").read_text() == "licence"
    for name in ("authority.pem", "authority.key", "server.key", "box.id"):
        if (tmp_path / "old/keys" / name).exists():
            assert (tmp_path / "new/keys" / name).read_bytes() == (tmp_path / "old/keys" / name).read_bytes()
    assert kept is not None
    assert seen(kept) == (["200"], ["200-0"])  # key and databases of before fit each other
    assert put_in_place(tmp_path / "new") is None


def test_nothing_can_be_read_without_the_passphrase(tmp_path: Path) -> None:
    passwords = office(tmp_path / "data", "100")
    sealed = made(tmp_path / "data")
    key = (tmp_path / "data/keys/box.key").read_bytes()
    for secret in (
        key,
        key.hex().encode(),
        b"PRIVATE KEY",
        b"SQLite format",
        b"anna",
        *(word.encode() for word in passwords),
    ):
        assert secret not in sealed


def test_without_a_passphrase_it_works_too_because_somebody_asked(tmp_path: Path) -> None:
    office(tmp_path / "data", "100")
    sealed = made(tmp_path / "data", passphrase="")
    assert b'"protected":false' in sealed
    assert restore(tmp_path / "data", sealed, "").contents.extensions == 1


def test_a_backup_is_consistent_while_calls_are_written(tmp_path: Path) -> None:
    office(tmp_path / "data", "100", calls=5)
    with contextlib.closing(CallRecords(tmp_path / "data")) as open_records:
        open_records.write({**CALL, "id": "in the log"})
        sealed = made(tmp_path / "data")
    restore(tmp_path / "data", sealed)
    put_in_place(tmp_path / "data")
    assert "in the log" in seen(tmp_path / "data")[1]


def test_progress_goes_forward_to_the_end(tmp_path: Path) -> None:
    office(tmp_path / "data", "100", calls=40)
    told: list[tuple[str, int, int]] = []
    out = io.BytesIO()
    make(tmp_path / "data", out, PASSPHRASE, NOW, lambda *row: told.append(row))
    writing = [done for what, done, total in told if what == "writing"]
    assert writing == sorted(writing)
    assert writing[-1] == told[-1][2]
    told.clear()
    stage(tmp_path / "data", io.BytesIO(out.getvalue()), PASSPHRASE, "anna", NOW, lambda *row: told.append(row))
    assert {what for what, _, _ in told} == {"reading", "checking"}


# ---- refused, and nothing changed ------------------------------------------------------------------------------------


def cut_off(sealed: bytes) -> bytes:
    return sealed[: -BLOCK // 2]


def one_bit(sealed: bytes) -> bytes:
    return sealed[:-100] + bytes([sealed[-100] ^ 1]) + sealed[-99:]


def early_bit(sealed: bytes) -> bytes:
    at = sealed.index(b"\n", len(MAGIC)) + 5
    return sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]


def other_header(sealed: bytes) -> bytes:
    return sealed.replace(b'"version":"', b'"version":"9', 1)


def swapped_blocks(sealed: bytes) -> bytes:
    at, size = sealed.index(b"\n", len(MAGIC)) + 1, BLOCK + 16
    return sealed[:at] + sealed[at + size : at + 2 * size] + sealed[at : at + size] + sealed[at + 2 * size :]


def without_last_block(sealed: bytes) -> bytes:
    at, size = sealed.index(b"\n", len(MAGIC)) + 1, BLOCK + 16
    return sealed[: at + (len(sealed) - at) // size * size]


def longer(sealed: bytes) -> bytes:
    return sealed + b"more"


WRONG: dict[str, tuple[Any, str]] = {
    "empty": (lambda sealed: b"", "not a backup"),
    "another file": (lambda sealed: b"PK\x03\x04" * 1000, "not a backup"),
    "newer format": (lambda sealed: sealed.replace(b"backup 1", b"backup 2", 1), "newer version"),
    "cut off": (cut_off, "damaged"),
    "last block gone": (without_last_block, "damaged"),
    "one bit": (one_bit, "damaged"),
    "one bit in the first block": (early_bit, "passphrase"),
    "header": (other_header, "passphrase"),
    "blocks swapped": (swapped_blocks, "passphrase"),
    "something behind it": (longer, "damaged"),
    "no header": (lambda sealed: MAGIC + b"{}\n", "damaged"),
    "only the magic": (lambda sealed: MAGIC, "damaged"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    data = tmp_path_factory.mktemp("good") / "data"
    office(data, "100", calls=30)
    sealed = made(data)
    assert len(sealed) > 2 * BLOCK
    return sealed


@pytest.mark.parametrize("name", WRONG)
def test_a_damaged_file_is_refused_and_nothing_changes(tmp_path: Path, good: bytes, name: str) -> None:
    office(tmp_path / "data", "200")
    before = bytes_of(tmp_path / "data")
    spoil, words = WRONG[name]
    with pytest.raises(BadBackup, match=words) as refused:
        restore(tmp_path / "data", spoil(good))
    assert "Nothing was changed" in str(refused.value)
    assert not waits(tmp_path / "data")
    assert bytes_of(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("word", "said"), [("a walk along the road", "not the one"), ("", "protected by a passphrase")]
)
def test_the_wrong_passphrase_is_refused(tmp_path: Path, good: bytes, word: str, said: str) -> None:
    office(tmp_path / "data", "200")
    before = bytes_of(tmp_path / "data")
    with pytest.raises(BadBackup, match=said):
        restore(tmp_path / "data", good, word)
    assert bytes_of(tmp_path / "data") == before


def test_a_header_that_asks_for_too_much_is_refused(good: bytes) -> None:
    for cost in (b'"n":1073741824', b'"n":32767', b'"n":0'):
        with pytest.raises(NotOpened):
            Opener(io.BytesIO(good.replace(b'"n":32768', cost, 1)), PASSPHRASE)


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    office(tmp_path / "data", "100")
    with contextlib.closing(CallRecords(tmp_path / "data")) as records:
        records._db.execute(
            "insert into _sqlite_migrations (migration_set, name, applied_at) values ('switchroom-calls', 'from the future', '')"
        )
    sealed = made_raw(tmp_path / "data")
    office(tmp_path / "other", "200")
    before = bytes_of(tmp_path / "other")
    with pytest.raises(BadBackup, match="newer way than this one"):
        restore(tmp_path / "other", sealed)
    assert bytes_of(tmp_path / "other") == before


made_raw = made


def hostile(member: str, contents: dict[str, Any] | None = None) -> bytes:
    """A well-sealed file with something inside that no backup of ours has."""
    import tarfile

    out = io.BytesIO()
    sealer = Sealer(out, PASSPHRASE, "1", NOW)
    with tarfile.open(fileobj=sealer, mode="w|gz") as tar:  # type: ignore[call-overload]
        text = msgspec.json.encode(
            {"version": "1", "made": NOW, "migrations": {}, "sizes": {"config.db": 4, "keys/box.key": 4}}
            | (contents or {})
        )
        for name, body in ((backup.CONTENTS, text), (member, b"evil")):
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    sealer.finish()
    return out.getvalue()


@pytest.mark.parametrize("member", ["../../outside", "/etc/passwd", "keys/../../x", "config.db"])
def test_a_file_from_elsewhere_writes_nowhere(tmp_path: Path, member: str) -> None:
    office(tmp_path / "data", "200")
    before = bytes_of(tmp_path)
    with pytest.raises(BadBackup):
        restore(tmp_path / "data", hostile(member))
    with pytest.raises(BadBackup):
        restore(tmp_path / "data", hostile(member, {"sizes": {member: 4, "config.db": 4, "keys/box.key": 4}}))
    assert bytes_of(tmp_path) == before


def test_key_and_database_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    office(tmp_path / "data", "100")
    (tmp_path / "data/keys/box.key").write_bytes(bytes(32))
    sealed = made(tmp_path / "data")
    office(tmp_path / "other", "200")
    with pytest.raises(BadBackup, match="does not fit the key"):
        restore(tmp_path / "other", sealed)
    assert seen(tmp_path / "other") == (["200"], ["200-0"])


def test_no_room_is_said_before_anything_is_written(
    tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    office(tmp_path / "data", "200")
    monkeypatch.setattr(backup, "SPARE", 1 << 60)
    with pytest.raises(BadBackup, match="not enough room"):
        made(tmp_path / "data")
    with pytest.raises(BadBackup, match="not enough room"):
        restore(tmp_path / "data", good)
    assert sorted(path.name for path in (tmp_path / "data").glob("*restor*")) == []


def test_only_the_last_two_states_of_before_are_kept(tmp_path: Path) -> None:
    office(tmp_path / "data", "100")
    sealed = made(tmp_path / "data")
    for _ in range(4):
        restore(tmp_path / "data", sealed)
        put_in_place(tmp_path / "data")
    assert [folder.name for folder in kept_states(tmp_path / "data")] == ["before-restore.3", "before-restore.4"]


# ---- power cuts ------------------------------------------------------------------------------------------------------


def test_a_power_cut_at_every_line_leaves_the_old_or_the_new_and_loses_neither(tmp_path: Path) -> None:
    office(tmp_path / "old", "100", "101", calls=2)
    sealed = made(tmp_path / "old")
    data = tmp_path / "data"
    office(data, "200")
    (data / "licence.json").write_text("of before")
    old, new = seen(data), seen(tmp_path / "old")

    def work() -> None:
        restore(data, sealed)
        put_in_place(data)

    cuts = states(data, work, tmp_path / "cuts", files=frozenset({"backup.py"}), databases=frozenset(backup.DATABASES))
    assert len(cuts) > 80
    found = []
    for cut in cuts:
        put_in_place(cut)  # the next start
        found.append(seen(cut))
        assert found[-1] in (old, new), cut.name
        if found[-1] == new:
            (kept,) = kept_states(cut)
            assert seen(kept) == old, cut.name
            assert (kept / "licence.json").read_text() == "of before"
            assert not (cut / "licence.json").exists()
        else:
            assert (cut / "licence.json").read_text() == "of before"
        assert not (cut / backup.STAGE).exists()
        assert not waits(cut)
        shutil.rmtree(cut)
    assert found[0] == old
    assert found[-1] == new


def test_a_store_whose_key_is_gone_says_to_restore_both(tmp_path: Path) -> None:
    office(tmp_path / "data", "100")
    (tmp_path / "data/keys/box.key").unlink()
    with pytest.raises(StorageFailed, match="same backup"):
        Store(tmp_path / "data")
    with pytest.raises(BadBackup, match="nothing to back up"):
        made(tmp_path / "data")


def test_what_was_in_use_before_a_restore_can_be_put_back(tmp_path: Path) -> None:
    office(tmp_path / "old", "100")
    data = tmp_path / "data"
    office(data, "200", calls=2)
    with contextlib.closing(CallRecords(data)) as open_records:  # the last records are only in its log
        open_records.write({**CALL, "id": "in the log"})
        restore(data, made(tmp_path / "old"))
        put_in_place(data)
    assert seen(data)[0] == ["100"]
    (kept,) = kept_states(data)
    backup.stage_kept(data, kept.name, "anna", NOW)
    put_in_place(data)
    assert seen(data) == (["200"], ["200-0", "200-1", "in the log"])
    assert [seen(folder)[0] for folder in kept_states(data)] == [["200"], ["100"]]
    with pytest.raises(BadBackup, match="does not exist"):
        backup.stage_kept(data, "../../etc", "anna", NOW)
