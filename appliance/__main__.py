"""The command line: `switchroom run`, `status`, `selftest`, `user`, `extension`, `licence`, `backup`, `restore`, `version`.

Exit codes: 0 done; 1 refused, or a test failed; 2 wrong use, or it cannot start; 3 Switchroom is not running. Errors are one sentence on
standard error.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from appliance import cti
from appliance.commands.terminal import NOT_RUNNING, aligned, data_option, fail, json_option, use_cases
from appliance.version import VERSION
from appliance.words import english, printable

REFUSALS_SHOWN = 10
port = click.IntRange(1, 65535)


class Commands(click.Group):
    """Those below, and those of other modules, which are loaded only when they are meant: a start that is waited for is quicker."""

    others: Mapping[str, str] = {
        "config": "appliance.commands.configuration",
        **dict.fromkeys(("backup", "restore"), "appliance.commands.backup"),
        "plan": "appliance.commands.plan",
        "login": "appliance.commands.login",
        **dict.fromkeys(("console", "health", "return", "bless", "helper", "update"), "appliance.box.commands"),
    }
    rest: str = "appliance.commands.records"  # whatever else there is, is a kind of record

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self.others, *self._of(self.rest)})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if (own := super().get_command(ctx, name)) is not None:
            return own
        return self._of(self.others.get(name, self.rest)).get(name)

    def _of(self, module: str) -> Mapping[str, click.Command]:
        return cast(Mapping[str, click.Command], importlib.import_module(module).COMMANDS) if module else {}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="switchroom")
def main() -> None:
    """Switchroom, an office telephone system."""


class PortRange(click.ParamType[tuple[int, int]]):
    """FIRST-LAST, at least one pair."""

    name = "first-last"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        first, dash, last = str(value).partition("-")
        if not (dash and first.isdigit() and last.isdigit() and 1024 <= int(first) < int(last) <= 65535):
            self.fail(f"{value!r} is not a range of ports such as 20000-29999 (between 1024 and 65535).", param, ctx)
        return int(first), int(last)


@main.command()
@data_option
@click.option("--host", default="127.0.0.1", show_default=True, help="IP address to listen on; 0.0.0.0 for all.")
@click.option("--sip-port", type=port, default=15060, show_default=True, help="SIP over UDP and TCP.")
@click.option("--sips-port", type=port, default=15061, show_default=True, help="SIP over TLS.")
@click.option(
    "--user-port", type=port, default=14443, show_default=True, help="Page for everybody in the office (HTTPS, HTTP/3)."
)
@click.option("--admin-port", type=port, default=14021, show_default=True, help="Admin page (HTTPS, HTTP/3).")
@click.option("--rtp", type=PortRange(), default="20000-29999", show_default=True, help="Range of RTP ports.")
@click.option(
    "--calls",
    type=click.IntRange(1, 2000),
    default=500,
    show_default=True,
    help="Calls at a time; RTP ports and memory follow from it.",
)
@click.option("--datapath", default="auto", show_default=True, help="How the media core moves packets.")
@click.option(
    "--workers",
    type=click.IntRange(1, 16),
    show_default="one per processor core, at most two",
    help="Threads of the media core that move packets.",
)
def run(data: Path, host: str, rtp: tuple[int, int], **options: Any) -> None:
    """Run the whole system in the foreground until Ctrl-C."""
    import ipaddress

    from appliance.host import privileges
    from appliance.host.boot import FOLLOWS, VARIABLE
    from appliance.host.process import Early

    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise click.BadParameter(f"{host!r} is not an IP address.", param_hint="--host") from None
    data = data.resolve()
    try:
        stays_root = privileges.enter(data)
    except OSError as error:
        fail(f"The data directory {data} cannot be used: {error.strerror}.", 2)
    # It loads longest and phones wait for it, so it begins before the rest of this is loaded.
    early = Early("appliance.calls", {**os.environ, VARIABLE: FOLLOWS})

    from appliance.host.logfile import open_log
    from appliance.host.resources import CannotStart, Options
    from appliance.host.supervisor import supervise

    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        open_log(data / "log")
        asyncio.run(
            supervise(
                Options(data=data, host=host, rtp_first=rtp[0], rtp_last=rtp[1], stays_root=stays_root, **options),
                click.echo,
                early,
            )
        )
    except (CannotStart, OSError) as error:
        fail(str(error), 2)
    finally:
        early.drop()


@main.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show every process, the counters and what is wrong. Exits 1 when something is."""
    report = _ask(data, "supervisor.sock", cti.GetStatus())
    if not isinstance(report, cti.Status):
        fail(f"The supervisor answered something else: {report}", 1)
    refused = _refused(data)
    if as_json:
        found = {"refusals": [_in_words(one) for one in refused], "alarms": [_in_words(one) for one in report.alarms]}
        click.echo(json.dumps(msgspec.to_builtins(report) | found, indent=2))
    else:
        for line in [*_status_lines(report), *_refusal_lines(refused)]:
            click.echo(line)
    sys.exit(0 if report.healthy else 1)


@main.command()
@data_option
@click.argument("process")
def restart(data: Path, process: str) -> None:
    """Restart one process (core, calls or web). Calls go on."""
    reply = _ask(data, "supervisor.sock", cti.RestartProcess(name=process))
    if isinstance(reply, cti.Failed):
        fail(reply.message, 1)
    click.echo(f"{process} is being restarted.")


@main.command()
@data_option
@json_option
def selftest(data: Path, as_json: bool) -> None:
    """Make a real encrypted call through the running system and listen whether the sound arrives."""
    from appliance.softphone.selftest import selftest as run_selftest

    report = run_selftest(_running(data))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(report), indent=2))
    else:
        for step in report.steps:
            click.echo(f"{'✓' if step.ok else '✗'} {step.name:<28} {step.message}")
    sys.exit(0 if report.ok else 1)


class LicenceCommands(Commands):
    others: Mapping[str, str] = dict.fromkeys(("new-key", "issue"), "appliance.commands.maker")
    rest = ""


@main.group(cls=LicenceCommands)
def licence() -> None:
    """What may be added, and why."""


@licence.command("show")
@data_option
@json_option
def licence_show(data: Path, as_json: bool) -> None:
    """Show what is licensed, what counts and what remains."""
    from appliance.host.entitlement import box_id

    with use_cases(data) as acting:
        usage = acting.licence_usage()
    limits = usage.limits
    figures = {
        "box": box_id(data.absolute()),
        "edition": limits.edition,
        "users": limits.users,
        "extensions": limits.extensions,
    }
    figures |= {"users_used": usage.users, "users_left": usage.users_left}
    figures |= {"extensions_used": usage.extensions, "extensions_left": usage.extensions_left}
    figures |= {"expires": str(limits.expires or "never"), "note": english().say(limits.note)}
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        click.echo(f"Box {figures['box']}\n{figures['note']}\n{english().say(usage.words)}")


@licence.command("install")
@data_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def licence_install(data: Path, file: Path) -> None:
    """Check a licence file and use it from now on."""
    from appliance.config import licensing
    from appliance.host import entitlement

    with file.open("rb") as opened:
        text = opened.read(licensing.LARGEST_FILE + 1).decode(errors="replace")
    try:
        with use_cases(data) as acting:
            limits = entitlement.install(data.absolute(), text, acting)
    except licensing.BadLicence as error:
        fail(str(error), 1)
    click.echo(english().say(limits.note))


def _status_lines(report: cti.Status) -> Iterator[str]:
    from appliance.host.alarms import told

    yield f"Switchroom {report.version} · {'healthy' if report.healthy else 'NOT HEALTHY'} · up {_span(time.time() - report.started)}"
    yield ""
    heading = ("PROCESS", "PID", "STATE", "UP", "RESTARTS", "MEMORY", "FILES")
    yield from aligned([heading, *(_process_row(process) for process in report.processes)])
    yield ""
    yield from aligned([(name.replace("_", " "), str(value)) for name, value in sorted(report.counters.items())])
    yield ""
    rows = [*report.addresses.items(), ("datapath", report.datapath), ("cipher", report.cipher)]
    yield from aligned([row for row in rows if row[1]])
    if report.alarms:
        yield ""
    for alarm in report.alarms:
        yield f"{alarm.severity.upper()}: {told(alarm)}"


def _refused(data: Path) -> list[cti.RefusalView]:
    """Who was turned away last and has not come in since; empty when `calls` cannot tell."""
    try:
        reply = asyncio.run(cti.ask(str(_running(data) / "calls.sock"), cti.GetRefusals()))
    except cti.Unavailable:
        return []
    return [one for one in reply.refusals if one.over is None] if isinstance(reply, cti.Refusals) else []


def _refusal_lines(refused: list[cti.RefusalView]) -> Iterator[str]:
    if refused:
        yield ""
        yield "Refused lately, newest first:"
    for one in refused[:REFUSALS_SHOWN]:
        times = f", {one.count} times" if one.count > 1 else ""
        words = " ".join(english().say(said, escape=printable) for said in (one.message, one.repair))
        yield f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(one.time))} {one.address}{times}: {words}"


def _in_words(one: cti.RefusalView | cti.Alarm) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(one)
    return plain | {"message": english().say(one.message), "repair": english().say(one.repair)}


def _process_row(p: cti.ProcessView) -> tuple[str, ...]:
    memory = f"{p.memory / (1 << 20):.1f} MB"
    return p.name, str(p.pid or "–"), p.state, _span(p.uptime), str(p.restarts), memory, str(p.files)


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return (
        f"{whole // 86400} d {whole % 86400 // 3600} h"
        if whole >= 86400
        else f"{whole // 3600} h {whole % 3600 // 60:02} min"
    )


def _running(data: Path) -> Path:
    """The directory of the control sockets; exits when nothing runs there."""
    directory = data.absolute() / "run"
    if not (directory / "supervisor.sock").exists():
        fail(
            f"Switchroom is not running on {data.absolute()}. Start it with: switchroom run --data {data}", NOT_RUNNING
        )
    return directory


def _ask(data: Path, socket: str, request: cti.Message) -> cti.Message:
    try:
        return asyncio.run(cti.ask(str(_running(data) / socket), request))
    except cti.Unavailable as error:
        fail(
            f"Switchroom on {data.absolute()} does not answer: {error} Start it with: switchroom run --data {data}",
            NOT_RUNNING,
        )


if __name__ == "__main__":
    main()
