"""Which code runs: compiled where it is there and as new as the sources, else as it is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import appliance

ROOT = Path(__file__).parents[1]
SHOW = "import appliance; print(appliance.IS_COMPILED); import appliance.part; print(appliance.part.word)"


@pytest.mark.parametrize(
    ("compiled", "seconds", "pure", "found"),
    [
        (True, -1, "", True),
        (True, 1, "", False),
        (True, -1, "1", False),
        (False, -1, "", False),
    ],
    ids=["compiled", "the source is newer", "SWITCHROOM_PURE", "not compiled"],
)
def test_which_code_runs(tmp_path: Path, compiled: bool, seconds: int, pure: str, found: bool) -> None:
    """`seconds`: of the source, after the library. What is compiled here is no code: loading it is an ImportError."""
    folder = tmp_path / "appliance"
    folder.mkdir()
    shutil.copy(ROOT / "appliance/__init__.py", folder)
    (tmp_path / "setup.py").touch()
    (folder / "part.py").write_text("word = 'as it is written'")
    library = tmp_path / f"appliance__mypyc{EXTENSION_SUFFIXES[0]}"
    if compiled:
        library.touch()
        (folder / f"part{EXTENSION_SUFFIXES[0]}").touch()
        os.utime(folder / "part.py", (0, library.stat().st_mtime + seconds))
    environment = {"PYTHONPATH": str(tmp_path), "SWITCHROOM_PURE": pure}
    done = subprocess.run([sys.executable, "-P", "-c", SHOW], env=environment, capture_output=True, text=True, check=False)
    said = done.stdout.split("\n")
    assert said[0] == str(found), done.stderr
    assert ("ImportError" in done.stderr) if found else said[1] == "as it is written"


def test_pure_is_pure() -> None:
    if os.environ.get("SWITCHROOM_PURE"):
        assert not appliance.IS_COMPILED
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import appliance.sip.stack; print(appliance.sip.stack.__file__)"],
        env={**os.environ, "SWITCHROOM_PURE": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith("stack.py")
