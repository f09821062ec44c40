"""Who may import whom. Imports point down only; a row says what a package may import and why. A package without a row fails."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT_FILES = sorted((ROOT / "appliance/services").glob("*/script.py"))
PACKAGES = ("media_core", "appliance", "webui", "benchmarks")


@dataclass(frozen=True)
class Row:
    """`ours`: modules or packages of ours, beside the package itself. `others`: distributions beside the standard library."""

    ours: frozenset[str]
    others: frozenset[str]
    reason: str


def row(ours: str, others: str, reason: str) -> Row:
    return Row(frozenset(ours.split()), frozenset(others.split()), reason)


# The longest name that fits a module is its row; a folder's row is for the files that have none of their own. Files of one row may import
# one another, but never in a circle (`test_no_circles`).
LAYERS = {
    # 0
    "media_core": row("", "pylibsrtp", "moves packets, knows no telephone"),
    "appliance": row("", "", "which code of it runs, compiled or as it is written"),
    # 1: pure, or next to it
    "appliance.sip": row(
        "media_core.sip_scan media_core.sip_plain", "msgspec", "sans-IO SIP: bytes and time in, bytes and events out"
    ),
    "appliance.words": row("", "msgspec", "sentences: key and facts, put into words at the edge"),
    "appliance.config": row("appliance.words", "", "pure: claims, countries, passwords, search"),
    "appliance.config.fields": row(
        "appliance.config.claims appliance.words", "pydantic pydantic_core annotated_types", "field types"
    ),
    "appliance.config.declare": row(
        "appliance.config.claims appliance.config.fields appliance.words", "pydantic", "what a record is declared with"
    ),
    "appliance.config.folders": row("", "msgspec", "what the service folders say as data, without their scripts"),
    "appliance.config.kinds": row(
        "appliance.config.declare appliance.config.claims appliance.config.countries appliance.config.search appliance.words appliance.config.folders",
        "",
        "kinds of records: knows no service by name, no script, no page, no database",
    ),
    "appliance.config.snapshot": row(
        "appliance.config.kinds appliance.config.declare appliance.config.claims appliance.config.countries appliance.words",
        "",
        "all records, never changed: no clock, no database",
    ),
    "appliance.config.model": row(
        "appliance.config.snapshot appliance.config.kinds appliance.config.declare",
        "",
        "the face of the records for everybody else",
    ),
    "appliance.version": row("", "", "one number"),
    "appliance.host": row(
        "appliance.words", "msgspec", "the machine: processes, sockets, privileges, health; nothing of the telephone"
    ),
    "appliance.storage": row("appliance.words", "cryptography msgspec sqlite_utils", "files and databases, whatever is in them"),
    # 2
    "appliance.cti": row("appliance.words", "msgspec", "the control socket"),
    "appliance.host.alarms": row(
        "appliance.cti appliance.words", "", "pure checks over facts; an alarm is a message of the control socket"
    ),
    "appliance.flows": row(
        "appliance.sip media_core", "", "the driver between flows and the stack; how much strangers may ask"
    ),
    "appliance.host.health": row("appliance.storage.migration appliance.storage.reserve", "", "how processes and the disk are"),
    "appliance.host.certificates": row("appliance.storage.on_disk", "cryptography", "keys and certificates"),
    "appliance.config.store": row(
        "appliance.config.model appliance.storage.database appliance.storage.on_disk appliance.words",
        "sqlite_utils cryptography",
        "the only one that writes the configuration",
    ),
    "appliance.config.reading": row(
        "appliance.config.claims appliance.config.declare appliance.config.model appliance.config.search appliance.words",
        "",
        "pure: how records are looked at",
    ),
    "appliance.config.licensing": row(
        "appliance.config.model appliance.words", "cryptography", "pure: file, box and date in, limits out"
    ),
    "appliance.config.saving": row(
        "appliance.config.claims appliance.config.declare appliance.config.kinds appliance.config.model appliance.config.store appliance.config.reading "
        "appliance.config.licensing appliance.config.passwords appliance.words",
        "",
        "what a save does: batches, forms drawn earlier, undo",
    ),
    "appliance.calls.history.records": row(
        "appliance.storage.database appliance.calls.history.encryption appliance.words",
        "sqlite_utils msgspec",
        "call records and registrations, and what calls are found by",
    ),
    "appliance.calls.history.records.query": row("appliance.config.search appliance.words", "", "pure: what is looked for in the call history"),
    # 3
    "appliance.upkeep.aside": row(
        "appliance.calls.history.records appliance.storage.copies appliance.config.store appliance.words", "", "what a newer version left"
    ),
    "appliance.upkeep.backup": row(
        "appliance.config.store appliance.calls.history.records appliance.storage appliance.version appliance.words",
        "msgspec sqlite_utils",
        "everything in one file, and back",
    ),
    "appliance.calls": row(
        "appliance.sip appliance.flows appliance.config.model appliance.config.claims appliance.words appliance.cti appliance.calls.history.records media_core",
        "msgspec",
        "calls over the stack and the media engine; inside, CALLS says who may import whom",
    ),
    "appliance.calls.history.causes": row("appliance.words", "", "pure: why calls end"),
    "appliance.calls.history.encryption": row("appliance.words", "", "pure: what of a leg was encrypted"),
    "appliance.calls.history": row(
        "appliance.calls.history.causes appliance.cti appliance.words media_core",
        "msgspec",
        "pure: what happened in a call",
    ),
    # 4
    "appliance.services": row(
        "appliance.calls.api",
        "msgspec",
        "one folder per service; sees call control by its api only",
    ),
    "appliance.services.scripts": row(
        "appliance.services appliance.calls.api appliance.config.folders appliance.words", "msgspec", "finds the scripts, for the process calls alone"
    ),
    "appliance.config.admin": row(
        "appliance.config.model appliance.config.store appliance.config.licensing appliance.config.passwords appliance.config.search "
        "appliance.config.kinds appliance.config.saving appliance.config.reading appliance.words",
        "argon2",
        "the only use-cases that change anything",
    ),
    "appliance.config.rights": row(
        "appliance.config.declare appliance.config.kinds appliance.config.snapshot appliance.words", "", "pure: who may do what"
    ),
    "appliance.config.rights.second_factor": row("", "pyotp", "pure: codes of an app, recovery codes"),
    "appliance.config.rights.acting": row(
        "appliance.config.admin appliance.config.declare appliance.config.kinds appliance.config.licensing appliance.config.reading "
        "appliance.config.rights appliance.config.saving appliance.config.snapshot appliance.config.store appliance.words",
        "",
        "the use-cases within somebody's rights: all that pages and command line know of them",
    ),
    "appliance.host.entitlement": row(
        "appliance.config.reading appliance.config.saving.batch appliance.config.rights.acting appliance.config.admin appliance.cti appliance.config.licensing appliance.config.store appliance.storage.on_disk appliance.host.privileges appliance.words",
        "cryptography",
        "opens the use-cases with the licence of the box",
    ),
    # 5: what builds and connects
    "appliance.upkeep.logs": row("appliance.config.search appliance.upkeep.support", "", "the log as facts, without secrets"),
    "appliance.upkeep.scheduled": row(
        "appliance.upkeep.backup appliance.config.model appliance.config.kinds appliance.config.store appliance.storage appliance.words",
        "msgspec",
        "a backup by itself, and its trial",
    ),
    "appliance.upkeep.support": row(
        "appliance.cti appliance.config.model appliance.config.store appliance.storage.database",
        "msgspec",
        "the log and the state, without secrets",
    ),
    "appliance.box": row("appliance", "click cryptography msgspec segno", "the appliance around the telephone system"),
    "appliance.box.notices": row("appliance.version", "", "licences of what is shipped"),
    "appliance.box.update": row(
        "appliance.storage.archive appliance.storage.on_disk appliance.words",
        "cryptography msgspec",
        "a signed bundle into the other slot",
    ),
    "appliance.box.update_client": row("appliance.words", "msgspec", "how the unprivileged reach the box's helper"),
    "appliance.calls.process": row("appliance media_core", "uvloop msgspec", "composition root of the process calls"),
    "appliance.calls.__main__": row("appliance.calls.process", "", "starts it"),
    "appliance.softphone": row("appliance.sip media_core", "", "a phone: sees the box through its sockets"),
    "appliance.softphone.selftest": row("appliance.softphone appliance.cti", "msgspec", "uses the box from outside"),
    "appliance.host.renewal": row(
        "appliance.host.process appliance.host.resources", "", "certificates in time while everything runs"
    ),
    "appliance.host.resources": row("appliance media_core", "", "makes what outlives the processes"),
    "appliance.host.supervisor": row("appliance media_core", "", "composition root of the whole"),
    "appliance.exchange": row(
        "appliance.config.declare appliance.config.model appliance.config.reading appliance.config.search appliance.config.saving appliance.words",
        "tomli_w",
        "pure: the configuration as text and tables",
    ),
    "appliance.commands": row("appliance", "click cryptography msgspec", "command line"),
    "appliance.__main__": row("appliance", "click msgspec cryptography", "command line"),
    "webui": row(
        "appliance.config.reading appliance.config.saving.batch "
        "appliance.config.rights.acting appliance.config.admin appliance.config.rights appliance.config.passwords appliance.calls.history.encryption appliance.config.search appliance.config.declare appliance.config.model appliance.config.claims appliance.words appliance.calls.plan.plan appliance.cti appliance.host.boot appliance.config.store appliance.storage.database appliance.config.licensing appliance.config.countries "
        "appliance.exchange appliance.calls.history.records appliance.host.certificates appliance.storage.migration appliance.upkeep.aside appliance.storage.copies appliance.upkeep.support appliance.box.notices appliance.upkeep.backup appliance.upkeep.logs appliance.upkeep.scheduled appliance.config.kinds.backups appliance.storage.sealed appliance.host.entitlement appliance.host.setup_code appliance.box.update_client appliance.version",
        "flask flask_wtf werkzeug jinja2 markupsafe itsdangerous hypercorn h2 a2wsgi uvloop cryptography segno msgspec",
        "pages over the use-cases, the control socket and the call records; no telephone inside",
    ),
    "benchmarks": row("media_core appliance", "msgspec pylibsrtp pytest pytest_benchmark cryptography", "measures everything"),
}
# Which files of appliance/calls/ a file of it may import: only those above it, so that no order is left to chance. A folder is one row here;
# inside it only circles are forbidden. What a file may import from elsewhere says LAYERS.
CALLS: dict[str, str] = {
    "history": "",
    "plan": "history",
    "api": "history plan",
    "turns": "",
    "registrar": "",
    "switchboard": "api history registrar turns",
    "legs": "api history plan switchboard turns",
    "bridge": "history legs switchboard",
    "fork": "api bridge history legs plan registrar switchboard",
    "verbs": "api bridge fork history legs plan switchboard",
    "call": "api history legs plan switchboard turns verbs",
    "requests": "call legs registrar switchboard",
    "arriving": "api call history legs plan requests switchboard",
    "survival": "api arriving bridge call history legs registrar requests switchboard turns",
    "process": "api call history registrar requests survival switchboard",
    "__main__": "process",
}

MOST_ENTRIES = 16  # of a folder, its __init__ not counted; a module with what declares it is one

CIMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import|c?import[ \t]+([\w.]+))", re.MULTILINE)
CYTHON = frozenset({"libc", "posix", "cpython", "cython"})


def sources() -> list[Path]:
    return sorted(
        file
        for package in PACKAGES
        for kind in ("*.py", "*.pyx", "*.pxd", "*.pyi")
        for file in (ROOT / package).rglob(kind)
    )


def module_of(file: Path) -> str:
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file: Path) -> Iterator[str]:
    """Full names; `from x import y` gives x.y, for y may be a module."""
    text = file.read_text()
    if file.suffix in (".pyx", ".pxd"):
        yield from (first or second for first, second in CIMPORT.findall(text))
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def row_of(module: str) -> str:
    fitting = [name for name in LAYERS if module == name or (name != "appliance" and within(module, name))]  # its row is the folder's own alone
    assert fitting, f"{module} has no row in LAYERS"
    return max(fitting, key=len)


def allowed(name: str, home: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in CYTHON:
        return True
    if top in PACKAGES:
        return within(name, home) or any(within(name, package) for package in LAYERS[home].ours)
    return top in LAYERS[home].others


def graph() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, also inside functions and for type checking only."""
    files = {
        module_of(file): file
        for file in sources()
        if file.suffix == ".py" and file.parts[len(ROOT.parts)] in ("appliance", "webui")
    }

    def module(name: str) -> str:
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    return {home: {module(name) for name in imports_of(file)} - {"", home} for home, file in files.items()}


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one node (Tarjan)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in order:
                visit(other)
            if other in stack:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == order[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(set(stack[at:]))
            del stack[at:]

    for node in edges:
        if node not in order:
            visit(node)
    return found


# What puts folders together is of none: it may know those that must not know each other.
ROOTS = {
    "appliance.calls.process": "gives call control the scripts of the services, and serves it under the supervisor",
    "appliance.calls.__main__": "starts it",
}


def folder_of(module: str) -> str:
    """The folder of the house that a module stands in, with all that is in it; a root, or a file beside the folders, for itself."""
    return module if module in ROOTS else ".".join(module.split(".")[:2]) if within(module, "appliance") else "webui"


def folders(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same graph of folders. The package `appliance` itself holds nothing."""
    found: dict[str, set[str]] = {}
    for home, others in edges.items():
        found.setdefault(folder_of(home), set()).update(folder_of(other) for other in others - {"appliance"})
    return {home: others - {home} for home, others in found.items()}


def calls_row(module: str) -> str:
    """The row of CALLS that a module of appliance.calls is in."""
    return module.removeprefix("appliance.calls").removeprefix(".").partition(".")[0]


def crowded() -> set[str]:
    entries: dict[str, set[str]] = {}
    for file in sources():
        parts = file.relative_to(ROOT).parts
        for depth in range(1, len(parts)):
            if not parts[depth].startswith("__init__"):
                entries.setdefault("/".join(parts[:depth]), set()).add(parts[depth].partition(".")[0])
    return {
        folder
        for folder, names in entries.items()
        if len(names) > MOST_ENTRIES and folder.startswith(("appliance", "webui", "media_core"))
    }


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file: Path) -> None:
    if not (names := set(imports_of(file))):
        return
    home = row_of(module_of(file))
    forbidden = sorted(name for name in names if not allowed(name, home))
    assert not forbidden, f"{home} ({LAYERS[home].reason}) may not import {forbidden}"


def test_no_circles() -> None:
    found = [sorted(circle) for circle in circles(graph())]
    assert not found, f"modules that import each other, directly or by way of others: {found}"


def test_no_two_folders_know_each_other() -> None:
    found = [sorted(circle) for circle in circles(folders(graph()))]
    assert not found, f"folders that import each other, directly or by way of others: {found}"


def test_folders_that_know_each_other_are_found() -> None:
    edges = {
        "appliance.storage.migration": {"appliance.host.health"},
        "appliance.host.supervisor": {"appliance.storage.reserve", "appliance.words"},
        "appliance.calls.process": {"appliance.services.scripts"},
        "appliance.services.echo.script": {"appliance.calls.api"},
        "webui.app": {"appliance.host.boot"},
    }
    every = {home: set(others) for home, others in edges.items()} | {
        name: set() for others in edges.values() for name in others
    }
    assert circles(folders(every)) == [{"appliance.storage", "appliance.host"}]


def test_what_stands_beside_the_folders() -> None:
    """Only what starts the product and says its number."""
    files = {file.name for file in (ROOT / "appliance").glob("*.py")}
    assert files == {"__init__.py", "__main__.py", "version.py"}


def test_folders_can_be_looked_over() -> None:
    assert not crowded(), f"more than {MOST_ENTRIES} entries: {sorted(crowded())}"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "appliance/calls").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT))
)
def test_calls_import_downwards_file_by_file(file: Path) -> None:
    here = calls_row(module_of(file))
    if file.name == "__init__.py" and not list(imports_of(file)):
        return
    assert here in CALLS, (
        f"{file.relative_to(ROOT)} has no row in CALLS (tests/test_layers.py): say which files of calls/ it may import, "
        "below those that it imports and above those that import it"
    )
    theirs = {calls_row(name) for name in imports_of(file) if within(name, "appliance.calls")}
    forbidden = theirs - {here} - set(CALLS[here].split())
    assert not forbidden, f"calls/{here} may import {CALLS[here] or 'nothing'} of calls/, not {sorted(forbidden)}"


def test_the_rows_of_calls_are_in_order() -> None:
    above: set[str] = set()
    for name, ours in CALLS.items():
        assert set(ours.split()) <= above, (
            f"{name} may import what stands above it only, not {set(ours.split()) - above}"
        )
        above.add(name)
    there = {calls_row(module_of(file)) for file in (ROOT / "appliance/calls").rglob("*.py")}
    assert not above - there, f"rows of CALLS without a file: {sorted(above - there)}"


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "e"}}
    assert circles(edges) == [{"b", "c"}]


def test_no_service_imports_another() -> None:
    """What stands in a folder of services/ imports nothing of services/ but what stands beside it."""
    for file in (ROOT / "appliance/services").glob("*/**/*.py"):
        own = f"appliance.services.{file.relative_to(ROOT / 'appliance/services').parts[0]}"
        assert not [name for name in imports_of(file) if within(name, "appliance.services") and not within(name, own)]


def test_only_the_process_calls_imports_scripts() -> None:
    """Nor does anybody name a service: what there is, the folders say (`config.folders`)."""
    scripts = [f"appliance.services.{name}" for name in ("scripts", *(file.parent.name for file in SCRIPT_FILES))]
    found = {
        module_of(file): names
        for file in sources()
        if (names := [name for name in imports_of(file) if any(within(name, script) for script in scripts)])
        and not within(module_of(file), "appliance.services")
    }
    assert set(found) == {"appliance.calls.process"}
    assert all(within(name, "appliance.services.scripts") for name in found["appliance.calls.process"])


@pytest.mark.parametrize("module", ["appliance.config.admin", "appliance.config.store", "webui.app", "appliance.commands.plan"])
def test_who_knows_the_services_loads_no_script(module: str) -> None:
    told = f"import {module}, sys; print(*[name for name in sys.modules if name.startswith('appliance.services.')])"
    loaded = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_every_row_is_used() -> None:
    modules = {module_of(file) for file in sources()}
    used = {max((name for name in LAYERS if within(module, name)), key=len, default="") for module in modules}
    assert set(LAYERS) - used == set()


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("appliance.calls.call", "appliance.sip"),
        ("appliance.config.model", "media_core"),
        ("flask", "appliance.config.admin"),
        ("appliance.host.supervisor", "webui"),
    ],
)
def test_the_check_finds_what_is_forbidden(name: str, home: str) -> None:
    assert not allowed(name, home)
