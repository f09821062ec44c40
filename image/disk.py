"""The GPT disk, made from files: ESP, two slots of root and hash tree, state, media. And the signed update bundle."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from image.graph import run

MIB = 2**20
# label, MiB; order and sizes are fixed at flashing, only the last one ever grows
PARTITIONS = (("esp", 512), ("switchroom-root-a", 1024), ("switchroom-verity-a", 16), ("switchroom-root-b", 1024), ("switchroom-verity-b", 16),
              ("switchroom-state", 4096), ("switchroom-media", 512))  # fmt: skip
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
NAMESPACE = uuid.UUID("7d0a4c6e-5a51-4b0e-9a3e-1d7c1f0f5a11")


def esp(out: Path, loader_conf: str, files: dict[str, Path], source_date: int) -> Path:
    """A FAT32 file system with the loader's configuration and, by their names on it, programs, kernel images and keys."""
    image = out / "esp.img"
    with image.open("wb") as empty:
        empty.truncate(PARTITIONS[0][1] * MIB)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source_date), "MTOOLS_SKIP_CHECK": "1"}
    run("mkfs.vfat", "-F", "32", "-n", "ESP", "-i", "53574348", "--invariant", image, env=environment)
    folders = ("EFI", "EFI/BOOT", "EFI/systemd", "EFI/Linux", "loader", "loader/keys", "loader/keys/switchroom")
    run("mmd", "-i", image, *[f"::{folder}" for folder in folders], env=environment)
    (out / "loader.conf").write_text(loader_conf)
    run("mcopy", "-i", image, out / "loader.conf", "::loader/loader.conf", env=environment)
    for name, file in files.items():
        run("mcopy", "-i", image, file, f"::{name}", env=environment)
    return image


def disk(image: Path, parts: dict[str, Path], types: dict[str, str]) -> None:
    """A disk image with the partition table and the given parts in their places; blocks of zeros stay holes."""
    total = 1 + sum(size for _, size in PARTITIONS) + 1
    with image.open("wb") as file:
        file.truncate(total * MIB)
    start, script = 1, ["label: gpt", f"label-id: {uuid.uuid5(NAMESPACE, 'disk')}"]
    places: dict[str, int] = {}
    for label, size in PARTITIONS:
        kind = types.get(label, LINUX_TYPE)
        script.append(
            f"start={start * 2048}, size={size * 2048}, type={kind}, name={label}, uuid={uuid.uuid5(NAMESPACE, label)}"
        )
        places[label] = start * MIB
        start += size
    run("sfdisk", "-q", image, input="\n".join(script) + "\n")
    with image.open("r+b") as target:
        for label, part in parts.items():
            with part.open("rb") as source:
                for first, end in data_of(source):
                    source.seek(first)
                    target.seek(places[label] + first)
                    while first < end and (block := source.read(min(MIB, end - first))):
                        target.write(block)
                        first += len(block)


def data_of(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where a sparse file has data, first and end: what lies between are zeros (lseek(2), SEEK_DATA)."""
    end = 0
    size = file.seek(0, os.SEEK_END)
    while end < size:
        try:
            first = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # ENXIO: no data any more
            return
        end = os.lseek(file.fileno(), first, os.SEEK_HOLE)
        yield first, end


def ext4(image: Path, label: str, mib: int) -> Path:
    """An empty file system with journal and checksums; its UUID is fixed, the box gives it a fresh one at first boot."""
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    run("mkfs.ext4", "-q", "-F", "-L", label, "-O", "metadata_csum", "-E", f"lazy_itable_init=1,hash_seed={uuid.uuid5(NAMESPACE, label)}",
        "-U", str(uuid.uuid5(NAMESPACE, label)), image)  # fmt: skip
    return image


def hashes(file: Path) -> Iterator[str]:
    """SHA-256 of each MiB: the box checks each before it writes it."""
    with file.open("rb") as content:
        while block := content.read(MIB):
            yield hashlib.sha256(block).hexdigest()


def bundle(
    out: Path, *, version: str, floor: str, compatible: str, root_hash: str, parts: dict[str, Path], key: Path
) -> Path:
    """The update file: a tar of manifest.json, manifest.sig, then the parts in the order in which they are written."""
    manifest = {
        "compatible": compatible, "version": version, "floor": floor, "root_hash": root_hash,
        "parts": [{"name": name, "size": file.stat().st_size, "blocks": list(hashes(file))} for name, file in parts.items()],
    }  # fmt: skip
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    run(
        "openssl",
        "pkeyutl",
        "-sign",
        "-inkey",
        key,
        "-rawin",
        "-in",
        out / "manifest.json",
        "-out",
        out / "manifest.sig",
    )
    path = out / f"switchroom-{version}.update"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, file in {
            "manifest.json": out / "manifest.json",
            "manifest.sig": out / "manifest.sig",
            **parts,
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                tar.addfile(entry, content)
    return path
