"""What the disk can tell about a version that was left, for the page and the console.

A version that runs far enough says itself why it is not healthy; of one whose kernel stopped or was not loaded only the boot loader's
count is known. Either may come from a disk that does not give back what was written to it. The description of each update stays on the
state partition, and what is in the other slot is compared with it, once, when the version that runs has passed its health check.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.box import system, update
from appliance.box.update import Manifest, Part
from appliance.storage import on_disk
from appliance.words import Said

STARTS_FILE = system.STATE / "system/starts"  # the initrd counts there those that did not come as far as a passed health check
LEAST_URGENT = 19  # nice(2): calls go on meanwhile
LONGEST_LOOK = 900.0  # seconds; a slow box
RUNNING = Path("/proc/cmdline")
ROOT_HASH = re.compile(rb"switchroom\.roothash=([0-9a-f]{64})")  # in a kernel image's command line


def passed(say: Callable[[str], None]) -> None:
    """After a passed health check: the count of starts begins anew, and a version that was left is looked at."""
    STARTS_FILE.unlink(missing_ok=True)
    trial = system.last_trial()
    if trial is None or trial.asked or trial.examined:
        return
    os.nice(LEAST_URGENT)
    found = what_the_disk_tells(trial)
    if found is not None:
        say(f"version {found.version}: {found.reason}")
        system.write_trial(found)


def remember(manifest: Manifest) -> None:
    """What has just been installed into the other slot."""
    on_disk.write(_file(_other_slot()), msgspec.json.encode(manifest))


def what_the_disk_tells(trial: system.Trial) -> system.Trial | None:
    """The same with its reason completed; None when nothing is known about that version."""
    slot = _other_slot()
    kernel = next((kernel for kernel in system.kernels() if kernel.version == trial.version), None)
    if kernel is None:
        return None
    manifest = _remembered(slot)
    if manifest is None or manifest.version != trial.version:
        return None if _fits_its_tree(system.ESP / "EFI/Linux" / kernel.file, slot) else _damaged_slot(trial, slot)
    places = {
        "root.img": system.BY_LABEL / f"switchroom-root-{slot}",
        "root.verity": system.BY_LABEL / f"switchroom-verity-{slot}",
        "uki.efi": system.ESP / "EFI/Linux" / kernel.file,
    }
    damaged = {part.name for part in manifest.parts if not _whole(part, places)}
    if "uki.efi" in damaged:
        said = Said("box.kernel-damaged")
    elif damaged:
        return _damaged_slot(trial, slot)
    elif system.written_trial() == trial:
        return msgspec.structs.replace(trial, examined=True)
    else:
        said = Said.of("box.disk-whole", reason=trial.said or trial.reason)
    return system.Trial.of(trial.version, said, trial.when, asked=trial.asked, examined=True)


def _damaged_slot(trial: system.Trial, slot: str) -> system.Trial:
    said = Said.of("box.slot-damaged", slot=slot.upper())
    return system.Trial.of(trial.version, said, trial.when, asked=trial.asked, examined=True)


def _fits_its_tree(kernel: Path, slot: str) -> bool:
    """Whether a slot is what its kernel image wants, by the root hash in that; True when it has none."""
    found = ROOT_HASH.search(kernel.read_bytes())
    if found is None or found[1] in RUNNING.read_bytes():  # it wants the slot that runs
        return True
    root, tree = (str(system.BY_LABEL / f"switchroom-{kind}-{slot}") for kind in ("root", "verity"))
    try:
        system.run("veritysetup", "verify", root, tree, found[1].decode(), seconds=LONGEST_LOOK)
    except system.CannotDo:
        return False
    return True


def _whole(part: Part, places: dict[str, Path]) -> bool:
    return part.name not in places or update.kept(places[part.name], part)


def _other_slot() -> str:
    return "b" if system.slot() == "a" else "a"


def _file(slot: str) -> Path:
    return system.STATE / f"system/installed-{slot}.json"


def _remembered(slot: str) -> Manifest | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(_file(slot).read_bytes(), type=Manifest)
    return None
