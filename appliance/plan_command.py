"""`switchroom plan NUMBER --from EXTENSION [--at TIME]`: where a call would go, and why. The same function that calls ask."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click

from appliance.callcontrol.plan import asked
from appliance.store import StorageDamaged, Store
from appliance.words import english


@click.command()
@click.argument("number")
@click.option("--from", "caller", required=True, metavar="EXTENSION", help="The extension that dials.")
@click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]), help="When; now, if not given.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("var"), show_default=True, envvar="SWITCHROOM_DATA"
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def plan(number: str, caller: str, at: datetime | None, data: Path, as_json: bool) -> None:
    """Say where a call to NUMBER would go, and why."""
    if not (data / "config.db").exists():
        _fail(f"There is no Switchroom in {data.absolute()}. Start it once with: switchroom run --data {data}", 3)
    try:
        store = Store(data.absolute())
    except StorageDamaged as error:
        _fail(str(error), 1)
    try:
        snapshot = store.load()
    finally:
        store.close()
    extension = snapshot.extension_by_number.get(caller)
    if extension is None:
        _fail(f"There is no extension {caller}.", 1)
    lines = [(depth, english().say(said)) for depth, said in asked(number, extension, snapshot, at)]
    if as_json:
        click.echo(json.dumps([{"depth": depth, "sentence": sentence} for depth, sentence in lines]))
    else:
        click.echo("\n".join("  " * depth + sentence for depth, sentence in lines))


def _fail(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


COMMANDS = {"plan": plan}
