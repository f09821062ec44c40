"""The log: what the processes have said, by topic and level, those that come as they come, and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from appliance.upkeep import logs
from appliance.upkeep.logs import LEVELS, TOPICS, Wanted
from appliance.upkeep.support import Mask
from webui.desk import desk
from webui.login.guard import route

pages = Blueprint("logs", __name__)
PAGE = 100
MOST_NEW = 200


def _folder() -> Path:
    return Path(desk().boot.data) / "log"


def _asked() -> tuple[Wanted, dict[str, str]]:
    """What the address asks for, and how it is written in one. What makes no sense narrows nothing."""
    typed = {name: request.args.get(name, "").strip()[:100] for name in ("q", "level", "topic", "from", "to")}
    since, until = _moment(typed["from"]), _moment(typed["to"])
    wanted = Wanted(
        text=typed["q"],
        level=next((level for level in LEVELS if level == typed["level"]), "debug"),
        topic=next((topic for topic in TOPICS if topic == typed["topic"]), ""),
        since=since or 0.0,
        until=until or float("inf"),
    )
    return wanted, {name: value for name, value in typed.items() if value}


def _moment(typed: str) -> float | None:
    """Of a field of date and time, by the office's clock."""
    try:
        return datetime.fromisoformat(typed).replace(tzinfo=desk().admin.snapshot.zone).timestamp() if typed else None
    except (ValueError, OverflowError):
        return None


@route(pages, "/logs", may="see log")
def listing() -> ResponseReturnValue:
    wanted, args = _asked()
    before = request.args.get("before", 0.0, float)
    place = logs.end(_folder())
    shown = wanted if not before else Wanted(text=wanted.text, level=wanted.level, topic=wanted.topic, since=wanted.since, until=min(before, wanted.until))
    lines = list(islice(logs.newest(_folder(), shown, Mask()), PAGE + 1))
    part = request.headers.get("HX-Target") == "logs"
    return render_template(
        "logs/list.html" if part else "logs.html",
        lines=lines[:PAGE],
        older=lines[PAGE - 1].at if len(lines) > PAGE else 0,
        place="" if before or "to" in args else place,
        wanted=wanted,
        args=args,
    )


@route(pages, "/logs/new", may="see log", live=True)
def new() -> ResponseReturnValue:
    wanted, args = _asked()
    place = logs.end(_folder())
    lines = logs.after(_folder(), request.args.get("after", ""), wanted, Mask())[:MOST_NEW]
    return render_template("logs/new.html", lines=lines, place=place, args=args)


@route(pages, "/logs.txt", may="see log")
def as_file() -> ResponseReturnValue:
    wanted, _ = _asked()
    folder, mask = _folder(), Mask()

    def written() -> Iterator[str]:
        yield from map(logs.as_text, logs.newest(folder, wanted, mask))

    name = f"switchroom-log-{datetime.fromtimestamp(desk().now(), desk().admin.snapshot.zone):%Y-%m-%d-%H%M}.txt"
    return Response(written(), content_type="text/plain; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'})
