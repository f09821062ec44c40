"""The commands that exist for the image's units: `switchroom console`, `health`, `update`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from appliance.words import Said

data_option = click.option("--data", type=click.Path(path_type=Path), default=Path("/state/switchroom"), show_default=True)


@click.command(hidden=True)
@data_option
def console(data: Path) -> None:
    """Serve the terminals of the box."""
    from appliance.box.console import serve

    asyncio.run(serve(data))


@click.command(hidden=True)
@data_option
def health(data: Path) -> None:
    """Check a start; exits 1 when this version has not proved itself."""
    from appliance.box import examine, gate, system
    from appliance.host.health import notify_systemd

    try:
        gate.check(data, click.echo)
    except (gate.Unhealthy, system.CannotDo) as error:
        click.echo(f"not healthy: {error}", err=True)
        notify_systemd(f"STATUS={error}")
        with contextlib.suppress(OSError):
            if system.on_trial():
                gate.write_down(error.said)
        sys.exit(1)
    click.echo("healthy")
    try:
        examine.passed(click.echo)
        system.give_up_on_what_did_not_load()
    except Exception as error:  # this version is good, whatever can be said about the other
        click.echo(f"the other version was not looked at: {error}", err=True)


@click.command("return", hidden=True)
def go_back() -> None:
    """After a failed health check: leave a version that is on trial, and start the one that worked."""
    from appliance.box import gate, system

    if not system.on_trial():
        return
    if not gate.written_down():
        gate.write_down(Said("box.not-finished"))
    try:
        system.switch_slot()
    except system.CannotDo as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    system.reboot()


@click.command(hidden=True)
def bless() -> None:
    """After a passed health check: this version is good and stays."""
    from appliance.box import system

    try:
        system.bless()
    except (system.CannotDo, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@click.command(hidden=True)
def helper() -> None:
    """Serve the admin page's requests that need root."""
    from appliance.box.privileged import serve

    serve()


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def update(file: Path) -> None:
    """Install an update into the other slot; the next start tries it."""
    from appliance.box import update_client
    from appliance.box.update import BadUpdate, check_file

    def show(row: dict[str, Any]) -> None:
        click.echo(f"\r{row['what']:<12} {100 * row['done'] // max(1, row['total']):3} %", nl=False)

    try:
        with file.open("rb") as content:
            check_file(content)
            content.seek(0)
            version = update_client.send_update(iter(lambda: content.read(update_client.BLOCK), b""), show)
    except (BadUpdate, update_client.HelperFailed) as error:
        click.echo(f"\n{error}", err=True)
        sys.exit(1)
    click.echo(f"\nVersion {version} is installed; the next start tries it.")


COMMANDS = {"console": console, "health": health, "return": go_back, "bless": bless, "helper": helper, "update": update}
