"""Backups and updates that somebody has made to hurt: refused with a sentence, in little memory, with nothing changed."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.box import update
from appliance.box.update import BadUpdate, Box
from appliance.config.store import Store
from appliance.storage import sealed
from appliance.storage.archive import Archive
from appliance.storage.sealed import MAGIC, Sealer
from appliance.upkeep import backup
from appliance.upkeep.backup import BadBackup, stage

ROOT = Path(__file__).parents[1]
MOST = 64 << 20  # octets that reading whatever is sent may take
SCRYPT = 32 << 20  # of these a passphrase may take, for a moment, before anything else is read
HUGE = 40 << 20  # what is sent that would be held at once
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
Write = Callable[[IO[bytes]], None]


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.linkname = size, kind, link
    return entry.tobuf(tarfile.GNU_FORMAT)[-512:]


def file(name: str, content: bytes) -> bytes:
    return header(name, len(content)) + content + bytes(-len(content) % 512)


def zeros(out: IO[bytes], count: int) -> None:
    for _ in range(count >> 20):
        out.write(bytes(1 << 20))


def then_zeros(begin: bytes, count: int = HUGE) -> Write:
    def write(out: IO[bytes]) -> None:
        out.write(begin)
        zeros(out, count)

    return write


def just(*parts: bytes) -> Write:
    return then_zeros(b"".join(parts), 0)


# What hurts whoever follows it, in a backup as in an update. Each stands where the first file is expected, and behind a good beginning.
HOSTILE: dict[str, Write] = {
    "an extended header of huge size": then_zeros(header("x", HUGE, tarfile.XHDTYPE)),
    "a global header of huge size": then_zeros(header("g", HUGE, tarfile.XGLTYPE)),
    "a name of huge size": then_zeros(header("././@LongLink", HUGE, tarfile.GNUTYPE_LONGNAME)),
    "extended headers of extended headers": just((header("x", 512, tarfile.XHDTYPE) + bytes(512)) * 5_000),
    "a sparse file": just(header("calls.db", 512, tarfile.GNUTYPE_SPARSE), bytes(512)),
    "ten thousand names": just(*(header(f"name-{number}", 0) for number in range(10_000))),
    "one name twenty thousand times": just(header("config.db", 0) * 20_000),
    "a path that leads out": just(file("../../../../etc/cron.d/x", b"x")),
    "an absolute path": just(file("/etc/cron.d/x", b"x")),
    "a symbolic link": just(header("calls.db", 0, tarfile.SYMTYPE, "/etc/passwd"), file("calls.db", b"x")),
    "a hard link": just(header("calls.db", 0, tarfile.LNKTYPE, "/etc/passwd")),
    "a folder": just(header("keys", 0, tarfile.DIRTYPE)),
    "a device": just(header("keys", 0, tarfile.CHRTYPE)),
    "a file of all there is": then_zeros(header("config.db", (1 << 33) - 1), 8 << 20),
    "a size below nothing": just(header("config.db", -(1 << 40)), bytes(512)),
    "nothing": just(),
    "rubbish": just(bytes(range(256)) * 64),
}


def contents(**changes: object) -> bytes:
    sizes = {"config.db": 0, "keys/box.key": 32}
    facts = {"version": "1", "made": 1.0, "migrations": {}, "sizes": sizes, **changes}
    return file("backup.json", json.dumps(facts).encode())


def follows(write: Write) -> Write:
    def both(out: IO[bytes]) -> None:
        out.write(contents())
        write(out)

    return both


def nested(name: str, most: int) -> bytes:
    return file(name, b"[" * most)


BACKUPS: dict[str, Write] = {
    **HOSTILE,
    **{f"{name}, behind a good beginning": follows(HOSTILE[name]) for name in (
        "an extended header of huge size", "extended headers of extended headers", "ten thousand names", "a path that leads out",
        "an absolute path", "a symbolic link", "a size below nothing",
    )},
    "contents of huge size": then_zeros(header("backup.json", HUGE)),
    "contents of brackets": just(nested("backup.json", backup.LARGEST_CONTENTS)),
    "brackets where nobody looks": just(file("backup.json", b'{"x":' + b"[" * 60_000)),
    "sizes that add up to nothing": just(contents(sizes={"config.db": 1 << 50, "keys/box.key": -(1 << 50)})),
    "sizes beyond numbers": just(contents(sizes={"config.db": 10**300, "keys/box.key": 32})),
    "a key of huge size": then_zeros(contents(sizes={"config.db": 0, "keys/box.key": HUGE}) + header("keys/box.key", HUGE)),
    "two hundred names in its contents": just(contents(sizes={f"name-{number}": 1 for number in range(2000)})),
}  # fmt: skip


def a_backup(write: Write) -> bytes:
    out = io.BytesIO()
    with mock.patch.dict(sealed.COST, {"n": 2, "r": 1, "p": 1}):  # so that what is measured is what follows
        sealer = Sealer(out, "", "1", 1.0)
    with gzip.GzipFile(fileobj=cast(IO[bytes], sealer), mode="wb", compresslevel=1) as packed:
        write(cast(IO[bytes], packed))
        packed.write(bytes(2 * 512))
    sealer.finish()
    return out.getvalue()


def a_database(folder: Path, fill: Callable[[Store], None]) -> bytes:
    with contextlib.closing(Store(folder)) as store:
        fill(store)
        store._db.execute("pragma wal_checkpoint(truncate)")
    database, key = (folder / "config.db").read_bytes(), (folder / "keys/box.key").read_bytes()
    sizes = {"config.db": len(database), "keys/box.key": len(key)}
    return a_backup(just(contents(sizes=sizes), file("config.db", database), file("keys/box.key", key)))


def long_record(store: Store) -> None:
    store._db.execute("insert into record values ('user', 'x', ?)", ["x" * HUGE])


def many_records(store: Store) -> None:
    store._db.execute("begin")
    store._db.executemany("insert into record values ('user', ?, '{}')", ([f"{number}"] for number in range(100_000)))
    store._db.execute("commit")


def endless_view(store: Store) -> None:
    store._db.execute("alter table record rename to kept")
    store._db.execute(
        "create view record as with recursive n(i) as (select 1 union all select i + 1 from n) select 'user' kind, i id, '{}' body from n"
    )


DATABASES: dict[str, Callable[[Store], None]] = {
    "a record of huge size": long_record,
    "a hundred thousand records": many_records,
    "a view that never ends": endless_view,
}

MEASURED = """
import sys
from pathlib import Path
from tests.test_archive import HOSTILE, peak_of, take
take(sys.argv[1], Path(sys.argv[2], "0"), Path(sys.argv[2]))  # what is loaded at the first use does not count
for sent in sorted(Path(sys.argv[2]).glob("[0-9]*")):
    print(sent.name, *peak_of(lambda: take(sys.argv[1], sent, Path(sys.argv[2]))))
"""


def peak_of(work: Callable[[], str]) -> tuple[int, str]:
    """Octets of memory `work` has taken at most beyond what was there, and what it says."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    before = _status("VmRSS")
    said = work()
    return _status("VmHWM") - before, said


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


def take(kind: str, sent: Path, folder: Path) -> str:
    with sent.open("rb") as stream:
        try:
            if kind == "backup":
                stage(folder, stream, "", "anna", 1.0)
            else:
                update.install(stream, a_box(folder))
        except (BadBackup, BadUpdate) as refused:
            return str(refused)
    return "taken"


def a_box(folder: Path) -> Box:
    for name in ("root", "verity"):
        (folder / name).write_bytes(bytes(1 << 20))
    (folder / "esp/EFI/Linux").mkdir(parents=True, exist_ok=True)
    return Box("test", "1.0", "switchroom_1.0.efi", folder / "root", folder / "verity", folder / "esp", [KEY.public_key()])


def all_refused(kind: str, inputs: dict[str, bytes], folder: Path, words: tuple[str, ...]) -> None:
    """Each of them with a sentence that ends in, or holds, one of `words`; in one process, so that memory that is not given back is seen too."""
    (folder / "sent").mkdir()
    for number, content in enumerate(inputs.values()):
        (folder / "sent" / str(number)).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, str(folder / "sent")],
        cwd=ROOT, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = list(inputs)
    seen = {names[int(number)]: (int(peak), said) for number, peak, said in (line.split(" ", 2) for line in done.stdout.splitlines())}
    assert set(seen) == set(inputs)
    assert {name: said for name, (_, said) in seen.items() if not any(word in said for word in words)} == {}
    assert {name: f"{peak >> 20} MB" for name, (peak, _) in seen.items() if peak >= MOST - SCRYPT} == {}


BEGINNINGS = {
    "scrypt with 256 MiB": b'{"version":"1","made":1,"protected":false,"salt":"' + b"00" * 16 + b'","n":262144,"r":8,"p":1}\n',
    "scrypt for ever": b'{"version":"1","made":1,"protected":false,"salt":"' + b"00" * 16 + b'","n":2,"r":1,"p":1073741824}\n',
    "brackets": b"[" * 4000 + b"\n",
    "a line that does not end": b"{" + b" " * 100_000,
}


@pytest.mark.timeout(120)
def test_a_hostile_backup_is_refused_in_little_memory(tmp_path: Path) -> None:
    inputs = {name: a_backup(write) for name, write in BACKUPS.items()}
    inputs |= {name: MAGIC + line + bytes(100) for name, line in BEGINNINGS.items()}
    all_refused("backup", inputs, tmp_path, ("Nothing was changed", "take another copy of the file"))
    assert not list(tmp_path.glob("sent/resto*"))
    assert not (tmp_path / "sent/config.db").exists()


def test_a_hostile_database_in_a_backup_is_refused_in_little_memory(tmp_path: Path) -> None:
    inputs = {name: a_database(tmp_path / name, fill) for name, fill in DATABASES.items()}
    all_refused("backup", inputs, tmp_path, ("unexpected (config.db)",))


UPDATES: dict[str, Write] = {
    **HOSTILE,
    "a description of huge size": then_zeros(header("manifest.json", HUGE)),
    "a description of brackets": just(nested("manifest.json", 100_000), file("manifest.sig", bytes(64))),
    "a signature of huge size": then_zeros(file("manifest.json", b"{}") + header("manifest.sig", HUGE)),
    "a description that nobody signed": just(file("manifest.json", b'{"parts": [' + b"1," * 60_000 + b"1]}"), file("manifest.sig", bytes(64))),
}  # fmt: skip


def test_a_hostile_update_is_refused_in_little_memory(tmp_path: Path) -> None:
    inputs = {}
    for name, write in UPDATES.items():
        out = io.BytesIO()
        write(out)
        inputs[name] = out.getvalue()
    all_refused("update", inputs, tmp_path, ("Nothing was written.", "The running version was not touched."))
    assert (tmp_path / "sent/root").read_bytes() == bytes(1 << 20)


def test_the_signature_is_looked_at_before_what_it_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_decode", lambda text: pytest.fail("what nobody signed was read"))
    sent = file("manifest.json", b"{}") + file("manifest.sig", bytes(64))
    with pytest.raises(BadUpdate, match="not signed"):
        update.install(io.BytesIO(sent), a_box(tmp_path))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.text("abc/.", min_size=1, max_size=20), st.binary(max_size=1500)), max_size=5))
def test_what_tarfile_writes_is_read(files: list[tuple[str, bytes]]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, body in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    archive = Archive(io.BytesIO(out.getvalue()))
    for name, body in files:
        member = archive.next()
        assert member is not None
        assert (member.name, member.read(1 << 20)) == (name.rstrip("/"), body) or name.endswith("/")
    assert archive.next() is None


@given(st.binary(max_size=2000))
def test_rubbish_is_an_error_of_the_archive(rubbish: bytes) -> None:
    archive = Archive(io.BytesIO(rubbish))
    with contextlib.suppress(tarfile.TarError):
        while archive.next() is not None:
            pass


def test_our_own_backups_cost_what_may_be_asked() -> None:
    assert 128 * sealed.COST["n"] * sealed.COST["r"] <= sealed.MOST_MEMORY <= SCRYPT
