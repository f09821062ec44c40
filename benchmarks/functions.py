"""The functions of every message and call against what is stored: python -m benchmarks.functions [--store] [-k words].

Runs test_functions.py under pytest-benchmark and divides the least CPU time of every function by that of a yardstick measured in the same
run, which makes of times something that holds on another machine. A function over TOLERANCE times its value in functions.json is
measured once more, for a neighbour may have been loud; when it stays so, this program fails. --store writes the values of this run
there, those of -k alone or all: in the same commit as what has changed them.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASELINE = Path(__file__).with_suffix(".json")
TOLERANCE = 1.3
YARDSTICK = "yardstick"


def measure(words: str = "") -> dict[str, float]:
    """Seconds of each function, the yardstick's under its name."""
    with tempfile.TemporaryDirectory() as directory:
        kept = Path(directory) / "times.json"
        chosen = f"{YARDSTICK} or ({words})" if words else ""
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "--benchmark-enable"]
        command += [
            "--benchmark-disable-gc",
            "--benchmark-columns=min,median",
            f"--benchmark-json={kept}",
            "-k",
            chosen,
        ]
        done = subprocess.run([*command, "benchmarks/test_functions.py"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            raise SystemExit(done.returncode)
        found = json.loads(kept.read_text())["benchmarks"]
    times = {_name(each["name"]): each["stats"]["min"] / each["extra_info"].get("each", 1) for each in found}
    times[YARDSTICK] = min(times.pop(f"{YARDSTICK} [first]"), times.pop(f"{YARDSTICK} [last]"))
    return times


def _name(test: str) -> str:
    function, bracket, parameter = test.removeprefix("test_").partition("[")
    return function.replace("_", " ") + (f" [{parameter}" if bracket else "")


def compare(times: dict[str, float], baseline: dict[str, float]) -> list[dict[str, Any]]:
    """A row a function: its time, its value in yardsticks, and how that stands to the stored one (None: nothing stored)."""
    unit = times[YARDSTICK]
    return [
        {
            "name": name,
            "us": round(seconds * 1e6, 2),
            "yardsticks": round(seconds / unit, 4),
            "of_baseline": round(seconds / unit / baseline[name], 2) if name in baseline else None,
        }
        for name, seconds in times.items()
        if name != YARDSTICK
    ]


def slower(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows if row["of_baseline"] is not None and row["of_baseline"] > TOLERANCE]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", action="store_true", help=f"write {BASELINE.name}")
    parser.add_argument("-k", default="", metavar="words", help="only the tests that these name")
    arguments = parser.parse_args()
    baseline: dict[str, float] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    rows = compare(measure(arguments.k), baseline)
    if not arguments.store and slower(rows):
        again = {row["name"]: row for row in compare(measure(arguments.k), baseline)}
        rows = [min(row, again[row["name"]], key=lambda each: each["yardsticks"]) for row in rows]
    if arguments.store:
        kept = {**(baseline if arguments.k else {}), **{row["name"]: row["yardsticks"] for row in rows}}
        BASELINE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    for row in rows:
        print(f"{row['name']:48} {row['us']:9.2f} µs {row['yardsticks']:9.3f} yardsticks {row['of_baseline'] or '':>6}")
    bad = [] if arguments.store else slower(rows)
    for name in bad:
        print(f"slower than {TOLERANCE} times what is stored: {name}")
    missing = set() if arguments.k else set(baseline) - {row["name"] for row in rows}
    for name in sorted(missing):
        print(f"stored and not measured: {name}")
    print(
        json.dumps(
            {"rows": rows, "slower": bad, "conditions": {"python": platform.python_version(), "tolerance": TOLERANCE}}
        )
    )
    return 1 if bad or missing else 0


if __name__ == "__main__":
    sys.exit(main())
