"""`switchroom login reset`: the way back in for somebody who has lost password or login code, when nobody else can help on the page."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.commands.terminal import data_option, use_cases
from appliance.config.model import Problem, Refused, User, login_name
from appliance.words import Said


@click.group()
def login() -> None:
    """How people log in to the pages."""


@login.command("reset")
@data_option
@click.argument("username")
def reset(data: Path, username: str) -> None:
    """Give a user a password for the next login, at which it has to be changed, and remove the login code."""
    with use_cases(data) as acting:
        wanted = login_name(username)
        users = [user for user in acting.records("user").values() if isinstance(user, User)]
        found = next((user for user in users if login_name(user.username) == wanted), None)
        if found is None:
            raise Refused(Problem("", Said.of("logins.nobody", name=username)))
        word = acting.give_password(found.id)
        acting.remove_second_factor(found.id)
    click.echo(word)


COMMANDS: dict[str, click.Command] = {"login": login}
