"""`switchroom KIND list|show|add|set|delete` for every kind of record, with the fields, checks and sentences of the pages.

Nothing here knows a kind: the options are the fields as they are declared, references are given and shown by name, and what refers to a record
is a column of it. What a field may hold is checked where the pages have it checked, so the words are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import click

from appliance.commands.terminal import ask_password, data_option, fail, json_option, table, use_cases
from appliance.config.admin import Usernames, renamed
from appliance.config.declare import (
    Choice,
    Declared,
    Duration,
    FieldType,
    Kind,
    Language,
    Number,
    Record,
    Reference,
    Secret,
    Several,
    TickBox,
)
from appliance.config.model import KINDS, Problem, Refused, Snapshot
from appliance.config.reading.differences import differences
from appliance.config.reading.listing import listed
from appliance.config.rights.acting import Acting
from appliance.exchange import table as sheets
from appliance.exchange.names import Names, there
from appliance.exchange.preview import preview
from appliance.words import Said, english, printable

Command = Callable[..., None]
password_option = click.option("--password", is_flag=True, help="Ask for a password (or read it from standard input).")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
GIVEN = "Without it, it stays."


def say(said: Said) -> str:
    return english().say(said)


# ---- options -----------------------------------------------------------------------------------------------------------


def options(row: Kind[Any], *, adding: bool) -> Callable[[Command], Command]:
    """Decorator: an option for each field that can be given. None means not given."""

    def add(command: Command) -> Command:
        for name, field in reversed(row.record.declared.fields.items()):
            if isinstance(field, Secret) or (field.hidden and not (adding and name == row.parent)):
                continue
            if adding and name == row.named_by:
                continue
            shown = field.text(row.record.model_fields[name].default)
            behind = f"Default: {shown}." if adding and shown else "" if adding else GIVEN
            words = f"{_help(row.record.declared, name, field)} {behind}".strip()
            command = click.option(f"--{name.replace('_', '-')}", name, metavar=_metavar(field), help=words)(command)
        return command

    return add


def _help(declared: Declared, name: str, field: FieldType) -> str:
    return say(declared.label(name)) if field.hidden else say(declared.help(name))


def _metavar(field: FieldType) -> str:
    """What is to be typed."""
    match field:
        case Choice(values=values):
            return "|".join(values)
        case Language(values=values):
            return "|".join(filter(None, values))
        case TickBox():
            return "yes|no"
        case Duration():
            return "TIME"
        case Number():
            return "NUMBER"
        case Reference(kind=kind):
            return kind.upper()
        case Several(of=Reference(kind=kind)):
            return f"{kind.upper()},…"
    return "TEXT"


def _values(row: Kind[Any], names: Names, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as records have it: what is led to by its name."""
    values = {name: value for name, value in given.items() if value is not None}
    for name, leads in row.references.items():
        if not (typed := values.get(name)):
            continue
        several = isinstance(row.record.declared.fields[name], Several)
        ids = [_id(names, leads.kind, each.strip(), name) for each in (typed.split(",") if several else [typed])]
        values[name] = ids if several else ids[0]
    return values


def _id(names: Names, kind: str, name: str, field: str = "") -> str:
    if (found := names.id(kind, name)) is None:
        raise Refused(Problem(field, f"There is no {say(KINDS[kind].one)} {name}."))
    return found


# ---- what is shown -----------------------------------------------------------------------------------------------------


def _row(row: Kind[Any], record: Record, names: Names, acting: Acting) -> dict[str, str]:
    """A record's fields that are shown, as they are typed, and the names of what refers to it."""
    found = {}
    for name, field in record.declared.fields.items():
        if not field.hidden and not field.secret:
            value = names.value(field, getattr(record, name))
            found[name] = str(value) if isinstance(field, Number) else ", ".join(value) if isinstance(value, list) else field.text(value)
    for other in KINDS.values():
        for name, leads in other.references.items():
            if leads.kind == row.name:
                there = acting.snapshot.having(other.name, name, record.id)
                found[other.path] = ", ".join(names.of(other.name, each.id) for each in there)
    return found


def _list(row: Kind[Any]) -> click.Command:
    @click.command("list", help=f"List {say(row.many)}.")
    @data_option
    @json_option
    @click.option("--search", default="", metavar="TEXT", help="Only those in which each of these words is somewhere.")
    def command(data: Path, as_json: bool, search: str) -> None:
        with use_cases(data) as acting:
            names = Names(acting.snapshot)
            found = [key for _, key in acting.search(search, {row.name}, 10_000)] if search else None
            rows = [_row(row, one, names, acting) for one in listed(acting.snapshot, row.name, found=found, sort=_order(row))]
            if row.always:
                rows = [{row.name: one.id, **each} for one, each in zip(listed(acting.snapshot, row.name, sort=_order(row)), rows, strict=True)]
        table(rows, as_json)

    return command


def _order(row: Kind[Any]) -> str:
    return row.named_by if row.named_by in row.record.declared.fields else "id"


def _show(row: Kind[Any], name: click.Parameter | None) -> click.Command:
    secrets = [each for each in row.secrets if each not in row.hidden]

    @click.command("show", help=f"Show one {say(row.one)} with what it has been through.")
    @data_option
    @json_option
    @click.option("--reveal", is_flag=True, hidden=not secrets, help="With its password; that is written down in the journal.")
    def command(data: Path, as_json: bool, reveal: bool, name: str = "") -> None:
        with use_cases(data) as acting:
            record = _one(row, acting, name)
            shown = {"id": record.id, **_row(row, record, Names(acting.snapshot), acting)}
            if reveal and row.name == "line":
                shown["sip_password"] = acting.reveal_sip_password(record.id)
            past = [
                {"revision": each.revision, "at": each.at, "who": each.who, "changes": "; ".join(_told(row.name, each, acting))}
                for each in acting.history(row.name, record.id, limit=20)
            ]
        if as_json:
            click.echo(json.dumps({**shown, "history": past}, indent=2))
            return
        for label, value in shown.items():
            click.echo(f"{label.replace('_', ' '):<16}  {value}")
        for entry in past:
            click.echo(f"{entry['revision']:>6}  {entry['who']}  {entry['changes']}")

    return _with(command, name)


def _told(kind: str, row: Any, acting: Acting) -> list[str]:
    if row.event or row.before is None or row.after is None:
        return [say(row.event) if row.event else "added" if row.before is None else "deleted"]
    found = differences(kind, row.before, row.after, acting.snapshot)
    return [f"{say(each.label)}: {say(each.old)} → {say(each.new)}" for each in found]


def _one(row: Kind[Any], acting: Acting, name: str) -> Record:
    key = next(iter(row.always)) if not name else _id(Names(acting.snapshot), row.name, name)
    found = there(acting.snapshot, row.name).get(key)
    if found is None:
        raise Refused(Problem("", f"There is no {say(row.one)} {name}."))
    return found


# ---- what is changed ---------------------------------------------------------------------------------------------------


def _add(row: Kind[Any], argument: str) -> click.Command:
    suggests = row.named_by in row.suggest(Snapshot())

    @click.command("add", help=f"Add one {say(row.one)}." + (f" Without {argument} the next unused one is taken." if suggests else ""))
    @data_option
    @json_option
    @click.argument("key", metavar=argument, required=not suggests)
    @options(row, adding=True)
    @_people(row)
    @click.option("--show-password", is_flag=True, hidden=row.name != "extension", help="Show the generated SIP password (journalled).")
    def command(data: Path, key: str | None, as_json: bool, show_password: bool, password: bool = False, **given: Any) -> None:
        word = ask_password() if password else ""
        with use_cases(data) as acting:
            values = {**({} if key else acting.suggest(row.name)), **_values(row, Names(acting.snapshot), given)}
            if key:
                values[row.named_by] = key
            made = acting.create(row.name, values, password=word)
            known = str(getattr(made, row.named_by))
            shown = {row.named_by: known, **(_login(acting, made, show_password) if row.name == "extension" else {})}
        if as_json:
            click.echo(json.dumps(shown))
        elif len(shown) > 1:
            click.echo("  ".join(f"{label.replace('_', ' ')} {value}" for label, value in shown.items()))
        else:
            click.echo(f"{say(row.one).capitalize()} {known} was added.")

    return command


def _login(acting: Acting, made: Record, show_password: bool) -> dict[str, str]:
    line = acting.snapshot.lines_of[made.id][0]
    shown = {"sip_password": acting.reveal_sip_password(line.id)} if show_password else {}
    return {"sip_username": line.sip_username, **shown}


def _people(row: Kind[Any]) -> Callable[[Command], Command]:
    """Users have passwords, which are asked for."""
    return password_option if row.name == "user" else lambda command: command


def _set(row: Kind[Any], argument: str, called: str = "set") -> click.Command:
    numbered = row.name == "extension"
    usernames_option = click.option(
        "--sip-usernames",
        "usernames",
        type=click.Choice(["keep", "change"]),
        hidden=not numbered,
        help="With a new number: whether SIP usernames that are made of the old one follow. Their phones go off until they have the new one.",
    )

    @click.command(called, hidden=called != "set", help=f"Change one {say(row.one)}: all that is given or nothing.")
    @data_option
    @options(row, adding=False)
    @_people(row)
    @usernames_option
    def command(
        data: Path, usernames: Usernames | None, password: bool = False, key: str = "", **given: Any
    ) -> None:
        word = ask_password() if password else ""
        with use_cases(data) as acting:
            record, values = _one(row, acting, key), _values(row, Names(acting.snapshot), given)
            if numbered and not usernames:
                _demand_choice(acting, record.id, str(values.get("number", key)))
            acting.update(row.name, record.id, values, password=word, usernames=usernames or "")
        click.echo(f"{say(row.one).capitalize()} {key} was changed." if key else "Changed.")

    return _with(command, None if _single(row) else click.Argument(["key"], metavar=argument))


def _demand_choice(acting: Acting, extension: str, number: str) -> None:
    if following := renamed(acting.snapshot, extension, number):
        names = " and ".join(acting.snapshot.lines[line.id].sip_username for line in following)
        fail(f"Choose what becomes of the SIP username ({names}): --sip-usernames keep, or change.")


def _delete(row: Kind[Any], argument: str) -> click.Command:
    @click.command("delete", help=f"Delete one {say(row.one)}, after saying what goes with it.")
    @data_option
    @click.argument("name", metavar=argument)
    @yes_option
    def command(data: Path, name: str, yes: bool) -> None:
        with use_cases(data) as acting:
            record = _one(row, acting, name)
            for sentence in acting.consequences(row.name, record.id):
                click.echo(say(sentence), err=True)
            if not yes and not click.confirm(f"Delete the {say(row.one)} {name}?", err=True):
                fail("Nothing was changed.")
            acting.delete(row.name, record.id)
        click.echo(f"The {say(row.one)} {name} was deleted.")

    return command


# ---- tables ------------------------------------------------------------------------------------------------------------


def _export(row: Kind[Any]) -> click.Command:
    @click.command("export", help=f"Write {say(row.many)} to standard output as a table (CSV).")
    @data_option
    def command(data: Path) -> None:
        with use_cases(data) as acting:
            snapshot = acting.snapshot
        for line in sheets.written(row.name, listed(snapshot, row.name, sort=_order(row)), snapshot):
            click.echo(line, nl=False)

    return command


def _import(row: Kind[Any]) -> click.Command:
    keys = ", ".join(column.key for column in sheets.columns_of(row.name))

    @click.command("import", help=f"Add and change {say(row.many)} from a table (CSV): all of it or nothing. Columns: {keys}.")
    @data_option
    @yes_option
    @click.option("--map", "given", multiple=True, metavar="COLUMN=FIELD", help="What a column of the file is; nothing behind = leaves it out.")
    @click.argument("file", type=click.File("rb"))
    def command(data: Path, yes: bool, given: tuple[str, ...], file: IO[bytes]) -> None:
        with use_cases(data) as acting:
            sheet = sheets.read(file.read(sheets.LARGEST + 1))
            mapping = _mapping(sheet, row.name, given)
            found = sheets.wanted(row.name, sheet, mapping, acting.snapshot)
            foreseen = preview(acting.save_all(found.wanted, dry=True), acting.snapshot)
            for line, each in zip(found.lines, foreseen.rows, strict=True):
                if each.action != "same":
                    click.echo(printable(say(Said.of("exchange.line", line=line, said=each.said))))
            click.echo(say(foreseen.summary))
            if foreseen.refused:
                fail("Nothing was changed.")
            if not yes and not click.confirm("Import?", err=True):
                fail("Nothing was changed.")
            acting.save_all(found.wanted)

    return command


def _mapping(sheet: sheets.Sheet, kind: str, given: tuple[str, ...]) -> list[str]:
    mapping = sheets.guessed(sheet, kind)
    for each in given:
        name, _, key = each.rpartition("=")
        if name not in sheet.header:
            fail(f"The file has no column {name}. It has: {', '.join(sheet.header)}.")
        mapping[sheet.header.index(name)] = key
    return mapping


# ---- the kinds ---------------------------------------------------------------------------------------------------------


def _single(row: Kind[Any]) -> bool:
    return len(row.always) == 1 and next(iter(row.always)) == row.name


def _with(command: click.Command, argument: click.Parameter | None) -> click.Command:
    if argument is not None:
        command.params.insert(0, argument)
    return command


def commands_of(row: Kind[Any]) -> click.Group:
    argument = (row.name if row.always else row.named_by).upper().replace("-", "_")
    group = click.Group(row.name, help=f"{say(row.many)}.")
    several = not _single(row)
    if several:
        group.add_command(_list(row))
    group.add_command(_show(row, click.Argument(["name"], metavar=argument) if several else None))
    if not row.always:
        group.add_command(_add(row, argument))
        group.add_command(_delete(row, argument))
        group.add_command(_import(row))
    if several:
        group.add_command(_export(row))
    group.add_command(_set(row, argument))
    group.add_command(_set(row, argument, "change"))  # as it was called first
    return group


def _groups() -> Iterator[tuple[str, click.Command]]:
    yield from ((row.name, commands_of(row)) for row in KINDS.values())


COMMANDS: dict[str, click.Command] = dict(_groups())
