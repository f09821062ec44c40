"""A box in QEMU: started from a fresh overlay of a disk, watched on its serial line, ended by its process id.

Emulated (TCG), for KVM may be there and not work; firmware is EDK2's (OVMF, AAVMF). The kernel changes its own code while it starts, and an
emulated processor may go on with what was there before (QEMU 7.2): about one start in ten ends early with "Oops: int3" in sched_clock_cpu, and
the box starts again by itself, some 20 s later. `tsc=unstable` would avoid it, and make every look at the clock slow.
Every wait has a limit and fails with the end of the serial log.
Ports of the guest are forwarded to free ports of 127.0.0.1 while it runs (`forward`), the guest reaches the host as 10.0.2.2. With a `wire` of
its own (tests/image/lan.py) it is plugged into that network instead, and nothing is forwarded.

`save` leaves a running box in its disk as it is, memory included; a `Machine` made from that folder (`like`) goes on from there in seconds.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType

FIRMWARE = Path("/usr/share")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SAVED = "saved"
SCREEN = re.compile(r"Switchroom \S+ +slot ")  # how it begins
# board -> the emulator's words, its firmware and the firmware's empty variables
BOARDS = {
    "x86-64": (("qemu-system-x86_64", "-machine", "q35", "-cpu", "max"), "OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd"),
    # pauth-impdef: the architecture's own algorithm for pointer authentication is slow to emulate
    "arm64": (("qemu-system-aarch64", "-machine", "virt", "-cpu", "max,pauth-impdef=on"), "AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.fd"),
}  # fmt: skip
# The variables that hold the keys can be changed in system management mode only.
SECURE_CODE = "OVMF/OVMF_CODE_4M.secboot.fd"
SECURE = ("-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
# how the box's disk is connected -> the emulator's words
DISKS = {
    "usb": ("-device", "qemu-xhci", "-device", "usb-storage,drive=disk"),
    "sata": ("-device", "ide-hd,bus=ide.0,drive=disk"),
    "nvme": ("-device", "nvme,serial=box,drive=disk"),
}
PATIENCE = 400.0  # seconds; an emulated box on a busy machine is slow


def drive(disk: Path, write_log: Path | None, bus: str) -> list[str]:
    """The box's disk on one of `DISKS`, or on virtio; there with `write_log` each write and flush is recorded there (tests/image/replay.py reads it)."""
    if bus:
        return ["-drive", f"if=none,id=disk,format=qcow2,file={disk}", *DISKS[bus]]
    if write_log is None:
        return ["-drive", f"if=virtio,format=qcow2,file={disk}"]
    write_log.write_bytes(b"")
    inner = {"driver": "qcow2", "cache": {"no-flush": True}, "file": {"driver": "file", "filename": str(disk)}}
    log = {"driver": "file", "filename": str(write_log)}
    node = {"driver": "blklogwrites", "node-name": "logged", "file": inner, "log": log}
    # Not merged: what is merged may have as many parts as the host writes at once, and the log adds one. The write then fails, in the box as
    # "I/O error, dev vda, sector 54776 op 0x1:(WRITE)", and so does the update.
    return ["-blockdev", json.dumps(node), "-device", "virtio-blk-pci,drive=logged,request-merging=off"]


class Machine:
    def __init__(
        self,
        folder: Path,
        disk: Path,
        *,
        memory: int = 1024,
        extra: tuple[str, ...] = (),
        kernel: str = "",
        size: str = "",
        like: Path | None = None,
        write_log: Path | None = None,
        secure: bool = False,
        board: str = "x86-64",
        wire: str = "user",
        bus: str = "",
    ) -> None:
        """`extra`: more words for the emulator; `kernel`: for the kernel's command line."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.disk = folder / "disk.qcow2"
        words_of_board, code, empty = BOARDS[board]
        self.log = folder / "serial.log"
        variables = folder / "variables.qcow2"  # so that they can be saved with the rest
        if like is not None:
            for file in (self.disk, variables):
                subprocess.run(["cp", "--reflink=auto", "--sparse=always", like / file.name, file], check=True)
        elif not self.disk.exists():
            kind = "qcow2" if disk.suffix == ".qcow2" else "raw"
            words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(disk.absolute()), str(self.disk)]
            subprocess.run([*words, *([size] if size else [])], check=True)
            words = [
                "qemu-img",
                "convert",
                "-q",
                "-f",
                "raw",
                "-O",
                "qcow2",
                str(FIRMWARE / empty),
                str(variables),
            ]
            subprocess.run(words, check=True)
        self._seen = 0
        firmware = SECURE_CODE if secure else code
        self.command = [
            *words_of_board, *(SECURE if secure else ()), "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(memory), "-nographic", "-nodefaults",
            "-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE / firmware}", "-drive", f"if=pflash,format=qcow2,file={variables}",
            *drive(self.disk, write_log, bus), "-netdev", f"{wire},id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-rng-pci", "-serial", f"unix:{folder / 'serial'},server=on,wait=off",
            "-monitor", f"unix:{folder / 'monitor'},server=on,wait=off",
            *(("-smbios", f"type=11,value=io.systemd.stub.kernel-cmdline-extra={kernel}") if kernel else ()), *extra, *(["-loadvm", SAVED] if like is not None else []),
        ]  # fmt: skip

    def __enter__(self) -> Machine:
        for name in ("serial", "monitor"):
            (self.folder / name).unlink(missing_ok=True)
        self.started = time.monotonic()
        self._seen = 0
        self.process = subprocess.Popen(["nice", "-n", "15", *self.command], stdin=subprocess.DEVNULL)
        self._said = bytearray()
        self._serial, self._monitor = self._connect("serial"), self._connect("monitor")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.monitor("", PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self._serial.close()
        self._monitor.close()

    def _connect(self, name: str) -> socket.socket:
        path, until = self.folder / name, time.monotonic() + 20
        while True:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(path))
            except OSError:
                made.close()
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return made

    def _read(self) -> None:
        """At once, in a thread: QEMU says things twice to a serial line that is not read."""
        with contextlib.suppress(OSError), self.log.open("wb", buffering=0) as log:
            while block := self._serial.recv(65536):
                self._said += block
                log.write(block)

    def text(self) -> str:
        """All that came over the serial line, without cursor movements."""
        return ESCAPES.sub("", self._said.decode(errors="replace")).replace("\r", "")

    def wait(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """The next place after the last one waited for where the serial line shows `pattern`."""
        until = time.monotonic() + seconds
        while True:
            text = self.text()
            if found := re.compile(pattern, re.MULTILINE).search(text, self._seen):
                self._seen = found.end()
                return found
            if time.monotonic() > until or self.process.poll() is not None:
                raise AssertionError(f"{pattern!r} did not come in {seconds:g} s; the last was:\n{text[-3000:]}")
            time.sleep(0.2)

    def reads(self, sentence: str, seconds: float = PATIENCE) -> None:
        """Wait for a sentence on the screen, which is broken into lines there, perhaps with a QR code beside them."""
        self.wait(r"[\s█▀▄]+".join(map(re.escape, sentence.split())), seconds)

    def shows(self, pattern: str, seconds: float = PATIENCE) -> None:
        """Wait until the screen shows `pattern`: the one that was drawn last, however much of it was waited for, or a later one."""
        self._seen = max((found.start() for found in SCREEN.finditer(self.text())), default=0)
        self.wait(pattern, seconds)

    def send(self, line: str) -> None:
        self._serial.sendall(line.encode() + b"\r")

    def monitor(self, command: str, seconds: float = 60) -> str:
        """One command of QEMU's monitor and its answer."""
        self._monitor.settimeout(seconds)
        if command:
            self._monitor.sendall(command.encode() + b"\n")
        said = b""
        while not said.rstrip().endswith(b"(qemu)"):
            block = self._monitor.recv(65536)
            if not block:
                raise AssertionError(f"QEMU ended: {said.decode(errors='replace')}")
            said += block
        return said.decode(errors="replace")

    def picture(self, file: Path) -> Path:
        """What the monitor shows now, as PNG; the box needs a graphics card (`-device VGA`)."""
        file.unlink(missing_ok=True)
        said = self.monitor(f"screendump {file.absolute()} -f png")
        if not file.exists():
            raise AssertionError(said)
        return file

    def save(self) -> None:
        """Disk, memory and devices as they are now, into its folder; to be switched off after it."""
        said = self.monitor(f"savevm {SAVED}", PATIENCE)
        if "error" in said.lower():
            raise AssertionError(said)

    def forward(self, protocol: str, port: int, here: int = 0, address: str = "") -> int:
        """Forward a free port of 127.0.0.1 to the guest's (`address`: a fixed one); returns it."""
        if not here:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM) as probe:
                probe.bind(("127.0.0.1", 0))
                here = probe.getsockname()[1]
        said = self.monitor(f"hostfwd_add net {protocol}:127.0.0.1:{here}-{address}:{port}")
        if "could not" in said.lower() or "invalid" in said.lower():
            raise AssertionError(said)
        return here

    def seconds(self) -> float:
        """Since it was switched on."""
        return time.monotonic() - self.started
