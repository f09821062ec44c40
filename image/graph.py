"""A build graph with a cache: a step runs when the key of its inputs has changed, prints its time and the size it made.

The cache holds one folder per step and key; a step writes into a temporary folder that is renamed when it is whole, so an
interrupted build never leaves a half result behind.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def digest(*parts: str | bytes | Path) -> str:
    """A short hash of texts and of files (by content) or folders (by names, modes and contents)."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file() and "__pycache__" not in file.parts:
                    sha.update(f"{file.relative_to(part.parent)} {file.stat().st_mode & 0o111}\0".encode())
                    sha.update(file.read_bytes())
        else:
            sha.update(part.encode() if isinstance(part, str) else part)
        sha.update(b"\0")
    return sha.hexdigest()[:16]


def run(*command: str | Path, **options: object) -> str:
    """Run a command; its output is returned, and shown with the command when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(
            f"failed ({done.returncode}): {' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-6000:]}"
        )
    return str(done.stdout)


def size_of(path: Path) -> int:
    """Bytes really used on disk, a folder with all in it."""
    files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files if not file.is_dir())


class Graph:
    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.rows: list[tuple[str, float, int]] = []
        cache.mkdir(parents=True, exist_ok=True)

    def step(self, name: str, key: str, make: Callable[[Path], object]) -> Path:
        """The folder of this step's result; `make` fills a fresh folder when there is none for the key yet."""
        place = self.cache / f"{name}-{key}"
        started = time.monotonic()
        if place.exists():
            self._row(f"{name} (cached)", started, place)
            return place
        print(f"  {name} …", file=sys.stderr, flush=True)
        work = self.cache / f"{name}.tmp"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        make(work)
        for old in self.cache.glob(f"{name}-*"):
            shutil.rmtree(old)
        work.rename(place)
        self._row(name, started, place)
        return place

    def _row(self, name: str, started: float, place: Path) -> None:
        self.rows.append((name, time.monotonic() - started, size_of(place)))
        print(
            f"  {name:<28} {self.rows[-1][1]:7.1f} s {self.rows[-1][2] / 2**20:8.1f} MiB", file=sys.stderr, flush=True
        )
