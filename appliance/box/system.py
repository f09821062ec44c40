"""What only root may do on the box, and the facts about its slots. Used by the console and by the helper, never by the telephone system.

Nothing here asks: who may is decided by the caller. The boot partition is read-only but for the moment of a write. Slots are told apart
by their kernel images there: `switchroom_VERSION.efi` is good, `+N` is on trial with N starts left, `+0` has failed.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from appliance.box import update
from appliance.storage.on_disk import rename, sync, write
from appliance.version import VERSION
from appliance.words import Explained, Said, english

ESP = Path("/efi")
ESP_LOCK = Path("/run/switchroom-esp.lock")
ESP_PATIENCE = 10.0  # seconds
BOOT_FACTS = Path("/run/switchroom-boot")
STATE = Path("/state")
DATA = STATE / "switchroom"
BY_LABEL = Path("/dev/disk/by-partlabel")
BOX_FILE = Path("/usr/lib/switchroom/box.json")  # written by the image build: compatible
KEYS = Path("/usr/lib/switchroom/keys")
NETWORK_FILE = STATE / "network/50-console.network"
TRIAL_FILE = STATE / "system/trial.json"
# Of the first stage (image/first_stage/first.c), for this start only: the boot loader's choice could not be loaded.
FALLBACK = Path("/sys/firmware/efi/efivars/SwitchroomFallback-b6f6a5c6-0c0a-4a3e-9f1e-3d5f6a7c8e90")


class CannotDo(Explained):
    """For the person at the console or page."""


class Trial(msgspec.Struct, frozen=True):
    """A version that is on this box and was left, and why."""

    version: str
    reason: str  # in English, for whichever version reads it
    when: float
    asked: bool = False  # somebody wanted the other one; it did not fail
    examined: bool = False  # what the disk tells is in the reason
    said: Said | None = None  # the reason for versions that know it

    @classmethod
    def of(cls, version: str, said: Said, when: float, *, asked: bool = False, examined: bool = False) -> Trial:
        return cls(version, english().say(said), when, asked, examined, said)

    def known(self) -> Said | str:
        """The reason, in English alone where this version has no words for it."""
        return self.said if self.said is not None and english().has(self.said.key) else self.reason


@dataclass(frozen=True, slots=True)
class Kernel:
    file: str
    version: str
    left: int | None  # starts left on trial; None: proved good
    running: bool
    done: int = 0  # starts it has had on trial


LONGEST_START = 900.0  # seconds; a slow box, or one that has a migration before it


def run(*command: str, seconds: float = 60) -> str:
    """A command's output; CannotDo with its last words when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotDo(Said.of("box.command", command=command[0], error=str(error))) from None
    if done.returncode:
        raise CannotDo(
            Said.of("box.command", command=" ".join(command[:2]), error=(done.stderr or done.stdout).strip()[-300:])
        )
    return done.stdout


@contextlib.contextmanager
def writable_esp() -> Iterator[Path]:
    """The boot partition, writable until the end of the block and on the disk after it. One writer at a time; the second has some
    patience, but not for a whole update: CannotDo."""
    with ESP_LOCK.open("w") as lock:
        until = time.monotonic() + ESP_PATIENCE
        while not _locked(lock):
            if time.monotonic() > until:
                raise CannotDo(Said("box.boot-busy"))
            time.sleep(0.1)
        run("mount", "-o", "remount,rw", str(ESP))
        try:
            yield ESP
        finally:
            os.sync()
            run("mount", "-o", "remount,ro", str(ESP))


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def slot() -> str:
    """`a` or `b`."""
    return (BOOT_FACTS / "slot").read_text().strip()


def kernels(folder: Path = ESP / "EFI/Linux", running: str = VERSION) -> list[Kernel]:
    """Kernel images on the boot partition, the running one first."""
    found = []
    for file in folder.glob("*.efi"):
        if (match := update.OURS.fullmatch(file.name)) is not None:
            left = int(match["left"]) if match["left"] is not None else None
            found.append(
                Kernel(file.name, match["version"], left, match["version"] == running, int(match["done"] or 0))
            )
    return sorted(found, key=lambda kernel: not kernel.running)


def this_box() -> update.Box:
    """Where an update goes. CannotDo when the running kernel image cannot be told."""
    here = next((kernel for kernel in kernels() if kernel.running), None)
    if here is None:
        raise CannotDo(Said("box.no-kernel"))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    other = "b" if slot() == "a" else "a"
    keys = [load_pem_public_key(file.read_bytes()) for file in sorted(KEYS.glob("*.pub"))]
    return update.Box(
        compatible=json.loads(BOX_FILE.read_text())["compatible"],
        version=VERSION,
        kernel=here.file,
        root=BY_LABEL / f"switchroom-root-{other}",
        verity=BY_LABEL / f"switchroom-verity-{other}",
        esp=ESP,
        keys=[key for key in keys if isinstance(key, Ed25519PublicKey)],
        blessed=here.left is None,
    )


def switch_slot(asked: bool = False) -> str:
    """Make the other version start next; returns it. `asked`: by a person, not because the running one has failed.

    The boot loader takes the newest that has starts left. So an older one starts only when the running one has none; a newer one that
    has not proved itself gets its trial again, with the running one behind it.
    """
    found = kernels()
    other = next((kernel for kernel in found if not kernel.running), None)
    here = next((kernel for kernel in found if kernel.running), None)
    if other is None or here is None:
        raise CannotDo(Said("box.no-other"))
    left = last_trial()
    proved = other.left is None or (left is not None and left.version == other.version and left.asked)
    newer = update.version_key(other.version) > update.version_key(here.version)
    if asked:
        write_trial(Trial.of(here.version, Said("box.left"), time.time(), asked=True))
    with writable_esp() as esp:
        folder = esp / "EFI/Linux"
        rename(folder / other.file, folder / f"switchroom_{other.version}{'' if proved else f'+{update.TRIES}'}.efi")
        if not newer or not asked:
            rename(folder / here.file, folder / f"switchroom_{here.version}+0.efi")
    return other.version


def bless() -> None:
    """The running version has proved itself: its kernel image loses its counter. Instead of systemd-bless-boot, which syncs the folder
    only: a power cut then can leave the new name without contents."""
    for kernel in kernels():
        if kernel.running and kernel.left is not None:
            with writable_esp() as esp:
                folder = esp / "EFI/Linux"
                rename(folder / kernel.file, folder / f"switchroom_{kernel.version}.efi")


def on_trial() -> bool:
    return any(kernel.running and kernel.left is not None for kernel in kernels())


def why_not_loaded(kernel: Kernel, running: str = VERSION) -> Said | None:
    """Of a newer version that has starts left while an older one runs; None for any other. One without any start yet waits for its first."""
    if kernel.running or update.version_key(kernel.version) < update.version_key(running):
        return None
    if kernel.left is None:
        return Said("box.not-loaded-good")
    return Said.of("box.not-loaded", times=kernel.done) if kernel.left and kernel.done else None


def give_up_on(kernel: Kernel, reason: Said) -> None:
    """The other version is not started again by itself: it has failed, with this reason if none is written down yet."""
    written = written_trial()
    if written is None or written.version != kernel.version or written.asked:
        write_trial(Trial.of(kernel.version, reason, time.time()))
    with writable_esp() as esp:
        folder = esp / "EFI/Linux"
        rename(folder / kernel.file, folder / f"switchroom_{kernel.version}+0-{max(kernel.done, 1)}.efi")


def give_up_on_what_did_not_load() -> None:
    """When this version runs because a newer one could not be loaded, not because somebody chose it in the boot loader's menu."""
    if FALLBACK.exists():
        for kernel in kernels():
            if reason := why_not_loaded(kernel, VERSION):
                give_up_on(kernel, reason)


def last_trial(folder: Path = ESP / "EFI/Linux", running: str = VERSION) -> Trial | None:
    """The other version on this box when it was left, and why. One that never ran far enough to say it is known by its kernel image."""
    written = written_trial()
    for kernel in kernels(folder, running):
        if kernel.running:
            continue
        failed = kernel.left == 0
        skipped = why_not_loaded(kernel, running)
        if written is not None and written.version == kernel.version and (failed or skipped):
            return written
        when = (folder / kernel.file).stat().st_mtime
        if failed:
            known = Said.of("box.not-healthy", times=kernel.done) if kernel.done else Said("box.never-healthy")
            return Trial.of(kernel.version, known, when)
        if skipped:
            return Trial.of(kernel.version, skipped, when)
    return None


def written_trial() -> Trial | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(TRIAL_FILE.read_bytes(), type=Trial)
    return None


def write_trial(trial: Trial) -> None:
    """For the page and the console of the version that runs next."""
    write(TRIAL_FILE, msgspec.json.encode(trial), 0o644)


def restart_telephony() -> None:
    run("systemctl", "restart", "switchroom.service", seconds=LONGEST_START)


def reboot() -> None:
    run("systemctl", "reboot", "--no-block")


def power_off() -> None:
    run("systemctl", "poweroff", "--no-block")


def ask_factory_reset(keep_network: bool, erase_media: bool) -> None:
    """The initrd does it at the next start, before anything is mounted, and removes the flag last."""
    words = [word for word, wanted in (("network", keep_network), ("media", erase_media)) if wanted]
    with writable_esp() as esp:
        write(esp / "factory-reset", " ".join(["reset", *words]).encode())


def renew_state(partition: Path = BY_LABEL / "switchroom-state", state: Path = STATE) -> None:
    """Make the state partition anew, with what the box holds in memory instead of it: the next start finds it. CannotDo when it
    was mounted at this start, or when the disk does not take it. As the initrd makes it, but filled before anybody can look."""
    found = ""
    with contextlib.suppress(OSError):
        found = (BOOT_FACTS / "state").read_text().strip()
    if found != "broken":
        raise CannotDo(Said("box.in-order"))
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-L", "switchroom-state", "-O", "metadata_csum", "-d", str(state), str(partition), seconds=600,
    )  # fmt: skip
    run("e2fsck", "-f", "-n", str(partition), seconds=600)
    sync(partition)


def set_network(address: str, gateway: str, servers: str) -> None:
    """A fixed address; an empty `address` means DHCP. CannotDo when something is not an address."""
    if not address:
        NETWORK_FILE.unlink(missing_ok=True)
    else:
        try:
            interface = ipaddress.ip_interface(address)
            lines = [f"Address={interface}"]
            lines += [f"Gateway={ipaddress.ip_address(gateway)}"] if gateway else []
            lines += [f"DNS={ipaddress.ip_address(server)}" for server in servers.split()]
        except ValueError as error:
            raise CannotDo(Said.of("box.no-address", error=str(error))) from None
        if interface.network.prefixlen == interface.max_prefixlen:
            raise CannotDo(Said("box.no-network"))
        text = "\n".join(["[Match]", "Type=ether", "[Network]", "MulticastDNS=yes", *lines, ""])
        write(NETWORK_FILE, text.encode(), 0o644)
    run("networkctl", "reload")
