"""What the commands share: where the data is, tables, who does it, passwords that are asked for, and the use-cases behind all of it.

Errors are one sentence on standard error. A password is never an argument, for those are seen by everybody: it is asked for, twice, or is
the first line of standard input.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from appliance.words import english

if TYPE_CHECKING:
    from appliance.config.rights import Actor
    from appliance.config.rights.acting import Acting

NOT_RUNNING = 3
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("var"),
    show_default=True,
    envvar="SWITCHROOM_DATA",
    help="Directory that holds everything.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


def fail(message: str, code: int = 1) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


def who() -> str:
    """Who is written into the journal."""
    return f"command line ({os.environ.get('SUDO_USER') or getpass.getuser()})"


def actor() -> Actor:
    """Whoever may read the data directory may do everything."""
    from appliance.config.rights import named

    return named(who())


def ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n") or fail("No password was given.")
    word = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != word:
        fail("The two passwords are not the same.")
    return word or fail("No password was given.")


def aligned(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The rows with their columns under each other."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def table(rows: Sequence[Mapping[str, str]], as_json: bool) -> None:
    """Show rows under the names of their columns."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        heading = tuple(name.replace("_", " ").upper() for name in rows[0])
        for line in aligned([heading, *(tuple(row.values()) for row in rows)]):
            click.echo(line)


@contextlib.contextmanager
def use_cases(data: Path) -> Iterator[Acting]:
    """On the stored configuration; a running system is told of each change. What is refused ends the command with its sentences."""
    from appliance.config.admin import NotFound
    from appliance.config.model import Refused
    from appliance.config.rights import Forbidden
    from appliance.config.rights.acting import Acting
    from appliance.host.entitlement import open_admin
    from appliance.storage.database import StorageFailed

    if not (data / "config.db").exists():
        fail(
            f"There is no Switchroom in {data.absolute()}. Start it once with: switchroom run --data {data}",
            NOT_RUNNING,
        )
    try:
        with open_admin(data.absolute()) as admin:
            yield Acting(admin, actor())
    except Refused as error:
        fail("\n".join(problem.message for problem in error.problems))
    except Forbidden as error:
        fail(english().say(error.said))
    except (NotFound, StorageFailed) as error:
        fail(str(error))
