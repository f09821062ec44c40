"""`python -m image.build`: from a commit to a flashable disk image and an update bundle.

    base root ─┐                       ┌─ slot (squashfs + verity) ─┐
    build root ┼─ product ─ tree ──────┤                            ├─ UKI ─ disk, bundle
    wheels ────┘                       └─ initrd ───────────────────┘

Needs Debian's mmdebstrap, squashfs-tools, cryptsetup-bin, dosfstools, mtools, sbsigntool, binutils, e2fsprogs, fdisk, cpio, zstd, kmod.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from image import boot, disk, tree
from image.graph import Graph, digest, run

HERE = Path(__file__).parent
COMMAND_LINE = "switchroom.roothash={hash} console=tty0 console=ttyS0,115200 panic=10 ro systemd.volatile=state systemd.gpt_auto=0 gpt quiet loglevel=4"
COMPATIBLE = "switchroom-{board}"


def source_tree(out: Path) -> None:
    """What the wheel is built from: the tracked files of the checkout, built web assets included."""
    names = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "appliance",
            "media_core",
            "webui",
            "requirements",
            "pyproject.toml",
            "setup.py",
            "README.md",
            "LICENSE",
        ],
        capture_output=True,
        check=True,
    ).stdout
    for name in [*filter(None, names.decode().split("\0")), *map(str, Path("webui/static/vendor").rglob("*"))]:
        if Path(name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, out / name)


def build(board_name: str, out: Path, cache: Path, tries: int) -> dict[str, Path]:
    """Build everything for a board; returns the files made."""
    board = tomllib.loads((HERE / "boards" / f"{board_name}.toml").read_text())
    graph = Graph(cache / board_name)
    date = int(run("git", "log", "-1", "--format=%ct").strip())
    version = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    code = digest(HERE / "tree.py")
    packages = ",".join([tree.package_list(HERE / "packages.txt"), board["kernel"], *board["libraries"]])

    base = graph.step(
        "base",
        digest(packages, tree.SUITE, *tree.DPKG_OPTIONS),
        lambda work: tree.bootstrap(work, packages, board["architecture"], 1_700_000_000),
    )
    build_packages = ",".join([tree.BUILD_PACKAGES, *(["libipsec-mb-dev"] if board["libraries"] else [])])
    compiler = graph.step(
        "compiler",
        digest(build_packages, tree.SUITE, *tree.DPKG_OPTIONS),
        lambda work: tree.bootstrap(work, build_packages, board["architecture"], 1_700_000_000),
    )
    requirements = Path("requirements/image.txt")
    wheelhouse = graph.step(
        "wheels",
        digest(requirements, board["python_platform"]),
        lambda work: tree.wheels(work, requirements, board["python_platform"]),
    )
    source = graph.step(
        "source",
        digest(
            run("git", "rev-parse", "HEAD"),
            run("git", "status", "--porcelain"),
            str(time.time_ns()) if run("git", "status", "--porcelain").strip() else "",
        ),
        source_tree,
    )
    key = digest(source)
    product = graph.step(
        "product",
        digest(key, wheelhouse.name, compiler.name),
        lambda work: tree.product(work, compiler / "root", wheelhouse, source, date),
    )
    keys = graph.step("keys", "test", boot.signing_keys)
    box = {"compatible": COMPATIBLE.format(board=board_name)}
    root_key = digest(
        product.name, base.name, HERE / "overlay", str(board["prune"]), version, str(date), code, str(box)
    )
    root = graph.step(
        "tree",
        root_key,
        lambda work: tree.compose(
            work, base / "root", product, HERE / "overlay", board["prune"], version, date, box, keys / "bundle.pub"
        ),
    )
    initrd = graph.step(
        "initrd",
        digest(base.name, HERE / "initrd", str(board["initrd_modules"]), code),
        lambda work: tree.initrd(work, base / "root", HERE / "initrd/init", board["initrd_modules"], 1_700_000_000),
    )

    def make_slot(work: Path) -> None:
        (work / "roothash").write_text(tree.slot(work, root / "root", version, date))

    slot = graph.step("slot", root_key, make_slot)
    root_hash = (slot / "roothash").read_text()
    loader = graph.step("loader", digest(HERE / "boot.py"), lambda work: boot.loader(work, board["architecture"]))
    kernel = next((base / "root/boot").glob(board["kernel_file"]))
    uki = graph.step(
        "uki", digest(root_hash, initrd.name, loader.name, COMMAND_LINE),
        lambda work: boot.uki(work, loader / board["efi_stub"], kernel, initrd / "initrd", root / "root/usr/lib/os-release", COMMAND_LINE.format(hash=root_hash), keys, date),
    )  # fmt: skip

    def make_disk(work: Path) -> None:
        esp = disk.esp(
            work,
            board["boot_file"],
            loader / "usr/lib/systemd/boot/efi" / board["loader"],
            boot.LOADER_CONF,
            {f"switchroom_{version}+{tries}.efi" if tries else f"switchroom_{version}.efi": uki / "uki.efi"},
            date,
        )
        parts = {"esp": esp, "switchroom-root-a": slot / "root.img", "switchroom-verity-a": slot / "root.verity",
                 "switchroom-state": disk.ext4(work / "state.img", "switchroom-state", 4096), "switchroom-media": disk.ext4(work / "media.img", "switchroom-media", 512)}  # fmt: skip
        types = {
            "esp": disk.ESP_TYPE,
            **{f"switchroom-{kind}-{side}": board[f"{kind}_type"] for kind in ("root", "verity") for side in "ab"},
        }
        disk.disk(work / "switchroom.img", parts, types)
        run(
            "qemu-img",
            "convert",
            "-c",
            "-o",
            "compression_type=zstd",
            "-m",
            "2",
            "-O",
            "qcow2",
            work / "switchroom.img",
            work / "switchroom.qcow2",
        )
        for part in ("esp.img", "state.img", "media.img"):
            (work / part).unlink()

    whole = graph.step("disk", digest(uki.name, slot.name, HERE / "disk.py", str(tries)), make_disk)
    update = graph.step(
        "bundle", digest(uki.name, slot.name, HERE / "disk.py"),
        lambda work: disk.bundle(work, version=version, floor="0.1.0", compatible=COMPATIBLE.format(board=board_name), root_hash=root_hash,
                                 parts={"root.img": slot / "root.img", "root.verity": slot / "root.verity", "uki.efi": uki / "uki.efi"}, key=keys / "bundle.key"),
    )  # fmt: skip

    def compress(work: Path) -> None:
        run(
            "zstd",
            "-q",
            "-T0",
            "-6",
            whole / "switchroom.img",
            "-o",
            work / f"switchroom-{version}-{board_name}.img.zst",
        )

    packed = graph.step("compressed", whole.name, compress)
    out.mkdir(parents=True, exist_ok=True)
    made = {
        "img": next(packed.iterdir()),
        "qcow2": whole / "switchroom.qcow2",
        "update": next(update.glob("*.update")),
        "product": next(product.glob("*.whl")),
    }
    for file in made.values():
        shutil.copy(file, out / file.name)
    return {name: out / file.name for name, file in made.items()} | {
        "raw": whole / "switchroom.img",
        "slot": slot,
        "keys": keys,
        "tree": root / "root",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--board", default="x86-64", choices=sorted(file.stem for file in (HERE / "boards").glob("*.toml"))
    )
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--cache", type=Path, default=Path("build/image"))
    arguments = parser.parse_args()
    started = time.monotonic()
    made = build(arguments.board, arguments.out, arguments.cache.absolute(), tries=0)
    for name, file in made.items():
        print(f"  {name:<9} {file}", file=sys.stderr)
    print(f"image built in {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
