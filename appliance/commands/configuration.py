"""`switchroom config export|plan|apply`: the whole configuration as text that people keep, compare and change.

Secrets stand in a second file, sealed with a passphrase, which is asked for or is the first line of standard input.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import click
import msgspec

from appliance.commands.terminal import ask_password, data_option, fail, use_cases
from appliance.config.rights.acting import Acting
from appliance.exchange import text
from appliance.exchange.preview import Preview, preview
from appliance.storage.sealed import NotOpened, Opener, Sealer
from appliance.version import VERSION
from appliance.words import Said, english, printable

SHORTEST_PASSPHRASE = 10
LARGEST_SECRETS = 64_000_000  # octets
secrets_option = click.option(
    "--secrets",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the passwords and keys, sealed with a passphrase that is asked for.",
)
file_argument = click.argument("file", type=click.Path(dir_okay=False, exists=True, allow_dash=True, path_type=Path))


@click.group()
def config() -> None:
    """The configuration as text: written out, compared, brought back."""


@config.command("export")
@data_option
@secrets_option
def export(data: Path, secrets: Path | None) -> None:
    """Write the configuration to standard output, as TOML. The same configuration is always the same text."""
    word = ask_password() if secrets else ""
    if secrets and len(word) < SHORTEST_PASSPHRASE:
        fail(f"A passphrase needs at least {SHORTEST_PASSPHRASE} characters.")
    with use_cases(data) as acting:
        written = text.written(acting.snapshot)
        if secrets:
            acting.note("settings", "settings", Said("journal.secrets"))
            _seal(secrets, msgspec.json.encode(text.secrets_of(acting.whole())), word)
    click.echo(written, nl=False)


def _seal(file: Path, plain: bytes, word: str) -> None:
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            sealer = Sealer(out, word, VERSION, time.time())
            sealer.write(plain)
            sealer.finish()
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.")


def _unseal(file: Path, word: str) -> text.Secrets:
    try:
        with file.open("rb") as sealed:
            plain = io.BufferedReader(Opener(sealed, word)).read(LARGEST_SECRETS)
        return msgspec.json.decode(plain, type=dict[str, dict[str, dict[str, str]]])
    except (NotOpened, OSError, msgspec.DecodeError) as error:
        fail(f"{file}: {error}")


@config.command("plan")
@data_option
@secrets_option
@file_argument
def plan(data: Path, secrets: Path | None, file: Path) -> None:
    """Say what would change if FILE were applied. Nothing is changed."""
    word = ask_password() if secrets else ""
    with use_cases(data) as acting:
        foreseen, _ = _foreseen(acting, file, secrets, word)
    _tell(foreseen)
    if foreseen.refused:
        fail("This cannot be applied.")


@config.command("apply")
@data_option
@secrets_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@file_argument
def apply(data: Path, secrets: Path | None, yes: bool, file: Path) -> None:
    """Make the configuration what FILE says: all of it in one revision, or nothing."""
    word = ask_password() if secrets else ""
    with use_cases(data) as acting:
        foreseen, read = _foreseen(acting, file, secrets, word)
        _tell(foreseen)
        if foreseen.refused:
            fail("This cannot be applied. Nothing was changed.")
        if all(row.action == "same" for row in foreseen.rows):
            return
        if not yes and not click.confirm("Apply?", err=True):
            fail("Nothing was changed.")
        acting.apply(read.wanted)
    click.echo("Applied.")


def _foreseen(acting: Acting, file: Path, secrets: Path | None, word: str) -> tuple[Preview, text.Read]:
    known = _unseal(secrets, word) if secrets else None
    try:
        with click.open_file(str(file), encoding="utf-8") as opened:
            written = opened.read(text.LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {error}.")
    snapshot = acting.whole()
    read = text.read(written, snapshot, known)
    return preview(acting.apply(read.wanted, dry=True), snapshot), read


def _tell(foreseen: Preview) -> None:
    for row in foreseen.rows:
        if row.action != "same":
            click.echo(printable(english().say(row.said)))
    click.echo(english().say(foreseen.summary))


COMMANDS: dict[str, click.Command] = {"config": config}


