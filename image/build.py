"""`python -m image.build`: from a commit to a flashable disk image and an update bundle.

    base root ─┐                       ┌─ slot (squashfs + verity) ─┐
    build root ┼─ product ─ tree ──────┤                            ├─ UKI ─ disk, bundle
    wheels ────┘                       └─ initrd ───────────────────┘

Needs the Debian packages of requirements/debian-image.txt. `--tries` and `--release` make the variants that the tests start from.
"""

from __future__ import annotations

import argparse
import inspect
import os
import shutil
import sys
import time
import tomllib
from functools import cached_property
from pathlib import Path

from image import boot, disk, tree
from image.graph import Graph, digest, run

HERE = Path(__file__).parent
COMMAND_LINE = "switchroom.roothash={hash} console=tty0 console={console} panic=10 ro systemd.volatile=state systemd.gpt_auto=0 gpt transparent_hugepage=madvise quiet loglevel=4"
SOURCES = ("appliance", "media_core", "webui", "requirements", "pyproject.toml", "setup.py", "README.md", "LICENSE")
MAKER_KEY = Path("appliance/config/maker.pem")  # public; where there is one, this build takes licences that its other half has signed
FIRST_STAGE = HERE / "first_stage"
EPOCH = 1_700_000_000  # of what does not depend on the commit


def source_files() -> list[Path]:
    """What the wheel is built from: the tracked files of the checkout, built web assets and the maker's key included."""
    names = run("git", "ls-files", "-z", *SOURCES)
    assets = sorted(Path("webui/static/vendor").rglob("*"))
    if not assets:
        raise SystemExit("the web assets are not built: `make build` first")
    every = [*map(Path, filter(None, names.split("\0"))), *assets, MAKER_KEY]
    return sorted({file for file in every if file.is_file()})


def copy_sources(out: Path) -> None:
    for file in source_files():
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, out / file)


class Image:
    """The parts for one board, each made when it is first asked for and kept in the graph's cache."""

    def __init__(self, board: str, cache: Path) -> None:
        self.name = board
        self.board = tomllib.loads((HERE / "boards" / f"{board}.toml").read_text())
        self.graph = Graph(cache / board)
        self.version = str(tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"])
        self.date = int(run("git", "log", "-1", "--format=%ct").strip())
        self.compatible = f"switchroom-{board}"
        self.loader_file = f"{boot.LOADER_FOLDER}/{self.board['loader']}"  # on the boot partition

    def root_of(self, name: str, packages: str, architectures: str) -> Path:
        key = digest(packages, tree.SUITE, *tree.DPKG_OPTIONS)
        return self.graph.step(name, key, lambda work: tree.bootstrap(work, packages, architectures, EPOCH))

    @cached_property
    def base(self) -> Path:
        names = [tree.package_list(HERE / "packages.txt"), self.board["kernel"], *self.board["libraries"]]
        tree.runnable(self.board["architecture"], self.board["machine"])
        return self.root_of("base", ",".join(names), self.board["architecture"])

    @cached_property
    def using(self) -> tree.Compiler:
        native = run("dpkg", "--print-architecture").strip()
        headers = (*tree.HEADERS, *self.board["headers"])
        return tree.Compiler(native, self.board["architecture"], self.board["machine"], headers)

    @cached_property
    def compiler(self) -> Path:
        return self.root_of("compiler", self.using.packages, self.using.architectures)

    @cached_property
    def product(self) -> Path:
        using, compiler = self.using, self.compiler
        requirements, platform = Path("requirements/image.txt"), self.board["python_platform"]
        wheels = self.graph.step(
            "wheels", digest(requirements, platform), lambda work: tree.wheels(work, requirements, platform)
        )
        files = source_files()
        source = self.graph.step("source", digest(*map(str, files), *files), copy_sources)
        # of no commit's date: it is kept over those that do not touch it, and has to be what a build from nothing makes
        key = digest(
            digest(source), wheels.name, compiler.name, inspect.getsource(tree.product), str(using.environment), str(EPOCH)
        )
        return self.graph.step(
            "product",
            key,
            lambda work: tree.product(work, compiler / "root", wheels, source, EPOCH, using.environment),
        )

    @cached_property
    def keys(self) -> Path:
        return self.graph.step("keys", "test", boot.signing_keys)

    @cached_property
    def tree(self) -> Path:
        facts = tree.Facts(
            self.version, self.date, self.compatible, self.keys / "bundle.pub", tuple(self.board["prune"]),
            self.board["boot_file"], self.loader_file, FIRST_STAGE, self.loader,
        )  # fmt: skip
        sources = (HERE / "tree.py", HERE / "sbom.py", FIRST_STAGE)
        key = digest(self.product.name, self.base.name, HERE / "overlay", str(facts), *sources)
        return self.graph.step(
            "tree", key, lambda work: tree.compose(work, self.base / "root", self.product, HERE / "overlay", facts)
        )

    @cached_property
    def slot(self) -> Path:
        def make(work: Path) -> None:
            (work / "roothash").write_text(tree.slot(work, self.tree / "root", self.date))

        return self.graph.step("slot", self.tree.name.split("-", 1)[1], make)

    @cached_property
    def initrd(self) -> Path:
        modules = self.board["initrd_modules"]
        return self.graph.step(
            "initrd",
            digest(self.base.name, HERE / "initrd", str(modules), HERE / "tree.py"),
            lambda work: tree.initrd(work, self.base / "root", HERE / "initrd/init", modules, EPOCH),
        )

    @cached_property
    def loader(self) -> Path:
        return self.graph.step(
            "loader", digest(HERE / "boot.py"), lambda work: boot.loader(work, self.board["architecture"])
        )

    @cached_property
    def first_stage(self) -> Path:
        """first.efi: what the firmware starts, and what starts the loader."""
        key = digest(self.compiler.name, FIRST_STAGE, str(self.board), self.keys / "uki.crt", HERE / "boot.py")
        return self.graph.step("first", key, self.compile_first_stage)

    def compile_first_stage(self, work: Path) -> None:
        """first.efi in `work`, signed; first.unsigned.efi is the same bytes for the same inputs."""
        board, root = self.board, self.compiler / "root"
        unsigned = boot.first_stage(
            work, root, FIRST_STAGE, self.using.prefix, board["efi_flags"], board["efi_format"], self.loader_file
        )
        boot.sign(unsigned, work / "first.efi", self.keys)

    @cached_property
    def boot_loader(self) -> Path:
        """The loader, signed as the kernel images are."""
        name = str(self.board["loader"])
        plain = self.loader / "usr/lib/systemd/boot/efi" / name
        key = digest(self.loader.name, self.keys / "uki.crt")
        return self.graph.step("signed", key, lambda work: boot.sign(plain, work / name, self.keys)) / name

    @cached_property
    def enrolment(self) -> Path:
        """PK.auth, KEK.auth and db.auth, for who wants Secure Boot with these keys."""
        key = digest(self.keys / "uki.crt", HERE / "boot.py")
        return self.graph.step("enrolment", key, lambda work: boot.enrolment(work, self.keys))

    @cached_property
    def root_hash(self) -> str:
        return (self.slot / "roothash").read_text()

    @property
    def command_line(self) -> str:
        return COMMAND_LINE.format(hash=self.root_hash, console=self.board["console"])

    def kernel_image(self, work: Path, command_line: str) -> Path:
        """uki.efi in `work`, of this system and with this command line."""
        kernel = next((self.base / "root/boot").glob(self.board["kernel_file"]))
        return boot.uki(
            work, self.loader / self.board["efi_stub"], kernel, self.initrd / "initrd", self.tree / "root/usr/lib/os-release",
            command_line, self.keys, self.date, self.board["objcopy"],
        )  # fmt: skip

    @cached_property
    def uki(self) -> Path:
        key = digest(self.slot.name, self.initrd.name, self.loader.name, self.command_line)
        return self.graph.step("uki", key, lambda work: self.kernel_image(work, self.command_line)) / "uki.efi"

    def esp(self, work: Path, kernels: dict[str, Path], more: str = "") -> Path:
        """A boot partition with these kernel images; `more` lines for the loader's configuration."""
        conf = boot.LOADER_CONF + more
        files = {f"loader/keys/switchroom/{name}.auth": self.enrolment / f"{name}.auth" for name in boot.VARIABLES}
        files |= {f"EFI/Linux/{name}": file for name, file in kernels.items()}
        files[f"EFI/BOOT/{self.board['boot_file']}"] = self.first_stage / "first.efi"
        files[self.loader_file] = self.boot_loader
        return disk.esp(work, conf, files, self.date)

    def write_disk(self, work: Path) -> None:
        """switchroom.img and switchroom.qcow2 in `work`."""
        kernels = {f"switchroom_{self.version}.efi": self.uki}
        parts = {
            "esp": self.esp(work, kernels),
            "switchroom-root-a": self.slot / "root.img",
            "switchroom-verity-a": self.slot / "root.verity",
            "switchroom-state": disk.ext4(work / "state.img", "switchroom-state", 4096),
            "switchroom-media": disk.ext4(work / "media.img", "switchroom-media", 512),
        }
        types = {
            f"switchroom-{kind}-{side}": self.board[f"{kind}_type"] for kind in ("root", "verity") for side in "ab"
        }
        disk.disk(work / "switchroom.img", parts, {"esp": disk.ESP_TYPE, **types})
        for part in ("esp.img", "state.img", "media.img"):
            (work / part).unlink()

    @cached_property
    def disk(self) -> Path:
        sources = (HERE / "disk.py", HERE / "boot.py", HERE / "build.py")
        key = digest(self.uki.parent.name, self.slot.name, self.first_stage.name, *sources)
        return self.graph.step("disk", key, self.write_disk) / "switchroom.img"

    @cached_property
    def qcow2(self) -> Path:
        def make(work: Path) -> None:
            options = ("-c", "-m", "2", "-W", "-o", "compression_type=zstd", "-O", "qcow2")
            run("qemu-img", "convert", *options, self.disk, work / "switchroom.qcow2")

        return self.graph.step("qcow2", self.disk.parent.name, make) / "switchroom.qcow2"

    @cached_property
    def packed(self) -> Path:
        name = f"switchroom-{self.version}-{self.name}.img.zst"
        step = self.graph.step(
            "compressed",
            self.disk.parent.name,
            lambda work: run("zstd", "-q", "-T0", "-3", self.disk, "-o", work / name),
        )
        return step / name

    @cached_property
    def bundle(self) -> Path:
        parts = {"root.img": self.slot / "root.img", "root.verity": self.slot / "root.verity", "uki.efi": self.uki}

        def make(work: Path) -> None:
            disk.bundle(
                work, version=self.version, floor="0.1.0", compatible=self.compatible, root_hash=self.root_hash, parts=parts, key=self.keys / "bundle.key"
            )  # fmt: skip

        made = self.graph.step("bundle", digest(self.uki.parent.name, self.slot.name, HERE / "disk.py"), make)
        return next(made.glob("*.update"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    boards = sorted(file.stem for file in (HERE / "boards").glob("*.toml"))
    parser.add_argument("--board", default="x86-64", choices=boards)
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--cache", type=Path, default=Path("build/image"))
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("The image is built as root: it holds root's files, and its packages are set up in a chroot.")
    started = time.monotonic()
    image = Image(arguments.board, arguments.cache.absolute())
    arguments.out.mkdir(parents=True, exist_ok=True)
    bill = image.tree / "root/usr/share/switchroom/sbom.cdx.json"
    for file in (image.packed, image.qcow2, image.bundle, bill):
        shutil.copy(file, arguments.out / file.name)
        print(f"  {arguments.out / file.name}  {file.stat().st_size / 2**20:.0f} MiB", file=sys.stderr)
    print(f"image built in {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
