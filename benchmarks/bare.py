"""The process of the bare loop: `python -m benchmarks.bare`, started by contenders.Bare with its sockets inherited."""

from __future__ import annotations

import json
import os
import sys

from benchmarks.bare_loop import run


def main() -> None:
    boot = json.loads(os.environ["BARE_LOOP"])
    sockets = [fd for first, count in boot["rtp"] for fd in range(first, first + count)]
    targets = [bytes.fromhex(side) for side in boot["to"]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    wakes = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
    run(*wakes, sockets, [targets[at % 2] for at in range(len(sockets) // 2)], boot["datapath"])


if __name__ == "__main__":
    main()
