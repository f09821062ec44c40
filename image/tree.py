"""The root tree: Debian 13 packages, our wheel on the image's own Python, the overlay. And the parts cut from it: slot and initrd.

Everything is made from files only: no mount, no loop device, no container. Time stamps are those of the commit, so two
builds of one commit give the same slot byte for byte.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from image import sbom
from image.graph import run

SUITE = "trixie"
HEADERS = ("libssl-dev", "liburing-dev", "libopus-dev", "libsndfile1-dev", "libspandsp-dev")
DPKG_OPTIONS = [
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/etc/kernel/postinst.d/initramfs-tools",  # we make our own initrd
    "--aptopt=Apt::Install-Recommends false",
]
PRODUCT = "opt/switchroom"
INITRD_PROGRAMS = ("veritysetup", "e2fsck", "mke2fs", "blkid", "resize2fs", "sfdisk")
# No login, no shell, no maintenance prompt anywhere; and what a read-only box has no use for.
MASKED = (
    "getty@.service", "serial-getty@.service", "autovt@.service", "console-getty.service", "container-getty@.service", "emergency.service",
    "rescue.service", "debug-shell.service", "systemd-firstboot.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "systemd-networkd-wait-online.service", "systemd-pcrphase.service", "chrony-wait.service",
    "systemd-boot-update.service", "systemd-boot-random-seed.service", "systemd-update-utmp.service", "systemd-hibernate-clear.service",
    "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-journal-catalog-update.service", "systemd-hwdb-update.service",
    "ldconfig.service", "systemd-update-done.service", "systemd-sysusers.service",
)  # fmt: skip


def sources(suite: str) -> str:
    """The machine's own package sources, for another suite: whatever mirror works here works for the build."""
    places = [
        *Path("/etc/apt/sources.list.d").glob("*.sources"),
        Path("/etc/apt/sources.list"),
        *Path("/etc/apt/sources.list.d").glob("*.list"),
    ]
    uris = [
        found
        for place in places
        if place.exists()
        for found in re.findall(r"^(?:URIs:|deb(?: \[.*?\])?)\s+(\S+)", place.read_text(), re.MULTILINE)
        if "security" not in found
    ]
    if not uris:
        raise SystemExit("this machine has no Debian package source to build from")
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return f"deb [signed-by={key}] {uris[0]} {suite} main\n"


def runnable(architecture: str, machine: str) -> None:
    """The root's packages are set up by their own programs; those of another architecture need the kernel's help."""
    if machine == os.uname().machine:
        return
    test = shutil.which("arch-test")
    if test is None or subprocess.run([test, architecture], capture_output=True, check=False).returncode:
        raise SystemExit(
            f"Programs for {architecture} cannot be run here. With the packages qemu-user-static and arch-test, as root:\n"
            f"  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc\n"
            f"  cat /usr/lib/binfmt.d/qemu-{machine}.conf > /proc/sys/fs/binfmt_misc/register"
        )


@dataclass(frozen=True, slots=True)
class Compiler:
    """The root in which the core is compiled: it runs here, what comes out runs on the board. native: of this machine, as Debian names it."""

    native: str
    architecture: str
    machine: str
    headers: tuple[str, ...]  # Debian packages

    @property
    def crossing(self) -> bool:
        return self.native != self.architecture

    @property
    def architectures(self) -> str:
        return f"{self.native},{self.architecture}" if self.crossing else self.native

    @property
    def packages(self) -> str:
        if not self.crossing:
            return ",".join(("gcc", "libc6-dev", "python3-dev", "python3-venv", *self.headers))
        foreign = [f"{name}:{self.architecture}" for name in ("libc6-dev", "libpython3-dev", *self.headers)]
        return ",".join((f"gcc-{self.machine}-linux-gnu", "python3-venv", *foreign))

    @property
    def prefix(self) -> str:
        """Before the names of gcc and its tools."""
        return f"{self.machine}-linux-gnu-" if self.crossing else ""

    @property
    def environment(self) -> dict[str, str]:
        """What makes Python build and install for the board: its wheels' names and its compiler come from here."""
        if not self.crossing:
            return {}
        triplet = f"{self.machine}-linux-gnu"
        return {"_PYTHON_HOST_PLATFORM": f"linux-{self.machine}", "_PYTHON_SYSCONFIGDATA_NAME": f"_sysconfigdata__{triplet}"}


def bootstrap(out: Path, packages: str, architectures: str, source_date: int) -> None:
    """A Debian root in `out`/root from the named packages."""
    (out / "sources.list").write_text(sources(SUITE))
    run(
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", f"--architectures={architectures}", f"--include={packages}",
        *DPKG_OPTIONS, SUITE, out / "root", out / "sources.list",
        env={**os.environ, "SOURCE_DATE_EPOCH": str(source_date)},
    )  # fmt: skip


def package_list(file: Path) -> str:
    return ",".join(line.split("#")[0].strip() for line in file.read_text().splitlines() if line.split("#")[0].strip())


def wheels(out: Path, requirements: Path, platform: str) -> None:
    """The locked dependencies as wheels for the image's Python, checked against their hashes."""
    run(
        ".venv/bin/pip", "download", "-q", "--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.13", "--implementation=cp",
        f"--platform={platform}", "--platform=manylinux2014_" + platform.rsplit("manylinux_2_28_")[-1], "--platform=any", "-d", out, "-r", requirements,
    )  # fmt: skip


def product(
    out: Path, build_root: Path, wheelhouse: Path, source: Path, source_date: int, environment: dict[str, str]
) -> None:
    """Our wheel, compiled in the build root against the image's Python and libraries and installed with its dependencies into `out`/opt/switchroom.
    environment: of a build for another architecture."""
    work = build_root / "build"
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(build_root / PRODUCT, ignore_errors=True)
    shutil.copytree(source, work / "source")
    shutil.copytree(wheelhouse, work / "wheels")
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": "/build", "SOURCE_DATE_EPOCH": str(source_date), "LC_ALL": "C.UTF-8",
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/build/wheels", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "CFLAGS": "-ffile-prefix-map=/build=.",
        "PYTHONHASHSEED": "0", **environment,
    }  # fmt: skip

    def inside(*command: str) -> None:
        run(
            "chroot",
            build_root,
            "/usr/bin/env",
            "-i",
            *[f"{name}={value}" for name, value in environment.items()],
            *command,
        )

    inside("python3", "-m", "venv", f"/{PRODUCT}")
    inside(f"/{PRODUCT}/bin/pip", "install", "-q", "setuptools", "wheel", "cython")
    inside(
        f"/{PRODUCT}/bin/pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "/build/dist", "/build/source"
    )
    locked = [
        line.split("==")[0] for line in (source / "requirements/run.txt").read_text().splitlines() if line[:1].isalnum()
    ]
    inside(f"/{PRODUCT}/bin/pip", "install", "-q", "--no-deps", "--no-compile", *locked)
    wheel = next((work / "dist").glob("*.whl"))
    inside(f"/{PRODUCT}/bin/pip", "install", "-q", "--no-deps", "--no-compile", f"/build/dist/{wheel.name}")
    inside(f"/{PRODUCT}/bin/pip", "uninstall", "-q", "-y", "setuptools", "wheel", "cython", "pip")
    # -f: what was imported meanwhile has compiled files already, with the time of this build in them
    inside(
        "python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", "/", f"/{PRODUCT}/lib"
    )
    shutil.copytree(build_root / PRODUCT, out / PRODUCT, symlinks=True)
    shutil.copy(wheel, out / wheel.name)
    shutil.rmtree(work)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the finished tree is told about itself."""

    version: str
    source_date: int
    compatible: str
    key: Path  # public, of the update bundles it trusts
    prune: tuple[str, ...]  # driver folders no such board needs
    boot_file: str  # the first stage's name on the boot partition
    loader_file: str  # the loader's
    first_stage: Path  # its sources
    loader: Path  # the root of the loader's package


WASTE = (
    "var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/ldconfig", "usr/share/info", "usr/lib/python3.13/test", "usr/share/bash-completion",
    "boot", "etc/ssh", "etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id", "etc/systemd/system/default.target",
    "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock",
)  # fmt: skip
FOLDERS = ("var/log", "state", "media", "efi", "boot", "usr/lib/switchroom/keys", "etc/systemd/system-generators")


def compose(out: Path, base: Path, product_tree: Path, overlay: Path, facts: Facts) -> None:
    """The finished root tree in `out`/root: base, product, overlay; what no box needs and what differs per build is taken away."""
    root = out / "root"
    run("cp", "-a", "--reflink=auto", base, root)
    run("cp", "-a", f"{product_tree}/opt/.", root / "opt")
    run("cp", "-a", f"{overlay}/.", root)
    for kernel in (root / "usr/lib/modules").iterdir():
        for name in facts.prune:
            shutil.rmtree(kernel / "kernel" / name, ignore_errors=True)
        run("depmod", "-b", root, kernel.name)
    run("systemd-sysusers", f"--root={root}", env={**os.environ, "SOURCE_DATE_EPOCH": str(facts.source_date)})
    trust_compiled(root)
    for name in WASTE:
        place = root / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    (root / "etc/hostname").write_text("switchroom\n")
    (root / "usr/lib/os-release").write_text(
        f'ID=switchroom\nID_LIKE=debian\nNAME="Switchroom"\nPRETTY_NAME="Switchroom {facts.version}"\n'
        f"VERSION_ID={facts.version}\nIMAGE_VERSION={facts.version}\n"
    )
    (root / "usr/lib/switchroom/box.json").write_text(json.dumps({"compatible": facts.compatible}) + "\n")
    shutil.copy(facts.key, root / "usr/lib/switchroom/keys/1-current.pub")
    units = root / "etc/systemd/system"
    run("systemctl", f"--root={root}", "preset-all", "--preset-mode=enable-only")
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (root / "etc/systemd/system-generators/systemd-getty-generator").symlink_to("/dev/null")
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    sbom.write(root, PRODUCT, facts.version, facts.loader, boot_files(base, facts))
    date = f"@{facts.source_date}"
    run("find", root, "-newermt", date, "-exec", "touch", "-h", "-d", date, "{}", "+")


def boot_files(base: Path, facts: Facts) -> dict[str, set[str]]:
    """What lies on the boot partition and in the kernel image, and what it is made from: names of packages, of our own sources and of
    one another."""
    loader = {row["name"] for row in sbom.debian(facts.loader)}
    kernel = sbom.owners(base, set(base.glob("boot/vmlinuz-*")))
    initrd = sbom.owners(base, initrd_files(base)) | kernel
    own = {f"image/{facts.first_stage.name}/{file.name}" for file in facts.first_stage.iterdir()}
    return {
        **{name: set() for name in sorted(own)},
        f"EFI/BOOT/{facts.boot_file}": own,
        facts.loader_file: loader,
        f"EFI/Linux/switchroom_{facts.version}.efi": loader | kernel | {"initrd"},
        "initrd": initrd,
    }


def trust_compiled(root: Path) -> None:
    """No start reads the sources of Python's library to see whether what was compiled from them still fits: nothing can change here
    (PEP 552: a pyc's flag word, bit 1 of a hash-based one)."""
    for compiled in (root / "usr/lib/python3.13").rglob("*.pyc"):
        with compiled.open("r+b") as file:
            file.seek(4)
            if file.read(1) == b"\3":
                file.seek(4)
                file.write(b"\1")


def slot(out: Path, root: Path, source_date: int) -> str:
    """squashfs `root.img` and hash tree `root.verity`; returns the root hash. The tree's superblock UUID carries the hash's first
    half: that is how the initrd finds its slot, wherever it was written."""
    image, verity = out / "root.img", out / "root.verity"
    environment = {
        name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"
    }  # clashes with the options
    run(
        "mksquashfs", root, image, "-comp", "zstd", "-Xcompression-level", "9", "-all-time", str(source_date), "-mkfs-time", str(source_date),
        "-noappend", "-quiet", "-no-progress", env=environment,
    )  # fmt: skip
    salt = run("sha256sum", image).split()[0]
    text = run("veritysetup", "format", f"--salt={salt}", "--uuid=00000000-0000-0000-0000-000000000000", image, verity)
    found = re.search(r"Root hash:\s*([0-9a-f]{64})", text)
    assert found is not None, text
    with verity.open("r+b") as file:
        file.seek(16)
        file.write(bytes.fromhex(found.group(1)[:32]))
    return found.group(1)


def libraries_of(root: Path, binary: Path) -> set[Path]:
    """The shared objects a binary of the tree needs, and its loader, all inside the tree."""
    seen: set[Path] = set()
    todo = [binary]
    folders = [*root.glob("usr/lib/*-linux-gnu"), root / "usr/lib"]
    while todo:
        text = run("readelf", "-ld", todo.pop())
        places = [root / "usr" / name for name in re.findall(r"interpreter: /(\S+?)\]", text)]
        for name in re.findall(r"\(NEEDED\).*\[(.+?)\]", text):
            places += [folder / name for folder in folders if (folder / name).exists()][:1]
        for place in places:
            if place not in seen:
                seen.add(place)
                todo.append(place)
    return seen


def initrd_files(root: Path) -> set[Path]:
    """The programs of the initrd, where the root has them, and what they need to run."""
    programs = {root / "usr/sbin" / name for name in INITRD_PROGRAMS}
    return {root / "usr/bin/busybox", *programs}.union(*(libraries_of(root, program) for program in programs))


def initrd(out: Path, root: Path, init: Path, modules: list[str], source_date: int) -> None:
    """Our own small initrd: busybox, veritysetup, e2fsprogs, the disk drivers in load order, and the init script."""
    tree = out / "tree"
    for folder in ("bin", "sbin", "lib", "lib64", "dev", "proc", "sys", "run", "root", "state", "etc"):
        (tree / folder).mkdir(parents=True)
    for file in initrd_files(root):
        place = tree / file.relative_to(root / "usr")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    kernel = next((root / "usr/lib/modules").iterdir())
    (tree / "modules").mkdir()
    order = load_order(kernel, modules)
    for number, module in enumerate(order):
        target = tree / "modules" / f"{number:03d}-{module.name.removesuffix('.xz')}"
        target.write_bytes(
            subprocess.run(["xz", "-dc", module], capture_output=True, check=True).stdout
            if module.suffix == ".xz"
            else module.read_bytes()
        )
    shutil.copy(init, tree / "init")
    (tree / "init").chmod(0o755)
    run("find", tree, "-exec", "touch", "-h", "-d", f"@{source_date}", "{}", "+")
    names = sorted(
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if path.is_symlink() or stat.S_ISREG(path.lstat().st_mode) or path.is_dir()
    )
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--reproducible", "--quiet", "-R", "0:0"],
        cwd=tree,
        input="\n".join(names).encode(),
        capture_output=True,
        check=True,
    ).stdout
    (out / "initrd").write_bytes(
        subprocess.run(["zstd", "-q", "-19", "-T0", "-c"], input=packed, capture_output=True, check=True).stdout
    )
    shutil.rmtree(tree)


def load_order(kernel: Path, wanted: list[str]) -> list[Path]:
    """Module files in an order in which each finds what it needs; built-in and absent ones are left out."""
    needs: dict[str, list[str]] = {}
    for line in (kernel / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
    by_name = {Path(file).name.split(".ko")[0].replace("-", "_"): file for file in needs}
    order: list[str] = []

    def add(file: str) -> None:
        for needed in reversed(needs[file]):
            add(needed)
        if file not in order:
            order.append(file)

    for name in wanted:
        if (found := by_name.get(name.replace("-", "_"))) is not None:
            add(found)
    return [kernel / file for file in order]
