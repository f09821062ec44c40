"""Installing an update into the other slot, so that a cut at any moment leaves a box that starts.

A bundle is a tar: manifest.json, manifest.sig (Ed25519 over the manifest's bytes), then the parts in the order in which they are
written. It is read as a stream; the signature is checked before anything else is looked at, and what the manifest tells is refused
before a byte is written. It holds a hash of each block of the parts: a block is written when it is known to be right, so no wrong byte
ever is. Each step is on the disk before the next begins:

 1. the other slot's kernel image and left-over temporary files are removed from the boot partition: nothing names the slot now
 2. the hash tree's superblock is zeroed: an unfinished slot cannot be found
 3. root, then hash tree without its superblock, then the superblock; each read back and compared
 4. the kernel image under a temporary name, fsync, rename, fsync again (FAT's rename alone may leave an empty file)

The running slot is never touched. Repeating an interrupted update is always allowed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from appliance.storage.archive import Archive, Member
from appliance.storage.on_disk import rename, sync
from appliance.words import Explained, Said

if TYPE_CHECKING:  # the console reads this module too, and checks no signature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BLOCK = 1 << 20  # bytes under one hash; the page (webui/static/js/update.js) and the writer (image/disk.py) know it too
LARGEST_MANIFEST = 131_072
SUPERBLOCK = 512  # of the hash tree: its first sector
TRIES = 3  # the boot loader gives a new version this many starts
PARTS = ("root.img", "root.verity", "uki.efi")
OURS = re.compile(r"switchroom_(?P<version>[0-9][0-9A-Za-z.~-]*?)(?:\+(?P<left>\d+)(?:-(?P<done>\d+))?)?\.efi")

Progress = Callable[[str, int, int], None]  # what, bytes done, bytes in all


class BadUpdate(Explained):
    """The file cannot be installed. Nothing was written unless it says so."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    size: int
    blocks: list[str]  # SHA-256 of each block of BLOCK bytes, the last one as long as it is


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    compatible: str
    version: str
    floor: str  # the oldest version that may be updated with this file
    root_hash: str
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Box:
    """Where this box keeps its slots. In tests these are plain files."""

    compatible: str
    version: str  # running
    kernel: str  # file name of the running kernel image on the boot partition
    root: Path  # the other slot
    verity: Path
    esp: Path  # mounted boot partition
    keys: Sequence[Ed25519PublicKey]  # current and next
    blessed: bool = True  # the running version has proved itself


def version_key(version: str) -> tuple[tuple[int, str], ...]:
    """Orders versions: numbers by value, words before numbers ("1.0~rc1" < "1.0")."""
    parts = re.findall(r"\d+|[A-Za-z~]+", version)
    return (*tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts), (0, ""))


def read_manifest(tar: Archive, box: Box) -> Manifest:
    """The manifest of a bundle, checked against this box; BadUpdate says why not."""
    text = _small(tar, "manifest.json", LARGEST_MANIFEST)
    signature = _small(tar, "manifest.sig", 64)
    if not any(_signed_by(key, signature, text) for key in box.keys):
        raise BadUpdate(Said("update.not-signed"))
    manifest = _decode(text)
    if manifest.compatible != box.compatible:
        raise BadUpdate(Said.of("update.other-box", wanted=manifest.compatible, box=box.compatible))
    if version_key(box.version) < version_key(manifest.floor):
        raise BadUpdate(Said.of("update.too-new", floor=manifest.floor, version=box.version))
    if manifest.version == box.version or not OURS.fullmatch(f"switchroom_{manifest.version}.efi"):
        raise BadUpdate(Said.of("update.running", version=manifest.version))
    if version_key(manifest.version) < version_key(box.version):
        raise BadUpdate(Said.of("update.older", version=manifest.version, running=box.version))
    counts = [-(-part.size // BLOCK) for part in manifest.parts]
    if tuple(part.name for part in manifest.parts) != PARTS or counts != [len(part.blocks) for part in manifest.parts]:
        raise BadUpdate(Said("update.other-parts"))
    for part, target in zip(manifest.parts, (box.root, box.verity), strict=False):
        if part.size > _capacity(target):
            raise BadUpdate(Said.of("update.too-large", part=part.name, size=part.size >> 20, room=_capacity(target) >> 20))
    return manifest


def _decode(text: bytes) -> Manifest:
    try:
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadUpdate(Said.of("update.no-description", error=str(error))) from None


def check_file(stream: IO[bytes]) -> None:
    """Whether a bundle is whole, before it is sent to a box: a damaged one then costs not even what the other slot holds. BadUpdate says
    where it is not. Who signed it, and whether it fits, is for the box to judge."""
    try:
        tar = Archive(stream)
        manifest = _decode(_small(tar, "manifest.json", LARGEST_MANIFEST))
        _small(tar, "manifest.sig", 64)
        for part in manifest.parts:
            for _ in _right_blocks(tar, part):
                pass
    except tarfile.TarError as error:
        raise BadUpdate(Said.of("update.too-short", error=str(error))) from None


def install(stream: IO[bytes], box: Box, progress: Progress = lambda what, done, total: None) -> Manifest:
    """Install a bundle into the other slot; the next start tries it. BadUpdate leaves the running version as it was."""
    if not box.blessed:
        raise BadUpdate(Said("update.on-trial"))
    try:
        tar = Archive(stream)
        manifest = read_manifest(tar, box)
        parts = {part.name: part for part in manifest.parts}
        total = sum(part.size for part in manifest.parts)
        _room(box, parts["uki.efi"])
        _sweep(box)
        _write(box.verity, 0, bytes(SUPERBLOCK))
        done = _copy(tar, parts["root.img"], box.root, progress, 0, total)
        superblock = _copy_tree(tar, parts["root.verity"], box.verity)
        done += parts["root.verity"].size
        progress("checking", done, total)
        _compare(box.root, parts["root.img"])
        _write(box.verity, 0, superblock)
        _compare(box.verity, parts["root.verity"])
        _kernel(tar, parts["uki.efi"], box, manifest.version)
        progress("done", total, total)
    except tarfile.TarError as error:
        raise BadUpdate(Said.of("update.too-short-begun", error=str(error))) from None
    return manifest


def _signed_by(key: Ed25519PublicKey, signature: bytes, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _small(tar: Archive, name: str, most: int) -> bytes:
    return _member(tar, name, most).read(most)


def _member(tar: Archive, name: str, most: int) -> Member:
    member = tar.next()
    if member is None or member.name != name or member.size > most:
        raise BadUpdate(Said("update.no-update"))
    return member


def _capacity(target: Path) -> int:
    with target.open("rb") as file:
        return file.seek(0, os.SEEK_END)


def _unwanted(box: Box) -> list[Path]:
    """What could start or hide: every kernel image of ours but the running one, temporary files, fsck's finds."""
    folder, running = box.esp / "EFI/Linux", OURS.fullmatch(box.kernel)
    found = []
    for file in [*folder.glob("*.tmp"), *box.esp.glob("FSCK*.REC"), *folder.glob("switchroom_*.efi")]:
        name = OURS.fullmatch(file.name)
        if not (name and running and name["version"] == running["version"]):  # whatever its counter says by now
            found.append(file)
    return found


def _room(box: Box, kernel: Part) -> None:
    """Whether the kernel image fits the boot partition once what is unwanted there has gone."""
    figures = os.statvfs(box.esp)
    free = figures.f_bavail * figures.f_frsize + sum(file.stat().st_size for file in _unwanted(box))
    if free < kernel.size + BLOCK:
        raise BadUpdate(Said.of("update.boot-full", needed=(kernel.size >> 20) + 1, free=free >> 20))


def _sweep(box: Box) -> None:
    for file in _unwanted(box):
        file.unlink()
    sync(box.esp / "EFI/Linux")


def _write(target: Path, offset: int, data: bytes) -> None:
    with target.open("r+b", buffering=0) as file:
        file.seek(offset)
        file.write(data)
        os.fsync(file.fileno())


def _right_blocks(tar: Archive, part: Part) -> Iterator[bytes]:
    """The next member of the bundle, block by block, each of them checked."""
    content = _member(tar, part.name, part.size)
    for wanted in part.blocks:
        block = content.read(BLOCK)
        if hashlib.sha256(block).hexdigest() != wanted:
            raise BadUpdate(Said.of("update.damaged", part=part.name))
        yield block


def _copy(tar: Archive, part: Part, target: Path, progress: Progress, done: int, total: int) -> int:
    with target.open("r+b", buffering=0) as file:
        for block in _right_blocks(tar, part):
            file.write(block)
            done += len(block)
            progress(part.name, done, total)
        os.fsync(file.fileno())
    return done


def _copy_tree(tar: Archive, part: Part, target: Path) -> bytes:
    """All of the hash tree but its superblock, which is returned."""
    superblock = b""
    with target.open("r+b", buffering=0) as file:
        for block in _right_blocks(tar, part):
            if not superblock:
                superblock, block = block[:SUPERBLOCK], block[SUPERBLOCK:]
                file.seek(SUPERBLOCK)
            file.write(block)
        os.fsync(file.fileno())
    return superblock


def kept(target: Path, part: Part) -> bool:
    """Whether the disk gives back what was written: the disk, not the cache."""
    left = part.size
    try:
        with target.open("rb", buffering=0) as file:
            with contextlib.suppress(OSError):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for wanted in part.blocks:
                block = file.read(min(BLOCK, left))
                left -= len(block)
                if hashlib.sha256(block).hexdigest() != wanted:
                    return False
    except OSError:  # it does not even give anything back
        return False
    return True


def _compare(target: Path, part: Part) -> None:
    if not kept(target, part):
        _write(target, 0, bytes(SUPERBLOCK))
        raise BadUpdate(Said.of("update.disk-failing", part=part.name))


def _kernel(tar: Archive, part: Part, box: Box, version: str) -> None:
    folder = box.esp / "EFI/Linux"
    temporary, final = folder / "update.tmp", folder / f"switchroom_{version}+{TRIES}.efi"
    try:
        with temporary.open("wb") as file:
            for block in _right_blocks(tar, part):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, BadUpdate) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, BadUpdate):
            raise
        raise BadUpdate(Said.of("update.boot-not-written", error=str(error.strerror))) from None
    rename(temporary, final)
