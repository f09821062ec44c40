"""The house rules that a machine can check: size, names, no leftovers, lint and types. An exception is a row with its reason."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE_LINES = 500
FUNCTION_LINES = 60
PUBLIC_METHODS = 15

LONG_FILES = {
    "media_core/relay/datapath_uring.pyx": "the path of a packet is one unit, so that the compiler sees all of it",
    "media_core/engine.pyx": "one extension class; Cython cannot spread it over files",
    "media_core/relay/relay.pyx": "the path of a packet is one unit, so that the compiler sees all of it",
    "media_core/srtp/srtp.pyx": "the path of a packet is one unit, so that the compiler sees all of it",
    "tests/sip/test_calls.py": "whole calls, each with every message",
}
LONG_FUNCTIONS: dict[str, str] = {}
WIDE_CLASSES: dict[str, str] = {
    "appliance/config/snapshot.py:Snapshot": "one property per index that calls and pages need",
    "appliance/config/admin.py:Admin": "one method per use-case that changes something",
    "appliance/config/rights/acting.py:Acting": "the same use-cases, each within rights",
    "tests/box_engine.py:FakeEngine": "the face of MediaEngine, which it stands in for",
    "appliance/sip/text/message.py:Message": "one property per header that everybody reads",
    "appliance/calls/api.py:Call": "the whole promise to scripts: one verb per thing that can be done with a call",
    "appliance/calls/call.py:Call": "what stands in a call, and its ends",
    "appliance/sip/stack.py:Stack": "the whole face of the SIP layer",
    "tests/callcontrol/test_any_sequence.py:Play": "one method per kind of step that a phone may take",
    "image/build.py:Image": "one property per step of the build",
}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "base", "misc", "data"}
PRINTING = ("benchmarks/", "image/")  # they print figures and progress; the command line uses click
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
PYX_FUNCTION = re.compile(r"^([ \t]*)(?:def|cdef|cpdef)\b[^=\n]*?(\w+)\(", re.MULTILINE)


def tracked(*kinds: str) -> list[Path]:
    """Files of the project, as git knows them, or all of them where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = (
        listed.stdout.split()
        if listed.returncode == 0
        else [
            str(f.relative_to(ROOT))
            for p in ("appliance", "media_core", "webui", "benchmarks", "tests")
            for f in (ROOT / p).rglob("*")
        ]
    )
    return [ROOT / name for name in names if name.endswith(kinds) and (ROOT / name).is_file()]


PYTHON = tracked(".py")
CYTHON = tracked(".pyx", ".pxd", ".pxi")


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def functions_of(file: Path) -> list[tuple[str, int]]:
    """(name, lines) of each function."""
    text = file.read_text()
    if file.suffix == ".py":
        found = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        return [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in found]
    lines, sizes = text.splitlines(), []
    for match in PYX_FUNCTION.finditer(text):
        start = text.count("\n", 0, match.start())
        depth = len(match[1].expandtabs())
        body = [n for n in range(start + 1, len(lines)) if lines[n].strip()]
        end = next(
            (
                n
                for n in body
                if len(lines[n]) - len(lines[n].lstrip()) <= depth and not lines[n].lstrip().startswith(")")
            ),
            len(lines),
        )
        sizes.append((match[2], len("\n".join(lines[start:end]).rstrip().splitlines())))
    return sizes


def test_files_are_short() -> None:
    long = {
        name_of(file): count for file in PYTHON + CYTHON if (count := len(file.read_text().splitlines())) > FILE_LINES
    }
    assert {name: count for name, count in long.items() if name not in LONG_FILES} == {}
    assert [name for name in LONG_FILES if not (ROOT / name.partition(":")[0]).exists()] == []


def test_functions_are_short() -> None:
    long = {
        f"{name_of(file)}:{name}": count
        for file in PYTHON + CYTHON
        for name, count in functions_of(file)
        if count > FUNCTION_LINES
    }
    assert {name: count for name, count in long.items() if name not in LONG_FUNCTIONS} == {}
    assert [name for name in LONG_FUNCTIONS if not (ROOT / name.partition(":")[0]).exists()] == []


def test_classes_have_few_public_methods() -> None:
    wide = {}
    for file in PYTHON:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
                count = sum(not name.startswith("_") for name in methods)
                if count > PUBLIC_METHODS:
                    wide[f"{name_of(file)}:{node.name}"] = count
    assert {name: count for name, count in wide.items() if name not in WIDE_CLASSES} == {}
    assert [name for name in WIDE_CLASSES if not (ROOT / name.partition(":")[0]).exists()] == []


def test_names_say_something() -> None:
    assert [
        name_of(file) for file in PYTHON + CYTHON if file.stem in EMPTY_NAMES or file.parent.name in EMPTY_NAMES
    ] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        name_of(file)
        for file in PYTHON
        if file.read_text().strip() and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_nothing_prints() -> None:
    printing = []
    for file in PYTHON:
        if not name_of(file).startswith((*PRINTING, "tests/")):
            calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
            printing += [
                f"{name_of(file)}:{c.lineno}" for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"
            ]
    assert printing == []


def test_no_leftovers() -> None:
    found = [
        name_of(f)
        for f in tracked(".py", ".pyx", ".pxd", ".js", ".html", ".md", "Makefile")
        if f != Path(__file__) and LEFTOVERS.search(f.read_text())
    ]
    assert found == []


def test_nothing_that_newer_pythons_lack() -> None:
    users = [
        name_of(file)
        for file in PYTHON + CYTHON
        if re.search(r"^\s*(import|from) (audioop|cgi|telnetlib|crypt|imghdr)\b", file.read_text(), re.MULTILINE)
    ]
    assert users == []


@pytest.mark.parametrize("arguments", [["check"]], ids=["lint"])
def test_ruff(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_types() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
