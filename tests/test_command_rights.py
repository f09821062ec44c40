"""Every command of the command line by every role. On the box it is root's, who may do everything; that its use-cases keep to rights is tried
here, with somebody else in root's place. A command without a row fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from appliance.__main__ import main
from appliance.commands import terminal
from appliance.config.admin import Admin
from appliance.config.model import KINDS
from appliance.config.rights import Actor, actor_of
from appliance.config.store import Store

PASSWORD = "correct horse battery"
LOOKS, NUMBERS, ALL = "read-only", "delegated", "full"
ROLES = ("none", "own", LOOKS, NUMBERS, ALL)
RIGHTS = "Your rights do not include this."

# What a command does to records, for who: of every kind, and of extensions, which the delegated group may change.
RECORDS: Mapping[str, tuple[set[str], set[str]]] = {
    "list": ({LOOKS, ALL}, {LOOKS, NUMBERS, ALL}),
    "show": ({LOOKS, ALL}, {LOOKS, NUMBERS, ALL}),
    "export": ({LOOKS, ALL}, {LOOKS, NUMBERS, ALL}),
    "add": ({ALL}, {ALL}),
    "set": ({ALL}, {NUMBERS, ALL}),
    "change": ({ALL}, {NUMBERS, ALL}),
    "delete": ({ALL}, {ALL}),
    "import": ({ALL}, {ALL}),
}
OTHERS: Mapping[str, set[str]] = {
    "config export": {LOOKS, ALL},
    "config plan": {ALL},
    "config apply": {ALL},
    "licence show": {LOOKS, ALL},
    "login reset": {ALL},
    "licence install": {ALL},
}
# These need the box's files or its root, and ask nobody else: whoever can read the data directory.
OF_ROOT = {
    "backup", "restore", "bless", "console", "health", "helper", "licence issue", "licence new-key", "plan", "restart", "return", "run", "selftest",
    "status", "update",
}  # fmt: skip
EXAMPLES = {
    "extension": "100",
    "user": "dora",
    "line": "100",
    "service": "echo",
    "permission-group": "Numbers",
    "api-key": "Door",
}

# What is only there when it may be seen, where that is not the name.
STORED = {"service": "*88", "settings": "DE", "backup-plan": "/mnt/share", "config": "dora"}
CHANGES = {
    "extension": ("--name", "X", "Y"), "user": ("--full-name", "X", "Y"), "line": ("--label", "X", "Y"), "service": ("--number", "*99", "*98"),
    "permission-group": ("--see", "line", "user"), "api-key": ("--expires", "2031-12-31", "2031-12-30"), "settings": ("--name", "X", "Y"),
    "backup-plan": ("--keep", "8", "9"),
}  # fmt: skip


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*path, name))
    else:
        yield " ".join(path)


def test_every_command_has_a_row() -> None:
    for command in leaves(main):
        first, _, verb = command.partition(" ")
        assert command in OTHERS or command in OF_ROOT or (first in KINDS and verb in RECORDS), command


def order(command: str) -> tuple[int, bool]:
    """First what only looks, last what deletes, lines before the extension that takes its own along."""
    kind, _, verb = command.partition(" ")
    return 0 if verb in ("list", "show", "export") else 2 if verb == "delete" else 1, kind != "line"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Dora, whose role the tests change, with extension 100; a group that may change extensions, and a key."""
    store = Store(tmp_path)
    admin = Admin(store)
    admin.complete_setup(username="anna", full_name="Anna", password=PASSWORD, first_extension="100", country="DE")
    group = admin.create("permission-group", {"name": "Numbers", "change": "extension"}, "root")
    admin.create("user", {"username": "dora", "groups": group.id}, "root", password=PASSWORD)
    admin.create("extension", {"number": "100"}, "root")
    admin.create("api-key", {"name": "Door"}, "root")
    admin.update("service", "echo", {"number": "*88"}, "root")
    admin.update("backup-plan", "backup-plan", {"folder": "/mnt/share"}, "root")
    store.close()
    return tmp_path


def actor(data: Path, role: str) -> Actor:
    store = Store(data)
    try:
        admin = Admin(store)
        dora = next(user for user in admin.snapshot.users.values() if user.username == "dora")
        admin.update("user", dora.id, {"role": role}, "root")
        return actor_of(admin.snapshot.users[dora.id], admin.snapshot)
    finally:
        store.close()


def revision(data: Path) -> int:
    store = Store(data)
    try:
        return store.revision()
    finally:
        store.close()


def run(data: Path, command: str) -> Result:
    kind, _, verb = command.partition(" ")
    name, arguments = EXAMPLES.get(kind, ""), []
    if command in ("config plan", "config apply", "licence install") or verb == "import":
        file = data / "given"
        file.write_text("username\nemil\n" if verb == "import" else "")
        arguments = [str(file)]
    elif command == "login reset":
        arguments = ["dora"]
    elif verb == "add":
        arguments = {"extension": ["101"], "line": ["L2", "--extension", "100"]}.get(kind, [f"{name}2"])
    elif verb in ("show", "set", "change", "delete") and name:
        arguments = [name]
    if verb in ("set", "change"):
        arguments += CHANGES[kind][0], CHANGES[kind][1 if verb == "set" else 2]
    if verb in ("delete", "apply", "import"):
        arguments.append("--yes")
    return CliRunner().invoke(main, [*command.split(), *arguments, "--data", str(data)], input="")


@pytest.mark.parametrize("role", ROLES)
def test_each_command_keeps_to_the_rights_of_who_runs_it(
    data: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = actor(data, role)
    monkeypatch.setattr(terminal, "actor", lambda: who)
    wrong = []
    for command in sorted((each for each in leaves(main) if each not in OF_ROOT), key=order):
        kind, _, verb = command.partition(" ")
        allowed = OTHERS[command] if command in OTHERS else RECORDS[verb][kind == "extension"]
        before, done = revision(data), run(data, command)
        if verb in ("list", "show", "export") and kind != "licence":
            may = STORED.get(kind, EXAMPLES.get(kind, "")) in done.output and done.exit_code == 0
        elif verb in ("add", "set", "change", "delete"):
            may = done.exit_code == 0 and revision(data) > before
        else:
            may = RIGHTS not in done.output and "There is no user" not in done.output
        if may != (role in allowed):
            wrong.append((command, done.exit_code, done.output[:200]))
    assert not wrong
