"""Where the CPU of a running Python process goes, by py-spy: samples of its stacks, counted by function."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Self

RATE = 250  # samples a second
LINE = re.compile(r":\d+\)$")  # of a frame `name (file:line)`


class Sampled:
    """Samples the process while the block runs, at most `seconds`; `rows` then holds what was found."""

    def __init__(self, pid: int, seconds: float, folder: Path) -> None:
        self._file = folder / "stacks"
        program = Path(sys.executable).with_name("py-spy")
        self._command = [str(program), "record", "-p", str(pid), "-d", f"{seconds:.0f}", "-r", str(RATE), "-t"]
        self._command += ["-f", "raw", "-o", str(self._file)]
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.wait()
        if self._process.returncode != 0 and not self._file.exists():
            raise RuntimeError("py-spy cannot sample the process")
        self.rows = counted(self._file.read_text())


def counted(stacks: str) -> list[dict[str, Any]]:
    """Collapsed stacks, one a line: `frame;frame;… count`, outermost first. Per function its share of all samples that were on the processor, by
    itself and with what it called; the largest first."""
    alone: Counter[str] = Counter()
    together: Counter[str] = Counter()
    total = 0
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [LINE.sub(")", frame) for frame in stack.split(";") if frame]
        if not frames or not count.isdigit():
            continue
        total += int(count)
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            together[frame] += int(count)
    return [
        {"function": name, "self": round(alone[name] / total, 4), "with_callees": round(count / total, 4)}
        for name, count in sorted(together.items(), key=lambda row: (-alone[row[0]], -row[1]))
    ]


def table(rows: list[dict[str, Any]], most: int = 45) -> str:
    """The functions that take most by themselves, and after them those that take most with what they call."""
    parts = []
    for key in ("self", "with_callees"):
        chosen = sorted(rows, key=lambda row: -row[key])[:most]
        parts += [f"{'self':>7} {'total':>7}  by {key}"]
        parts += [f"{100 * row['self']:6.1f}% {100 * row['with_callees']:6.1f}%  {row['function']}" for row in chosen]
    return "\n".join(parts)
