"""Who may import whom. Imports point down only; a row says what a package may import and why. A package without a row fails."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("media_core", "appliance", "webui", "benchmarks")


@dataclass(frozen=True)
class Row:
    """`ours`: modules or packages of ours, beside the package itself. `others`: distributions beside the standard library."""

    ours: frozenset[str]
    others: frozenset[str]
    reason: str


def row(ours: str, others: str, reason: str) -> Row:
    return Row(frozenset(ours.split()), frozenset(others.split()), reason)


# The longest name that fits a module is its row.
LAYERS = {
    # 0
    "media_core": row("", "pylibsrtp", "moves packets, knows no telephone"),
    # 1: pure
    "appliance.sip": row("media_core.sip_scan", "", "sans-IO SIP: bytes and time in, bytes and events out"),
    "appliance.words": row("", "msgspec", "sentences: key and facts, put into words at the edge"),
    "appliance.config.claims": row("", "", "pure: which numbers belong to what"),
    "appliance.config.countries": row("", "", "facts of countries"),
    "appliance.config.model": row(
        "appliance.config.countries appliance.config.claims appliance.words",
        "pydantic annotated_types",
        "records and snapshot: no clock, no database",
    ),
    "appliance.version": row("", "", "one number"),
    "appliance.storage.on_disk": row("", "", "files that a power cut leaves whole"),
    "appliance.config.passwords": row("", "", "what people may choose; pure but for its list"),
    "appliance.encryption": row("", "", "pure: what of a leg was encrypted, in words"),
    "appliance.config.search": row("", "", "how texts are compared when people search"),
    # 2
    "appliance.host.boot": row("", "msgspec", "what a process is told at its start"),
    "appliance.cti": row("", "msgspec", "the control socket"),
    "appliance.host.alarms": row(
        "appliance.cti", "", "pure checks over facts; an alarm is a message of the control socket"
    ),
    "appliance.flows.admission": row("", "", "pure: how much strangers may ask"),
    "appliance.transport": row(
        "appliance.sip appliance.flows.admission media_core", "", "the driver between flows, clock and stack"
    ),
    "appliance.host.certificates": row("appliance.storage.on_disk", "cryptography", "keys and certificates"),
    "appliance.storage.migration": row(
        "appliance.host.health", "msgspec", "how far a database is that is being opened"
    ),
    "appliance.storage.copies": row(
        "appliance.storage.migration appliance.storage.on_disk", "", "copies of databases before they are migrated"
    ),
    "appliance.config.store": row(
        "appliance.config.model appliance.storage.copies appliance.storage.migration appliance.storage.on_disk",
        "sqlite_utils cryptography",
        "the only one that writes the configuration",
    ),
    "appliance.config.meanwhile": row(
        "appliance.config.model appliance.config.store", "", "a form and what has changed since it was drawn"
    ),
    "appliance.records": row(
        "appliance.config.store appliance.config.search appliance.encryption",
        "sqlite_utils msgspec",
        "call records and registrations",
    ),
    "appliance.config.licensing": row(
        "appliance.config.model", "cryptography", "pure: file, box and date in, limits out"
    ),
    "appliance.host.fdstore": row("", "", "what systemd keeps for us over a restart"),
    "appliance.host.listeners": row("", "", "binds sockets"),
    "appliance.host.heartbeat": row("", "", "pure: when a core counts as hung"),
    "appliance.host.confinement": row("", "", "system calls nobody of ours makes"),
    "appliance.host.privileges": row("appliance.host.confinement", "msgspec", "who we are on this machine"),
    "appliance.host.process": row("appliance.host.privileges", "", "keeps one process alive"),
    "appliance.host.health": row("", "", "sees a process from outside"),
    "appliance.host.setup_code": row("", "", "the code shown where the box was started"),
    "appliance.storage.condition": row("", "", "a look at a database from outside"),
    "appliance.storage.reserve": row("appliance.host.health", "", "room for a full disk"),
    "appliance.host.logfile": row("", "", "where the log goes"),
    "appliance.storage.archive": row("", "", "reads a tar from outside"),
    "appliance.storage.sealed": row("", "cryptography msgspec", "streams sealed with a passphrase"),
    # 3
    "appliance.storage.aside": row(
        "appliance.records appliance.storage.copies appliance.config.store", "", "what a newer version left"
    ),
    "appliance.storage.backup": row(
        "appliance.config.store appliance.records appliance.storage.copies appliance.storage.archive appliance.storage.sealed appliance.storage.on_disk appliance.version",
        "msgspec sqlite_utils",
        "everything in one file, and back",
    ),
    "appliance.calls.causes": row("", "", "pure: why calls end"),
    "appliance.calls.history": row("appliance.calls.causes appliance.cti appliance.words media_core", "msgspec", "pure: what happened in a call"),
    "appliance.callcontrol": row(
        "appliance.calls.causes appliance.calls.history appliance.sip appliance.config.model appliance.config.claims appliance.words appliance.cti appliance.records appliance.transport media_core",
        "msgspec",
        "calls over the stack and the media engine; call slots and records are msgspec structs",
    ),
    # 4
    "appliance.services": row(
        "appliance.callcontrol.api appliance.config.model",
        "",
        "one file per service; sees call control by its api only",
    ),
    "appliance.config.admin": row(
        "appliance.config.model appliance.config.store appliance.config.licensing appliance.config.passwords appliance.config.meanwhile",
        "argon2",
        "the only use-cases that change anything",
    ),
    "appliance.config.entitlement": row(
        "appliance.config.admin appliance.cti appliance.config.licensing appliance.config.store appliance.storage.on_disk appliance.host.privileges",
        "cryptography",
        "opens the use-cases with the licence of the box",
    ),
    # 5: what builds and connects
    "appliance.box.notices": row("appliance.version", "", "licences of what is shipped"),
    "appliance.host.support": row(
        "appliance.cti appliance.config.model appliance.config.store",
        "msgspec",
        "the log and the state, without secrets",
    ),
    "appliance.box.update": row(
        "appliance.storage.archive appliance.storage.on_disk",
        "cryptography msgspec",
        "a signed bundle into the other slot",
    ),
    "appliance.box.update_client": row("", "", "how the unprivileged reach the box's helper"),
    "appliance.box": row("appliance", "click cryptography msgspec segno", "the appliance around the telephone system"),
    "appliance.calls": row("appliance media_core", "uvloop msgspec", "composition root of the process calls"),
    "appliance.softphone": row("appliance.sip media_core", "", "a phone: sees the box through its sockets"),
    "appliance.softphone.selftest": row("appliance.softphone appliance.cti", "msgspec", "uses the box from outside"),
    "appliance.host.renewal": row(
        "appliance.host.process appliance.host.resources", "", "certificates in time while everything runs"
    ),
    "appliance.host.resources": row("appliance media_core", "", "makes what outlives the processes"),
    "appliance.host.supervisor": row("appliance media_core", "", "composition root of the whole"),
    "appliance.commands": row("appliance", "click cryptography", "command line"),
    "appliance.__main__": row("appliance", "click msgspec cryptography", "command line"),
    "webui": row(
        "appliance.config.admin appliance.config.passwords appliance.encryption appliance.config.search appliance.config.model appliance.config.claims appliance.words appliance.callcontrol.plan appliance.cti appliance.host.boot appliance.config.store appliance.config.licensing appliance.config.countries "
        "appliance.records appliance.host.certificates appliance.storage.migration appliance.storage.aside appliance.storage.copies appliance.host.support appliance.box.notices appliance.storage.backup appliance.storage.sealed appliance.config.entitlement appliance.host.setup_code appliance.box.update_client appliance.version",
        "flask flask_wtf werkzeug jinja2 markupsafe itsdangerous hypercorn h2 a2wsgi uvloop annotated_types cryptography segno msgspec",
        "pages over the use-cases, the control socket and the call records; no telephone inside",
    ),
    "benchmarks": row("media_core appliance", "msgspec pylibsrtp pytest pytest_benchmark", "measures everything"),
}
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
    fitting = [name for name in LAYERS if within(module, name) and (name != "appliance" or module == "appliance")]
    assert fitting, f"{module} has no row in LAYERS"
    return max(fitting, key=len)


def allowed(name: str, home: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in CYTHON:
        return True
    if top in PACKAGES:
        return within(name, home) or any(within(name, package) for package in LAYERS[home].ours)
    return top in LAYERS[home].others


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file: Path) -> None:
    if not (names := set(imports_of(file))):
        return
    home = row_of(module_of(file))
    forbidden = sorted(name for name in names if not allowed(name, home))
    assert not forbidden, f"{home} ({LAYERS[home].reason}) may not import {forbidden}"


def test_no_service_imports_another() -> None:
    for file in (ROOT / "appliance/services").glob("*.py"):
        if file.name != "__init__.py":
            assert not [name for name in imports_of(file) if within(name, "appliance.services")]


def test_every_row_is_used() -> None:
    used = {row_of(module_of(file)) for file in sources() if any(imports_of(file)) or file.name != "__init__.py"}
    assert set(LAYERS) - used == set()


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("appliance.callcontrol.call", "appliance.sip"),
        ("appliance.config.model", "media_core"),
        ("flask", "appliance.config.admin"),
        ("appliance.host.supervisor", "webui"),
    ],
)
def test_the_check_finds_what_is_forbidden(name: str, home: str) -> None:
    assert not allowed(name, home)
