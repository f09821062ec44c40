"""The relays that are measured: our core process and Debian's rtpengine, each alone on one core, given the same calls.

A contender makes calls between one address that stands for all A phones and one that stands for all B phones. `kind` is rtp (plain
on both sides), srtp (A plain, B AES_CM_128_HMAC_SHA1_80) or srtp_srtp (both encrypted).
"""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from media_core import CoreStarted, Crypto, Layout, MediaEngine, Remote, create_memory
from media_core.__main__ import VARIABLE
from media_core.receiver import open_receivers

HOST = "127.0.0.1"
PHONES = "127.0.0.2"  # another host, as it were: what is sent there does not pass the relay's receiver
SUITE = "AES_CM_128_HMAC_SHA1_80"
Address = tuple[str, int]


@dataclass(frozen=True)
class Call:
    """One call as the load sees it: the relay's ports towards A and B, and the keys they send with."""

    port_a: int
    port_b: int
    crypto_a: Crypto | None = None
    crypto_b: Crypto | None = None


def random_key() -> Crypto:
    return Crypto(SUITE, os.urandom(16), os.urandom(14))


def most_calls() -> int:
    """What the limit of open files leaves room for: two legs each, two sockets a leg."""
    allow_files(1 << 20)
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 4


def allow_files(count: int) -> None:
    """Raise the limit of open files as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in ((count, max(count, hard)), (min(count, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted[0]), wanted[1]))
            return
        except (ValueError, OSError):
            continue


def rtp_sockets(count: int) -> list[socket.socket]:
    """RTP and RTCP in turn. Bound by number: a port that the kernel has chosen is lost when a connected socket is released."""
    sockets: list[socket.socket] = []
    ports = iter(range(65_534, 1_024, -2))  # rtpengine begins at the other end
    while len(sockets) < count:
        pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2)]
        first = next(ports)
        try:
            for number, made in enumerate(pair):
                made.bind((HOST, first + number))
        except OSError:
            for made in pair:
                made.close()
        else:
            sockets.extend(pair)
    return sockets


def receivers_of(sockets: list[socket.socket], workers: int = 1) -> list[socket.socket]:
    """What hears all of them, if that is allowed."""
    return open_receivers(HOST, [s.getsockname()[1] for s in sockets[::2]], workers)


class Contender:
    """A process on its own core."""

    name = ""
    process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def call(self, kind: str, a: Address, b: Address) -> Call:
        raise NotImplementedError

    def cpu(self) -> float:
        """Seconds of CPU the process has used, all threads, user and kernel."""
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def memory(self) -> int:
        """Bytes of proportional set size."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


class Ours(Contender):
    """The core on one processor core, or with a worker on each of several; `apart`: the legs of a call are on two workers."""

    def __init__(self, calls: int, *cpus: int, datapath: str = "auto", workers: int = 1, apart: bool = False) -> None:
        allow_files(4 * calls + 200)
        self.workers, self.apart, self.cpus = workers, apart, cpus
        self.made = 0  # calls
        self.sockets = rtp_sockets(4 * calls)
        self.raw = receivers_of(self.sockets, workers)
        self.memory_fd = create_memory(Layout(legs=2 * calls, flows=16, workers=workers))
        wakes = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        stop, self.stop_end = os.pipe()
        rtp = [s.fileno() for s in self.sockets]
        self.fds = [self.memory_fd, *wakes, stop]
        raw = [s.fileno() for s in self.raw]
        boot = {
            "memory": self.memory_fd,
            "core_wake": wakes[0],
            "calls_wake": wakes[1],
            "stop": stop,
            "sip": [],
            "tls": None,
            "rtp": [[first, count] for first, count in runs(rtp)],
            "raw": raw,
            "datapath": datapath,
        }
        self.command = ["taskset", "-c", ",".join(map(str, cpus)), sys.executable, "-m", "media_core"]
        self.environment = {**os.environ, VARIABLE: json.dumps(boot)}
        self.engine = MediaEngine(self.memory_fd, *wakes)
        self.start()
        end = time.monotonic() + 20
        while not any(isinstance(e, CoreStarted) for e in self.engine.poll()):
            self.engine.consumed()
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError("the core process does not start")
            time.sleep(0.02)
        if len(cpus) > 1:
            self.spread()
        self.name = f"switchroom {self.engine.datapath()}"

    def spread(self) -> None:
        """Worker n and its DSP on the n-th of our processor cores."""
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            name, _, number = (thread / "comm").read_text().strip().partition("-")
            if name in ("relay", "dsp"):
                os.sched_setaffinity(int(thread.name), {self.cpus[int(number) % len(self.cpus)]})

    def call(self, kind: str, a: Address, b: Address) -> Call:
        crypto_a = random_key() if kind == "srtp_srtp" else None
        crypto_b = random_key() if kind != "rtp" else None
        leg_a = self.engine.open()
        leg_b = self.engine.open() if self.apart else self.engine.open(beside=leg_a.id)
        if self.apart and self.made % 2:  # both workers have phones of both sides
            leg_a, leg_b = leg_b, leg_a
        self.made += 1
        if (leg_a.id % self.workers != leg_b.id % self.workers) != self.apart:
            raise RuntimeError("the legs are not where they shall be")
        for leg, (host, port), theirs in ((leg_a, a, crypto_a), (leg_b, b, crypto_b)):
            ours = random_key() if theirs else None
            self.engine.describe(leg.id, Remote(host, port, signalling=host, crypto_in=theirs, crypto_out=ours))
        self.engine.connect(leg_a.id, leg_b.id)
        return Call(leg_a.port, leg_b.port, crypto_a, crypto_b)

    def start(self) -> None:
        rtp = [s.fileno() for s in (*self.sockets, *self.raw)]
        self.process = subprocess.Popen(self.command, env=self.environment, pass_fds=[*self.fds, *rtp])

    def close(self) -> None:
        os.close(self.stop_end)
        self.process.wait(10)
        for s in (*self.sockets, *self.raw):
            s.close()
        for fd in self.fds:
            os.close(fd)


def runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Neighbouring numbers as (first, count)."""
    out: list[tuple[int, int]] = []
    for number in numbers:
        if out and sum(out[-1]) == number:
            out[-1] = (out[-1][0], out[-1][1] + 1)
        else:
            out.append((number, 1))
    return out


class Bare(Contender):
    """Receive and send with nothing in between, on the same datapath: the limit. Only plain calls."""

    def __init__(self, calls: int, cpu: int, datapath: str = "io_uring") -> None:
        allow_files(4 * calls + 200)
        self.sockets = rtp_sockets(4 * calls)
        self.calls, self.core, self.datapath = 0, cpu, datapath
        self.name = f"bare {datapath}"

    def call(self, kind: str, a: Address, b: Address) -> Call:
        if self.calls == 0:
            fds = [s.fileno() for s in self.sockets]
            to = [
                socket.AF_INET.to_bytes(2, "little") + p.to_bytes(2, "big") + socket.inet_aton(h) + bytes(8)
                for h, p in (a, b)
            ]
            boot = {"rtp": runs(fds), "to": [address.hex() for address in to], "datapath": self.datapath}
            self.process = subprocess.Popen(
                ["taskset", "-c", str(self.core), sys.executable, "-m", "benchmarks.bare"],
                env={**os.environ, "BARE_LOOP": json.dumps(boot)},
                pass_fds=fds,
                stdout=subprocess.PIPE,
            )
            assert self.process.stdout is not None
            self.process.stdout.readline()
        first = 4 * self.calls
        self.calls += 1
        return Call(self.sockets[first].getsockname()[1], self.sockets[first + 2].getsockname()[1])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        for s in self.sockets:
            s.close()


# ---- rtpengine ---------------------------------------------------------------------------------------------------------


def bencode(value: Any) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(v) for k, v in sorted(value.items())) + b"e"


def bdecode(data: bytes, at: int = 0) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = bdecode(data, at)
            items.append(item)
        return (items if kind == b"l" else dict(zip(items[::2], items[1::2], strict=True))), at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode(), end


def sdp(address: Address, crypto: Crypto | None, tag: int = 1) -> str:
    lines = ["v=0", f"o=- 1 1 IN IP4 {address[0]}", "s=-", f"c=IN IP4 {address[0]}", "t=0 0"]
    lines += [f"m=audio {address[1]} RTP/{'SAVP' if crypto else 'AVP'} 8", "a=rtpmap:8 PCMA/8000", "a=sendrecv"]
    if crypto:
        lines.append(f"a=crypto:{tag} {crypto.suite} inline:{base64.b64encode(crypto.key + crypto.salt).decode()}")
    return "\r\n".join(lines) + "\r\n"


def audio_port(text: str) -> int:
    found = re.search(r"^m=audio (\d+)", text, re.M)
    if not found:
        raise RuntimeError(f"no audio in {text!r}")
    return int(found[1])


class Rtpengine(Contender):
    """Debian's rtpengine in userspace (no kernel table), one worker thread, warnings only, driven over its NG protocol."""

    def __init__(self, calls: int, cpu: int) -> None:
        program = shutil.which("rtpengine")
        if program is None:
            raise FileNotFoundError("rtpengine is not installed (Debian: rtpengine-daemon)")
        allow_files(4 * calls + 200)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cpu), program, "--foreground", "--log-stderr", "--log-level=4", "--table=-1", f"--interface={HOST}",
             f"--listen-ng={HOST}:{port}", "--num-threads=1", "--port-min=10000", f"--port-max={min(32700, 10400 + 4 * calls)}"],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self.ng = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ng.connect((HOST, port))
        self.ng.settimeout(0.3)
        self.cookie = 0
        for _ in range(50):
            try:
                self.command(command="ping")
                break
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.1)
        else:
            raise RuntimeError("rtpengine does not answer")
        self.ng.settimeout(5)
        self.name = "rtpengine"

    def command(self, **fields: Any) -> dict[str, Any]:
        self.cookie += 1
        self.ng.send(b"%d " % self.cookie + bencode({k.replace("_", "-"): v for k, v in fields.items()}))
        answer = bdecode(self.ng.recv(65536).split(b" ", 1)[1])[0]
        if answer.get("result") == "error":
            raise RuntimeError(f"rtpengine: {answer.get('error-reason')}")
        return dict(answer)

    def call(self, kind: str, a: Address, b: Address) -> Call:
        if kind == "srtp_srtp":
            raise ValueError("rtpengine passes SRTP through unopened when both sides speak it: no peer for this kind")
        common = {
            "call_id": f"call-{self.cookie}",
            "from_tag": "a",
            "ICE": "remove",
            "DTLS": "off",
            "flags": ["trust-address"],
        }
        profile = "RTP/AVP" if kind == "rtp" else "RTP/SAVP"
        offer = self.command(command="offer", sdp=sdp(a, None), transport_protocol=profile, **common)["sdp"]
        crypto, tag = None, 1
        if kind != "rtp":
            crypto = random_key()
            tag = int(re.search(rf"a=crypto:(\d+) {SUITE} ", offer)[1])  # type: ignore[index]
        answer = self.command(command="answer", sdp=sdp(b, crypto, tag), to_tag="b", **common)["sdp"]
        return Call(audio_port(answer), audio_port(offer), None, crypto)

    def close(self) -> None:
        self.ng.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
