"""`switchroom plan NUMBER --from EXTENSION [--at TIME]`: where a call would go, and why. The same function that calls ask."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from appliance.calls.plan.plan import asked
from appliance.commands.terminal import data_option, fail, json_option, use_cases
from appliance.words import english


@click.command()
@click.argument("number")
@click.option("--from", "caller", required=True, metavar="EXTENSION", help="The extension that dials.")
@click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]), help="When; now, if not given.")
@data_option
@json_option
def plan(number: str, caller: str, at: datetime | None, data: Path, as_json: bool) -> None:
    """Say where a call to NUMBER would go, and why."""
    with use_cases(data) as acting:
        snapshot = acting.snapshot
    extension = snapshot.extension_by_number.get(caller)
    if extension is None:
        fail(f"There is no extension {caller}.")
    lines = [(depth, english().say(said)) for depth, said in asked(number, extension, snapshot, at)]
    if as_json:
        click.echo(json.dumps([{"depth": depth, "sentence": sentence} for depth, sentence in lines]))
    else:
        click.echo("\n".join("  " * depth + sentence for depth, sentence in lines))


COMMANDS = {"plan": plan}
