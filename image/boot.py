"""What the firmware loads: our first stage, the loader, and the unified kernel image (kernel, initrd, command line with the root hash,
signed)."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

from image.graph import run
from image.tree import sources

LOADER_SUITE = "forky"
LOADER_FOLDER = "EFI/systemd"
# The first Debian release whose systemd-boot knows `reboot-on-error`.
# `reboot-on-error no`: it comes back to the first stage when the kernel image that it chose cannot be loaded (image/first_stage/first.c).
# `auto-entries no`: it would list the first stage as another system.
# `secure-boot-enroll manual`: keys are enrolled from the menu (a key held at power-on) while the firmware is in set-up mode, never by itself.
LOADER_CONF = (
    "timeout 0\neditor no\nreboot-on-error no\nauto-entries no\nauto-firmware no\nsecure-boot-enroll manual\n"
)
OWNER = "b6f6a5c6-0c0a-4a3e-9f1e-3d5f6a7c8e90"  # of the keys we enrol; any GUID of one's own
VARIABLES = ("PK", "KEK", "db")
# A program that finds its addresses by itself wherever it is loaded, and needs nothing around it (image/first_stage/first.lds).
FREESTANDING = (
    "-std=c11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fpie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
    "-fno-ident", "-fno-tree-loop-distribute-patterns", "-mgeneral-regs-only", "-nostdlib", "-pie",
    "-Wl,--no-dynamic-linker,--build-id=none,-z,text,-T,first.lds",
)  # fmt: skip


def loader(out: Path, architecture: str) -> None:
    """systemd-boot, stub included, of the suite that has reboot-on-error, unpacked into `out` as a small root of its own."""
    state = out / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(sources(LOADER_SUITE))
    options = [
        "-o", f"Dir::State={state}", "-o", f"Dir::State::status={state}/status", "-o", f"Dir::Cache={state}", "-o", f"Dir::Etc::sourcelist={state}/sources.list",
        "-o", "Dir::Etc::sourceparts=-", "-o", f"APT::Architecture={architecture}", "-o", "APT::Sandbox::User=root", "-qq",
    ]  # fmt: skip
    run("apt-get", *options, "update")
    run("apt-get", *options, "download", "systemd-boot-efi", cwd=state)
    package = next(state.glob("systemd-boot-efi_*.deb"))
    version = package.name.split("_")[1]
    if int(re.split(r"\D", version)[0]) < 262:
        raise SystemExit(f"systemd-boot {version} has no reboot-on-error")
    run("dpkg-deb", "-x", package, out)
    (out / "var/lib/dpkg").mkdir(parents=True)  # for the bill of materials
    status = run("dpkg-deb", "-f", package)
    (out / "var/lib/dpkg/status").write_text(f"{status.rstrip()}\nStatus: install ok installed\n")
    shutil.rmtree(state)


def signing_keys(out: Path) -> None:
    """Throw-away keys of this build tree: the UKI's (X.509, also enrollable) and the update bundle's (Ed25519). Release keys never come here."""
    run("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-sha256", "-nodes", "-days", "3650", "-subj", "/CN=Switchroom test image/",
        "-keyout", out / "uki.key", "-out", out / "uki.crt")  # fmt: skip
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", out / "bundle.key")
    run("openssl", "pkey", "-in", out / "bundle.key", "-pubout", "-out", out / "bundle.pub")


def sign(file: Path, signed: Path, keys: Path) -> Path:
    """An EFI program, signed for Secure Boot."""
    run("sbsign", "--key", keys / "uki.key", "--cert", keys / "uki.crt", "--output", signed, file)
    return signed


def enrolment(out: Path, keys: Path) -> None:
    """`out`/PK.auth, KEK.auth, db.auth: what the boot loader puts into a firmware in set-up mode, so that from then on it starts only
    what was signed with these keys."""
    signer = ("-c", keys / "uki.crt", "-k", keys / "uki.key")
    run("cert-to-efi-sig-list", "-g", OWNER, keys / "uki.crt", out / "list.esl")
    for name in VARIABLES:
        run("sign-efi-sig-list", "-g", OWNER, *signer, name, out / "list.esl", out / f"{name}.auth")
    (out / "list.esl").unlink()


def uki(
    out: Path, stub: Path, kernel: Path, initrd: Path, release: Path, command_line: str, keys: Path, source_date: int,
    objcopy: str = "objcopy",
) -> Path:  # fmt: skip
    """`out`/uki.efi, signed; out/uki.unsigned.efi is the same bytes for the same inputs. objcopy: one that knows the board's programs."""
    (out / "cmdline").write_text(command_line + "\0")
    alignment, end = section_end(stub)
    arguments: list[str | Path] = []
    for name, file in ((".osrel", release), (".cmdline", out / "cmdline"), (".initrd", initrd), (".linux", kernel)):
        end = -(-end // alignment) * alignment
        arguments += ["--add-section", f"{name}={file}", "--change-section-vma", f"{name}={end:#x}"]
        end += file.stat().st_size
    unsigned = out / "uki.unsigned.efi"
    run(objcopy, *arguments, stub, unsigned)
    same_always(unsigned, source_date)
    return sign(unsigned, out / "uki.efi", keys)


def same_always(program: Path, date: int) -> None:
    """Take away what objcopy writes into an EFI program that depends on when it ran."""
    data = bytearray(program.read_bytes())
    header = struct.unpack_from("<I", data, 0x3C)[0]
    struct.pack_into("<I", data, header + 8, date)  # the time of the build
    struct.pack_into("<I", data, header + 24 + 64, 0)  # the checksum, not looked at by any firmware
    program.write_bytes(data)


def first_stage(out: Path, build_root: Path, source: Path, prefix: str, flags: list[str], kind: str, loader: str) -> Path:
    """`out`/first.unsigned.efi: our own program that starts the loader, compiled in the build root. No library is in it.

    prefix: of the compiler's name; flags, kind: the board's way of calling and its kind of EFI program; loader: on the boot partition.
    """
    work = build_root / "first"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work)
    path = "\\\\" + loader.replace("/", "\\\\")  # in C
    inside = ("chroot", build_root, "/usr/bin/env", "-i", "-C", "/first", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8")
    run(*inside, f"{prefix}gcc", *FREESTANDING, *flags, f'-DLOADER=u"{path}"', "-o", "first.elf", "first.c")
    sections = [word for name in (".text", ".data", ".reloc") for word in ("-j", name)]
    run(*inside, f"{prefix}objcopy", "-S", *sections, "-O", kind, "--subsystem=efi-app", "first.elf", "first.efi")
    unsigned = Path(shutil.copy(work / "first.efi", out / "first.unsigned.efi"))
    same_always(unsigned, 0)
    shutil.rmtree(work)
    return unsigned


def section_end(stub: Path) -> tuple[int, int]:
    """SectionAlignment and the first free virtual address of a PE image, absolute as objcopy wants it."""
    data = stub.read_bytes()
    header = struct.unpack_from("<I", data, 0x3C)[0]
    sections, optional_size = (
        struct.unpack_from("<H", data, header + 6)[0],
        struct.unpack_from("<H", data, header + 20)[0],
    )
    base = struct.unpack_from("<Q", data, header + 24 + 24)[0]
    alignment = struct.unpack_from("<I", data, header + 24 + 32)[0]
    table = header + 24 + optional_size
    ends = [sum(struct.unpack_from("<II", data, table + 40 * number + 8)) for number in range(sections)]
    return alignment, base + max(ends)
