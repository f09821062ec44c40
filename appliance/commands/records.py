"""`switchroom user` and `switchroom extension`: list, add, change, delete, with the fields, checks and sentences of the pages.

The options are the fields of the records as `appliance.config.kinds` declares them: a new field is an option too. What a field may hold is
checked where the pages have it checked, so the words are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from appliance.commands.terminal import ask_password, data_option, fail, json_option, table, use_cases
from appliance.config.admin import Usernames, renamed
from appliance.config.declare import Choice, Duration, FieldType, Number, TickBox
from appliance.config.model import KINDS, Extension, Problem, Record, Refused
from appliance.config.rights.acting import Acting
from appliance.words import english

Command = Callable[..., None]
password_option = click.option("--password", is_flag=True, help="Ask for a password (or read it from standard input).")
GIVEN = "Without it, it stays."


def fields_of(kind: str, unchanged: str = "") -> Callable[[Command], Command]:
    """Decorator: an option for each field of the kind that people see, beside the one it is named by. None means not given."""

    def add(command: Command) -> Command:
        row = KINDS[kind]
        for name, declared in reversed(row.record.declared.fields.items()):
            if declared.hidden or name == row.named_by:
                continue
            shown = declared.text(row.record.model_fields[name].default)
            default = f" Default: {shown}." if shown and not unchanged else ""
            command = click.option(
                f"--{name.replace('_', '-')}",
                name,
                metavar=_metavar(declared),
                help=f"{_help(kind, name)}{default} {unchanged}".strip(),
            )(command)
        return command

    return add


def _metavar(declared: FieldType) -> str:
    """What is to be typed."""
    match declared:
        case Choice(values=values):
            return "|".join(values)
        case TickBox():
            return "yes|no"
        case Duration():
            return "TIME"
        case Number():
            return "NUMBER"
    return "TEXT"


def _help(kind: str, field: str) -> str:
    return english().say(KINDS[kind].record.declared.help(field))


def _values(acting: Acting, given: dict[str, Any]) -> dict[str, Any]:
    """What was given, as records have it: an extension's user by the name for logging in."""
    values = {name: value for name, value in given.items() if value is not None}
    if values.get("user"):
        values["user"] = _find(acting, "user", values["user"], "user").id
    return values


def _find(acting: Acting, kind: str, name: str, field: str = "") -> Any:
    found = [one for one in acting.snapshot.of(kind).values() if getattr(one, KINDS[kind].named_by) == name]
    if not found:
        raise Refused(Problem(field, f"There is no {kind} {name}."))
    return found[0]


def _delete(data: Path, kind: str, name: str, yes: bool) -> None:
    with use_cases(data) as acting:
        record = _find(acting, kind, name)
        for sentence in acting.consequences(kind, record.id):
            click.echo(sentence, err=True)
        if not yes and not click.confirm(f"Delete the {kind} {name}?", err=True):
            fail("Nothing was changed.")
        acting.delete(kind, record.id)
    click.echo(f"The {kind} {name} was deleted.")


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def user() -> None:
    """People: who has which extension, and who may log in to the page."""


@user.command("list")
@data_option
@json_option
def user_list(data: Path, as_json: bool) -> None:
    """List the users and their extensions."""
    with use_cases(data) as acting:
        snapshot = acting.snapshot
        owned: dict[str, list[str]] = {}
        for one in sorted(snapshot.extensions.values(), key=lambda one: (len(one.number), one.number)):
            owned.setdefault(one.user, []).append(one.number)
        rows = [
            {
                "username": one.username,
                "full_name": one.full_name,
                "role": one.role,
                "extensions": ", ".join(owned.get(one.id, ())),
            }
            for one in snapshot.users.values()
        ]
    table(rows, as_json)


@user.command("add")
@data_option
@click.argument("username")
@fields_of("user")
@password_option
def user_add(data: Path, username: str, password: bool, **given: Any) -> None:
    """Add a user. Who may log in to the page needs a password."""
    word = ask_password() if password else ""
    with use_cases(data) as acting:
        acting.create("user", {"username": username, **_values(acting, given)}, password=word)
    click.echo(f"User {username} was added.")


@user.command("change")
@data_option
@click.argument("username")
@click.option("--username", "renamed_to", metavar="TEXT", help=f"{_help('user', 'username')} {GIVEN}")
@fields_of("user", GIVEN)
@password_option
def user_change(data: Path, username: str, renamed_to: str | None, password: bool, **given: Any) -> None:
    """Change a user, the password too: all that is given or nothing."""
    word = ask_password() if password else ""
    with use_cases(data) as acting:
        values = _values(acting, {**given, "username": renamed_to})
        acting.update("user", _find(acting, "user", username).id, values, password=word)
    click.echo(f"User {username} was changed.")


@user.command("delete")
@data_option
@click.argument("username")
@yes_option
def user_delete(data: Path, username: str, yes: bool) -> None:
    """Delete a user; the extensions stay and belong to nobody."""
    _delete(data, "user", username, yes)


@click.group()
def extension() -> None:
    """Internal telephone numbers."""


@extension.command("list")
@data_option
@json_option
def extension_list(data: Path, as_json: bool) -> None:
    """List the extensions with the SIP user names of their lines."""
    with use_cases(data) as acting:
        snapshot = acting.snapshot
        rows = [
            {
                "number": one.number,
                "name": one.name,
                "user": snapshot.users[one.user].username if one.user in snapshot.users else "",
                "encrypt": one.encrypt,
                "ring_seconds": str(one.ring_seconds),
                "lines": ", ".join(line.sip_username for line in snapshot.lines_of.get(one.id, ())),
            }
            for one in sorted(snapshot.extensions.values(), key=lambda one: (len(one.number), one.number))
        ]
    table(rows, as_json)


@extension.command("add")
@data_option
@json_option
@click.argument("number", required=False)
@fields_of("extension")
@click.option("--show-password", is_flag=True, help="Show the generated SIP password (written down in the journal).")
def extension_add(data: Path, number: str | None, show_password: bool, as_json: bool, **given: Any) -> None:
    """Add an extension with its first line. Without NUMBER the next unused one is taken. --user takes a user name."""
    with use_cases(data) as acting:
        values = {"number": number or acting.suggest_number(), **_values(acting, given)}
        made = acting.create("extension", values)
        row = {"number": values["number"], **_login(acting, made, show_password)}
    words = "  ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items())
    click.echo(json.dumps(row) if as_json else words)


def _login(acting: Acting, made: Record, show_password: bool) -> dict[str, str]:
    line = acting.snapshot.lines_of[made.id][0]
    shown = {"sip_password": acting.reveal_sip_password(line.id)} if show_password else {}
    return {"sip_username": line.sip_username, **shown}


@extension.command("change")
@data_option
@click.argument("number")
@click.option("--number", "renumbered", metavar="NUMBER", help=f"The new number. {GIVEN}")
@fields_of("extension", GIVEN)
@click.option(
    "--sip-usernames",
    "usernames",
    type=click.Choice(["keep", "change"]),
    help="With a new number: whether SIP usernames that are made of the old one follow. Their phones go off until they have the new one.",
)
def extension_change(
    data: Path, number: str, renumbered: str | None, usernames: Usernames | None, **given: Any
) -> None:
    """Change an extension: all that is given or nothing. --user takes a user name."""
    with use_cases(data) as acting:
        record: Extension = _find(acting, "extension", number)
        following = renamed(acting.snapshot, record.id, renumbered or number)
        if following and not usernames:
            names = " and ".join(acting.snapshot.lines[line.id].sip_username for line in following)
            fail(f"Choose what becomes of the SIP username ({names}): --sip-usernames keep, or change.")
        values = _values(acting, {**given, "number": renumbered})
        acting.update("extension", record.id, values, usernames=usernames or "")
    click.echo(f"Extension {number} was changed.")


@extension.command("delete")
@data_option
@click.argument("number")
@yes_option
def extension_delete(data: Path, number: str, yes: bool) -> None:
    """Delete an extension with its lines."""
    _delete(data, "extension", number, yes)


COMMANDS: dict[str, click.Command] = {"user": user, "extension": extension}
