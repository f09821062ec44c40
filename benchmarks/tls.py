"""What a TLS phone costs: python -m benchmarks.tls [--connections N] [--seconds N].

Memory: so many phones connect, send one message each and fall silent; the growth of the core process's private memory is
divided by their number (what the kernel holds for the sockets is not in it). Handshakes: `openssl s_time` opens new TLS 1.3 connections one after another, in turn
against our loop and against `openssl s_server`, with the same certificate. The client is the same in both and limits the rate, so
the CPU time the server spends per handshake is told as well; the ratio of that is what another machine can be compared by.
The last line is one JSON object.
"""

import argparse
import contextlib
import ctypes
import json
import mmap
import os
import platform
import re
import resource
import select
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from media_core.flows.flow_table import FlowClient, area_init, area_size
from media_core.flows.flows import FlowLoop, Limits
from media_core.records import SipSocket, TlsFiles, Transport
from media_core.shared.ring import RingView

MESSAGE = b"OPTIONS sip:box SIP/2.0\r\nContent-Length: 0\r\n\r\n"
RING = 1 << 22
TICKS = os.sysconf("SC_CLK_TCK")


def certificate(folder: Path) -> TlsFiles:
    files = TlsFiles(str(folder / "cert.pem"), str(folder / "key.pem"), os.urandom(80))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=box"]
    command = ["openssl", "req", "-x509", *curve, "-keyout", files.key, "-out", files.certificate]
    subprocess.run(command, check=True, capture_output=True)
    return files


def private_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(n) for n in re.findall(r"^Private_\w+: +(\d+) kB", text, re.MULTILINE))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Core:
    """A flows loop in its own process, and a client here that reads its events."""

    def __init__(self, files: TlsFiles, connections: int) -> None:
        flows = max(256, 2 * connections + 64)
        area = (area_size(flows) + 4095) & ~4095
        self.memory = mmap.mmap(-1, area + 2 * (RING + 4096))
        at = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        area_init(at, flows)
        places = at, at + area, at + area + RING + 4096
        view = memoryview(self.memory)
        self.rings = [RingView(view[place - at :], RING) for place in places[1:]]
        self.wakes = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self.listener.getsockname()[1]
        self.client = FlowClient(*places, self.wakes[0])
        self.pid = os.fork()
        if self.pid == 0:
            sip = [SipSocket(self.listener.fileno(), Transport.TLS)]
            FlowLoop(*places, *self.wakes, sip, files, Limits(unproved=3_600_000)).run()
            os._exit(0)
        self.done = False
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        while not self.done:
            select.select([self.wakes[1]], [], [], 0.2)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.wakes[1])
            while self.client.poll():
                self.client.consumed()

    def close(self) -> None:
        self.done = True
        self.reader.join()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.listener.close()


def idle_memory(files: TlsFiles, connections: int) -> dict[str, float]:
    """kB per idle phone."""
    core = Core(files, connections)
    context = ssl._create_unverified_context()
    phones = []
    try:
        while core.client.counters()["starts"] == 0:
            time.sleep(0.01)
        before = private_bytes(core.pid)
        began = time.monotonic()
        for _ in range(connections):
            phone = context.wrap_socket(socket.create_connection(("127.0.0.1", core.port)))
            phone.sendall(MESSAGE)
            phones.append(phone)
        while core.client.counters()["messages_in"] < connections:
            time.sleep(0.01)
        took = time.monotonic() - began
        grown = private_bytes(core.pid) - before
        assert core.client.counters()["flows"] == connections
        return {"idle_kb_per_connection": round(grown / 1024 / connections, 2), "connect_and_message_s": round(took, 2)}
    finally:
        for phone in phones:
            phone.close()
        core.close()


def s_time(port: int, pid: int, seconds: int) -> dict[str, float]:
    """New connections one after another: per second, and CPU microseconds of the server for each."""
    before = cpu_seconds(pid)
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-tls1_3", "-time", str(seconds)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = cpu_seconds(pid) - before
    found = re.search(r"(\d+) connections in (\d+) real seconds", text)
    if not found or not int(found[1]):
        raise RuntimeError(f"openssl s_time said {text[-300:]!r}")
    count = int(found[1])
    return {"per_second": round(count / int(found[2]), 1), "server_cpu_us": round(1e6 * spent / count, 1)}


def handshakes(files: TlsFiles, seconds: int) -> dict[str, object]:
    core = Core(files, 256)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", files.certificate, "-key", files.key]
    command += ["-quiet", "-no_cache", "-num_tickets", "1", "-groups", "X25519:P-256:P-384"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        ours, theirs = [], []
        for _ in range(2):  # in turn, so that a neighbour on the machine disturbs both
            ours.append(s_time(core.port, core.pid, seconds))
            theirs.append(s_time(port, server.pid, seconds))
    finally:
        server.kill()
        server.wait()
        core.close()
    us = {name: statistics.mean(run[name] for run in ours) for name in ours[0]}
    them = {name: statistics.mean(run[name] for run in theirs) for name in theirs[0]}
    return {
        "handshakes": us,
        "openssl_s_server": them,
        "ratio_per_second": round(us["per_second"] / them["per_second"], 3),
        "ratio_cpu": round(them["server_cpu_us"] / us["server_cpu_us"], 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--connections", type=int, default=2000)
    arguments.add_argument("--seconds", type=int, default=3, help="per run of s_time; there are four")
    options = arguments.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        files = certificate(Path(folder))
        result: dict[str, object] = {"connections": options.connections, **idle_memory(files, options.connections)}
        print(f"idle: {result['idle_kb_per_connection']} kB per connection, {options.connections} connections")
        result |= handshakes(files, options.seconds)
    print(f"handshakes: ours {result['handshakes']}, openssl s_server {result['openssl_s_server']}")
    result["conditions"] = {
        "certificate": "ECDSA P-256",
        "tls": "1.3, new sessions",
        "openssl": ssl.OPENSSL_VERSION,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
