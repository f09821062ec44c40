"""The updater on files: what is refused before a byte is written, and what a cut at any write leaves."""

import errno
import hashlib
import io
import json
import os
import re
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.__main__ import main
from appliance.box import update
from appliance.box.update import BadUpdate, Box, install

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NEXT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
RUNNING = "switchroom_1.0.efi"
BLOCK = 1 << 16  # here


def parts() -> dict[str, bytes]:
    return {"root.img": os.urandom(300_000), "root.verity": os.urandom(9_000), "uki.efi": os.urandom(50_000)}


def hashes(body: bytes) -> list[str]:
    return [hashlib.sha256(body[place : place + BLOCK]).hexdigest() for place in range(0, len(body), BLOCK)]


def bundle(content: dict[str, bytes], key: Ed25519PrivateKey = KEY, **changes: object) -> bytes:
    rows = [{"name": name, "size": len(body), "blocks": hashes(body)} for name, body in content.items()]
    manifest = json.dumps(
        {"compatible": "switchroom-test", "version": "1.1", "floor": "0.9", "root_hash": "00" * 32, "parts": rows}
        | changes
    ).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, body in {"manifest.json": manifest, "manifest.sig": key.sign(manifest), **content}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return out.getvalue()


@pytest.fixture(autouse=True)
def smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "BLOCK", BLOCK)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    for name, size in (("root", 1 << 20), ("verity", 1 << 16)):
        (tmp_path / name).write_bytes(b"\xee" * size)
    (tmp_path / "esp/EFI/Linux").mkdir(parents=True)
    (tmp_path / "esp/EFI/Linux" / RUNNING).write_bytes(b"running")
    (tmp_path / "esp/EFI/Linux/switchroom_0.9+0-3.efi").write_bytes(b"failed once")
    keys = [KEY.public_key(), NEXT_KEY.public_key()]
    return Box("switchroom-test", "1.0", RUNNING, tmp_path / "root", tmp_path / "verity", tmp_path / "esp", keys)


def state(box: Box) -> dict[str, bytes]:
    files = [box.root, box.verity, *(file for file in box.esp.rglob("*") if file.is_file())]
    return {str(file): file.read_bytes() for file in files}


def test_a_good_update(box: Box) -> None:
    content = parts()
    seen: list[tuple[str, int, int]] = []
    manifest = install(io.BytesIO(bundle(content)), box, lambda *what: seen.append(what))
    assert manifest.version == "1.1"
    assert box.root.read_bytes()[:300_000] == content["root.img"]
    assert box.verity.read_bytes()[:9_000] == content["root.verity"]
    names = sorted(file.name for file in (box.esp / "EFI/Linux").iterdir())
    assert names == [RUNNING, "switchroom_1.1+3.efi"]
    assert (box.esp / "EFI/Linux/switchroom_1.1+3.efi").read_bytes() == content["uki.efi"]
    assert seen[-1][0] == "done"
    install(io.BytesIO(bundle(content)), box)  # once more: allowed
    install(io.BytesIO(bundle(content, NEXT_KEY)), box)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (lambda: bundle(parts(), Ed25519PrivateKey.generate()), "not signed"),
        (lambda: bundle(parts()).replace(b'"version": "1.1"', b'"version": "1.2"'), "not signed"),
        (lambda: bundle(parts(), compatible="other-box"), "is for other-box"),
        (lambda: bundle(parts(), floor="1.0.1"), "Install 1.0.1 first"),
        (lambda: bundle(parts(), version="0.9"), "older than the running"),
        (lambda: bundle(parts(), version="1.0"), "running already"),
        (lambda: bundle(parts(), version="../1.2"), "running already"),
        (lambda: bundle({**parts(), "root.img": os.urandom(2 << 20)}), "does not fit"),
        (lambda: bundle({"uki.efi": b"x", **parts()}), "parts it should"),
        (
            lambda: bundle(parts(), parts=[{"name": n, "size": len(b), "blocks": []} for n, b in parts().items()]),
            "parts it should",
        ),
        (lambda: bundle(parts(), extra=1), "cannot be read"),
        (lambda: b"", "not an update"),
        (lambda: os.urandom(20_000), "not an update"),
    ],
)
def test_refused_before_a_byte_is_written(box: Box, file, words: str) -> None:
    before = state(box)
    with pytest.raises(BadUpdate, match=words):
        install(io.BytesIO(file()), box)
    assert state(box) == before


def test_a_full_boot_partition(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before a byte is written; what the update itself clears away counts as free."""
    content = {**parts(), "uki.efi": os.urandom(1 << 20)}
    before, real = state(box), os.statvfs(box.esp)

    def free(mib: int) -> None:
        figures = list(real)
        figures[4] = (mib << 20) // real.f_frsize  # f_bavail
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(figures))

    free(1)
    with pytest.raises(BadUpdate, match="boot partition is full: the update needs 2 MiB there and 1 MiB are free"):
        install(io.BytesIO(bundle(content)), box)
    assert state(box) == before
    (box.esp / "EFI/Linux/left.tmp").write_bytes(bytes(1 << 20))
    install(io.BytesIO(bundle(content)), box)


def test_a_boot_partition_that_fills_up_meanwhile(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel image comes last; without it nothing starts the other slot, and no half file stays."""
    real = os.fsync

    def fsync(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}").endswith("update.tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(BadUpdate, match=r"cannot be written \(No space left on device"):
        install(io.BytesIO(bundle(parts())), box)
    assert [file.name for file in (box.esp / "EFI/Linux").iterdir()] == [RUNNING]


def test_not_while_on_trial(box: Box) -> None:
    with pytest.raises(BadUpdate, match="on trial"):
        install(
            io.BytesIO(bundle(parts())),
            Box(**{name: getattr(box, name) for name in Box.__slots__} | {"blessed": False}),
        )


def startable(box: Box) -> list[str]:
    """Kernel images that the loader could pick and whose slot could be found."""
    found = [file.name for file in (box.esp / "EFI/Linux").glob("switchroom_*.efi") if update.OURS.fullmatch(file.name)]
    return [name for name in found if name == RUNNING or box.verity.read_bytes()[:512] != bytes(512)]


def test_damaged_parts_leave_the_running_version_only(box: Box) -> None:
    whole = bundle(parts())
    for offset in (5_000, 305_000, 320_000):  # in root.img, root.verity, uki.efi
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        with pytest.raises(BadUpdate, match="The update is damaged"):
            install(io.BytesIO(bytes(damaged)), box)
        assert startable(box) == [RUNNING]
        assert [file.name for file in (box.esp / "EFI/Linux").iterdir()] == [RUNNING]


def test_no_wrong_byte_is_written(box: Box) -> None:
    """What was written before the damage is right; of the damaged block and what follows there is nothing."""
    content = parts()
    damaged = bundle(content).replace(content["root.img"], damaged_at(content["root.img"], 3 * BLOCK - 1))
    with pytest.raises(BadUpdate, match=r"damaged \(root.img\)"):
        install(io.BytesIO(damaged), box)
    assert box.root.read_bytes() == content["root.img"][: 2 * BLOCK] + b"\xee" * ((1 << 20) - 2 * BLOCK)
    assert box.verity.read_bytes() == bytes(512) + b"\xee" * ((1 << 16) - 512)


def test_a_file_is_looked_through_before_it_is_sent(tmp_path: Path) -> None:
    """`switchroom update FILE`: whatever is wrong with its bytes, the box hears nothing of it."""
    whole = bundle(parts())
    update.check_file(io.BytesIO(whole))
    for wrong, words in (
        (damaged_at(whole, 5_000), r"damaged \(root.img\)"),
        (damaged_at(whole, 320_000), r"damaged \(uki.efi\)"),
        (whole[:310_000], "ends too early|damaged"),
        (b"rubbish" * 1000, "not an update"),
    ):
        with pytest.raises(BadUpdate, match=words):
            update.check_file(io.BytesIO(wrong))
        (tmp_path / "file.update").write_bytes(wrong)
        told = CliRunner().invoke(main, ["update", str(tmp_path / "file.update")])
        assert told.exit_code == 1
        assert re.search(words, told.output)
        assert "helper" not in told.output  # it was not asked, and there is none here


def damaged_at(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def test_a_disk_that_does_not_keep_what_is_written(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found when it is read back: the slot cannot be found and nothing starts it."""
    content = parts()
    real = os.posix_fadvise

    def rot(handle: int, *rest: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}") == str(box.root):
            box.root.write_bytes(damaged_at(box.root.read_bytes(), 200_000))
        real(handle, *rest)

    monkeypatch.setattr(os, "posix_fadvise", rot)
    with pytest.raises(BadUpdate, match=r"did not keep what was written \(root.img\)"):
        install(io.BytesIO(bundle(content)), box)
    assert startable(box) == [RUNNING]


def test_cut_short_at_every_place(box: Box) -> None:
    whole = bundle(parts())
    for length in range(0, 365_000, 7_777):
        with pytest.raises(BadUpdate):
            install(io.BytesIO(whole[:length]), box)
        assert startable(box)[:1] == [RUNNING]
        assert len(startable(box)) == 1 or length < 2_000


def test_a_power_cut_before_every_sync(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dying at each fsync in turn: the running image is whole, and a second attempt succeeds."""
    content = parts()
    real, left = os.fsync, 0

    class Cut(BaseException):
        pass

    def fsync(handle: int) -> None:
        nonlocal left
        if left == 0:
            raise Cut
        left -= 1
        real(handle)

    cuts = 0
    for cut in range(20):
        left = cut
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                install(io.BytesIO(bundle(content)), box)
                break
            except Cut:
                cuts += 1
        assert (box.esp / "EFI/Linux" / RUNNING).read_bytes() == b"running"
        new = box.esp / "EFI/Linux/switchroom_1.1+3.efi"
        assert not new.exists() or new.read_bytes() == content["uki.efi"]
    assert cuts >= 8
    install(io.BytesIO(bundle(content)), box)


def test_version_order() -> None:
    order = ["0.9", "0.10", "1.0~rc1", "1.0", "1.0.1", "1.1", "2"]
    assert sorted(order, key=update.version_key) == order
