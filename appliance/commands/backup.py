"""`switchroom backup FILE` and `switchroom restore FILE`: the same as on the page, also where no page can be reached.

The passphrase is asked for, or is the first line of standard input; it is never an argument, for those are seen by everybody.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from appliance import cti
from appliance.commands.terminal import data_option, who
from appliance.host import privileges
from appliance.host.resources import CannotStart, lock
from appliance.storage.sealed import NotOpened, peek
from appliance.upkeep import backup as backups

SHORTEST_PASSPHRASE = 10


def _ask(question: str) -> str:
    return getpass.getpass(question) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def _show(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{what:<10} {100 * done // max(1, total):3} %", nl=False, err=True)


def _refuse(error: object) -> Any:
    click.echo(str(error), err=True)
    sys.exit(1)


@click.command()
@data_option
@click.option(
    "--without-passphrase", is_flag=True, help="Whoever has the file can then read every password and key in it."
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(data: Path, without_passphrase: bool, file: Path) -> None:
    """Write everything this system must remember to FILE: configuration, call records, keys, licence."""
    word = "" if without_passphrase else _ask("Passphrase for the backup: ")
    if not without_passphrase:
        if len(word) < SHORTEST_PASSPHRASE:
            _refuse(f"A passphrase needs at least {SHORTEST_PASSPHRASE} characters.")
        if sys.stdin.isatty() and _ask("Once more: ") != word:
            _refuse("The two passphrases are not the same.")
    temporary = file.with_name(file.name + ".tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            with privileges.as_owner(data):
                contents = backups.make(data.absolute(), out, word, time.time(), _show)
            out.flush()
            os.fsync(out.fileno())
        temporary.rename(file)
    except (backups.BadBackup, OSError) as error:
        temporary.unlink(missing_ok=True)
        _refuse(error)
    click.echo(
        f"{file}: {contents.extensions} extensions, {contents.calls} call records, {file.stat().st_size >> 10} kB"
    )


@click.command()
@data_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(data: Path, file: Path) -> None:
    """Use the backup in FILE. What is there now is kept beside it; a running system starts again by itself."""
    data = data.absolute()
    try:
        with file.open("rb") as sealed:
            word = _ask("Passphrase of the backup: ") if peek(sealed).protected else ""
        with file.open("rb") as sealed:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            with privileges.as_owner(data):
                restored = backups.stage(data, sealed, word, who(), time.time(), _show)
    except (NotOpened, backups.BadBackup, OSError) as error:
        _refuse(error)
    contents = restored.contents
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(contents.made))
    click.echo(f"Backup of {made}: {contents.extensions} extensions, {contents.calls} call records.")
    if _start_again(data):
        click.echo("Switchroom starts again with it.")
        return
    try:
        with privileges.as_owner(data):
            (data / "run").mkdir(mode=0o700, exist_ok=True)
            with lock(data / "run/lock"):
                kept = backups.put_in_place(data)
    except (CannotStart, OSError) as error:
        _refuse(error)
    click.echo(f"It is in place. What was there before is in {kept}.")


def _start_again(data: Path) -> bool:
    """Whether a running system took it."""
    try:
        with cti.Client(str(data / "run/supervisor.sock")) as supervisor:
            return isinstance(supervisor.ask(cti.StartAgain()), cti.Ok)
    except (cti.Unavailable, OSError):
        return False


COMMANDS = {"backup": backup, "restore": restore}
