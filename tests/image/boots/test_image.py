"""The image as files, nothing started: sizes, partitions, signature, hash tree, setuid, logins, and that it is made the same twice."""

from __future__ import annotations

import json
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.box import update
from image import disk
from image.build import Image

pytestmark = [pytest.mark.timeout(600)]
MIB = 1 << 20
SETUID = {
    "su",
    "mount",
    "umount",
    "passwd",
    "chsh",
    "chfn",
    "gpasswd",
    "newgrp",
    "chage",
    "expiry",
    "unix_chkpwd",
    "dbus-daemon-launch-helper",
}


def test_sizes(image: Image) -> None:
    assert image.packed.stat().st_size < 400 * MIB
    assert image.bundle.stat().st_size < 250 * MIB
    assert image.uki.stat().st_size < 60 * MIB
    assert (image.slot / "root.img").stat().st_size < 1024 * MIB


def test_partitions(image: Image) -> None:
    table = json.loads(subprocess.run(["sfdisk", "-J", image.disk], capture_output=True, check=True).stdout)[
        "partitiontable"
    ]
    assert table["label"] == "gpt"
    assert [(row["name"], row["size"] // 2048) for row in table["partitions"]] == list(disk.PARTITIONS)


def signed(image: Image, program: Path) -> bool:
    words = ["sbverify", "--cert", image.keys / "uki.crt", program]
    return "Signature verification OK" in subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_the_kernel_image_is_signed_and_names_its_root(image: Image) -> None:
    assert signed(image, image.uki)
    assert image.command_line.encode() in image.uki.read_bytes()


def test_the_hash_tree_fits_the_root(image: Image) -> None:
    subprocess.run(
        ["veritysetup", "verify", image.slot / "root.img", image.slot / "root.verity", image.root_hash], check=True
    )


def test_the_update_is_signed_and_holds_the_same_parts(image: Image) -> None:
    key = load_pem_public_key((image.keys / "bundle.pub").read_bytes())
    with tarfile.open(image.bundle) as tar:
        texts = {name: tar.extractfile(name).read() for name in ("manifest.json", "manifest.sig")}  # type: ignore[union-attr]
        assert tar.getnames() == ["manifest.json", "manifest.sig", "root.img", "root.verity", "uki.efi"]
    key.verify(texts["manifest.sig"], texts["manifest.json"])  # type: ignore[union-attr, call-arg]
    manifest = json.loads(texts["manifest.json"])
    assert manifest["root_hash"] == image.root_hash
    assert [len(part["blocks"]) for part in manifest["parts"]] == [
        -(-part["size"] // update.BLOCK) for part in manifest["parts"]
    ]
    assert len(texts["manifest.json"]) < update.LARGEST_MANIFEST


def test_nobody_can_log_in(image: Image) -> None:
    root = image.tree / "root"
    passwords = [line.split(":")[1] for line in (root / "etc/shadow").read_text().splitlines()]
    assert all(word.startswith(("*", "!")) for word in passwords)
    for unit in (
        "getty@.service",
        "serial-getty@.service",
        "emergency.service",
        "rescue.service",
        "debug-shell.service",
    ):
        assert (root / "etc/systemd/system" / unit).readlink() == Path("/dev/null")
    assert not list(root.glob("usr/sbin/sshd")) + list(root.glob("usr/sbin/dropbear"))


def test_setuid_files_are_the_known_ones(image: Image) -> None:
    found = {
        path.name
        for path in (image.tree / "root").rglob("*")
        if not path.is_symlink() and path.is_file() and path.stat().st_mode & stat.S_ISUID
    }
    assert found <= SETUID


def test_no_private_key_is_in_the_image(image: Image) -> None:
    names = [
        path
        for path in (image.tree / "root").rglob("*")
        if path.suffix in (".key", ".pem") and path.is_file() and not path.is_symlink()
    ]
    assert [path for path in names if b"PRIVATE KEY" in path.read_bytes()] == []


def test_the_kernel_image_is_made_the_same_twice(image: Image, tmp_path: Path) -> None:
    image.kernel_image(tmp_path, image.command_line)
    assert (tmp_path / "uki.unsigned.efi").read_bytes() == (image.uki.parent / "uki.unsigned.efi").read_bytes()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("EFI/BOOT/BOOTX64.EFI", [b"\\EFI\\systemd\\systemd-bootx64.efi", b"No version of Switchroom"]),
        ("EFI/systemd/systemd-bootx64.efi", [b"reboot-on-error"]),
    ],
)
def test_what_the_firmware_starts_is_signed(image: Image, tmp_path: Path, place: str, words: list[bytes]) -> None:
    """The first stage where every firmware looks, and the boot loader where the first stage looks."""
    program = tmp_path / "program.efi"
    subprocess.run(["mcopy", "-i", f"{image.disk}@@1M", f"::{place}", program], check=True)
    assert signed(image, program)
    content = program.read_bytes()
    assert [word for word in words if word not in content and word.decode().encode("utf-16-le") not in content] == []


def test_the_first_stage_is_made_the_same_twice(image: Image, tmp_path: Path) -> None:
    image.compile_first_stage(tmp_path)
    unsigned = "first.unsigned.efi"
    assert (tmp_path / unsigned).read_bytes() == (image.first_stage / unsigned).read_bytes()


def test_the_bill_of_materials_has_what_is_on_the_boot_partition(image: Image) -> None:
    bill = json.loads((image.tree / "root/usr/share/switchroom/sbom.cdx.json").read_text())
    version = {
        row["bom-ref"]: (row["name"], row["version"])
        for row in bill["components"]
        if "version" in row and "bom-ref" in row
    }
    made = {row["ref"]: [version.get(part, (part, ""))[0] for part in row["dependsOn"]] for row in bill["dependencies"]}
    sources = [f"image/first_stage/{name}" for name in ("efi.h", "first.c", "first.lds")]
    assert made["EFI/BOOT/BOOTX64.EFI"] == sources
    assert [made[name] for name in sources] == [[], [], []]
    assert made["EFI/systemd/systemd-bootx64.efi"] == ["systemd-boot-efi"]
    assert dict(version.values())["systemd-boot-efi"].startswith("26")  # not the older one of the root's own Debian
    kernel = made[f"EFI/Linux/switchroom_{image.version}.efi"]
    assert {"initrd", "systemd-boot-efi"} < set(kernel)
    assert any(name.startswith("linux-image-") for name in kernel)
    assert {"busybox-static", "cryptsetup-bin", "e2fsprogs", "libc6"} < set(made["initrd"])
    references = [row["bom-ref"] for row in bill["components"] if "bom-ref" in row]
    assert len(references) == len(set(references))
    assert (image.tree / "root/usr/share/doc/systemd-boot-efi/copyright").is_file()


def test_every_part_names_its_licence(image: Image) -> None:
    bill = json.loads((image.tree / "root/usr/share/switchroom/sbom.cdx.json").read_text())
    parts = [row for row in bill["components"] if row["type"] != "file"]
    assert len(parts) > 200
    assert [row["name"] for row in parts if not row["version"] or not row.get("licenses")] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_builds_give_the_same_system(image: Image, tmp_path: Path) -> None:
    """Everything anew, in another folder and later; only the keys are the same. What is signed is compared without its signature."""
    again = Image(image.name, tmp_path / "elsewhere/deeper")
    again.__dict__["keys"] = image.keys
    for name in ("root.img", "root.verity", "roothash"):
        assert (again.slot / name).read_bytes() == (image.slot / name).read_bytes(), name
    for one, other, unsigned in (
        (again.uki.parent, image.uki.parent, "uki.unsigned.efi"),
        (again.first_stage, image.first_stage, "first.unsigned.efi"),
    ):
        assert (one / unsigned).read_bytes() == (other / unsigned).read_bytes()
