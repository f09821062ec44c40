"""The core process: `python -m media_core`, started by the supervisor.

Everything it needs comes as inherited file descriptors, named by one JSON object in the environment variable SWITCHROOM_CORE:

    {"memory": 5,                 memfd made by media_core.create_memory
     "core_wake": 6,              eventfd: commands wait
     "calls_wake": 7,             eventfd: events wait
     "stop": 8,                   becomes readable (or is closed at the other end, a pipe) when the process has to end
     "sip": [{"fd": 9, "transport": "udp"}, {"fd": 10, "transport": "tcp"}, {"fd": 11, "transport": "tls"}],
     "tls": {"certificate": "/path/chain.pem", "key": "/path/key.pem", "ticket_keys": "160 hex digits or empty",
             "rsa_certificate": "/path/rsa.pem", "rsa_key": "/path/rsa.key"},   or null; the last two as records.TlsFiles says
     "renewed": 15,               optional eventfd: those files have changed
     "rtp": [12, 13, [14, 4000]], bound UDP sockets, RTP and its RTCP in turn; [first, count] stands for a run of descriptors
     "raw": [4012, 4013],         optional: sockets that hear all of them, one per worker (receiver.py)
     "datapath": "auto",          or the name of one datapath
     "go": 0}                     optional eventfd or pipe: stand by, ready to run, until it gives eight octets

It holds its cipher code against libsrtp first (proof.py). A standby core has done so by the time it is wanted, and touches nothing else.
When the running one has died, a word on `go` makes the spare take over within a few
milliseconds, without the start of an interpreter; the supervisor then starts the next spare. When the pipe is closed, it ends.

All descriptors are non-blocking. A leg index owns one pair, in the order of ports, so a restarted core must be given the same sockets. Exit status: 0 stopped, 2 the environment or the memory is unusable or a thread failed (the reason is on standard
error). An interrupt from the terminal is ignored: it goes to the whole group, and the supervisor decides what ends when.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from typing import Any

from media_core import SipSocket, TlsFiles, Transport, serve
from media_core.proof import prove

VARIABLE = "SWITCHROOM_CORE"


def expand(descriptors: list[Any]) -> list[int]:
    """File descriptors, with each run [first, count] written out."""
    out: list[int] = []
    for item in descriptors:
        if isinstance(item, list):
            first, count = item
            out.extend(range(first, first + count))
        else:
            out.append(item)
    return out


def stand_by(go: int, stop: int) -> bool:
    """Wait until this core is wanted; False: it has to end instead."""
    import media_core.flows.flows  # noqa: F401 - so that nothing is left to be loaded

    waiting = select.poll()
    waiting.register(go, select.POLLIN)
    waiting.register(stop, select.POLLIN)
    while True:
        ready = dict(waiting.poll())
        if stop in ready:
            return False
        try:
            return os.read(go, 8) != b""
        except BlockingIOError:  # another spare was quicker
            continue


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        boot = json.loads(os.environ[VARIABLE])
        tls = boot.get("tls")
        proof = prove()
        if "go" in boot and not stand_by(boot["go"], boot["stop"]):
            return 0
        serve(
            boot["memory"],
            boot["core_wake"],
            boot["calls_wake"],
            sip=[SipSocket(s["fd"], Transport[s["transport"].upper()]) for s in boot.get("sip", [])],
            tls=TlsFiles(**{**tls, "ticket_keys": bytes.fromhex(tls.get("ticket_keys", ""))}) if tls else None,
            renewed=boot.get("renewed", -1),
            rtp=expand(boot["rtp"]),
            raw=boot.get("raw", []),
            datapath=boot.get("datapath", "auto"),
            proof=proof,
            stop=boot["stop"],
        )
    except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"media_core: {type(error).__name__}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
