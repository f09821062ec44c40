"""What only root may do on the box, and the facts about its slots. Used by the console and by the helper, never by the telephone system.

Nothing here asks: who may is decided by the caller. The boot partition is read-only but for the moment of a write. Slots are told apart
by their kernel images there: `switchroom_VERSION.efi` is good, `+N` is on trial with N starts left, `+0` has failed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance import update
from appliance.version import VERSION

ESP = Path("/efi")
BOOT_FACTS = Path("/run/switchroom-boot")
STATE = Path("/state")
DATA = Path("/var/lib/switchroom")
BY_LABEL = Path("/dev/disk/by-partlabel")
BOX_FILE = Path("/usr/lib/switchroom/box.json")  # written by the image build: compatible
KEYS = Path("/usr/lib/switchroom/keys")
NETWORK_FILE = STATE / "network/50-console.network"
TRIAL_FILE = STATE / "system/trial.json"


class CannotDo(Exception):
    """A sentence for the person at the console or page."""


class Trial(msgspec.Struct, frozen=True):
    """The last version that did not prove itself, and why."""

    version: str
    reason: str
    when: float


@dataclass(frozen=True, slots=True)
class Kernel:
    file: str
    version: str
    left: int | None  # starts left on trial; None: proved good
    running: bool


def run(*command: str, seconds: float = 60) -> str:
    """A command's output; CannotDo with its last words when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotDo(f"{command[0]} did not work: {error}") from None
    if done.returncode:
        raise CannotDo(f"{' '.join(command[:2])} did not work: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


@contextlib.contextmanager
def writable_esp() -> Iterator[Path]:
    """The boot partition, writable until the end of the block and on the disk after it."""
    run("mount", "-o", "remount,rw", str(ESP))
    try:
        yield ESP
    finally:
        os.sync()
        run("mount", "-o", "remount,ro", str(ESP))


def slot() -> str:
    """`a` or `b`."""
    return (BOOT_FACTS / "slot").read_text().strip()


def kernels(folder: Path = ESP / "EFI/Linux", running: str = VERSION) -> list[Kernel]:
    """Kernel images on the boot partition, the running one first."""
    found = []
    for file in folder.glob("*.efi"):
        if (match := update.OURS.fullmatch(file.name)) is not None:
            left = int(match["left"]) if match["left"] is not None else None
            found.append(Kernel(file.name, match["version"], left, match["version"] == running))
    return sorted(found, key=lambda kernel: not kernel.running)


def this_box() -> update.Box:
    """Where an update goes. CannotDo when the running kernel image cannot be told."""
    here = next((kernel for kernel in kernels() if kernel.running), None)
    if here is None:
        raise CannotDo("The running version's kernel image is not on the boot partition.")
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


def switch_slot() -> str:
    """Make the other version start next; returns it. The running one stays, marked as failed: the way back is the same."""
    found = kernels()
    other = next((kernel for kernel in found if not kernel.running), None)
    here = next((kernel for kernel in found if kernel.running), None)
    if other is None or here is None:
        raise CannotDo("There is no other version on this box.")
    with writable_esp() as esp:
        folder = esp / "EFI/Linux"
        _rename(folder, other.file, f"switchroom_{other.version}.efi")
        _rename(folder, here.file, f"switchroom_{here.version}+0.efi")
    return other.version


def _rename(folder: Path, old: str, new: str) -> None:
    """FAT's rename is safe only with the file synced again under its new name."""
    if old != new:
        (folder / old).rename(folder / new)
    for path, flags in ((folder / new, os.O_RDONLY), (folder, os.O_RDONLY | os.O_DIRECTORY)):
        fd = os.open(path, flags)
        os.fsync(fd)
        os.close(fd)


def on_trial() -> bool:
    return any(kernel.running and kernel.left is not None for kernel in kernels())


def last_trial() -> Trial | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(TRIAL_FILE.read_bytes(), type=Trial)
    return None


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all, also over a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def restart_telephony() -> None:
    run("systemctl", "restart", "switchroom.service")


def reboot() -> None:
    run("systemctl", "reboot", "--no-block")


def power_off() -> None:
    run("systemctl", "poweroff", "--no-block")


def ask_factory_reset(keep_network: bool, erase_media: bool) -> None:
    """The initrd does it at the next start, before anything is mounted, and removes the flag last."""
    words = [word for word, wanted in (("network", keep_network), ("media", erase_media)) if wanted]
    with writable_esp() as esp:
        write_whole(esp / "factory-reset", " ".join(["reset", *words]).encode())


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
            raise CannotDo(f"That is not an address: {error}.") from None
        if interface.network.prefixlen == interface.max_prefixlen:
            raise CannotDo("Give the address with its network, such as 192.168.1.10/24.")
        text = "\n".join(["[Match]", "Type=ether", "[Network]", "MulticastDNS=yes", *lines, ""])
        write_whole(NETWORK_FILE, text.encode())
    run("networkctl", "reload")
