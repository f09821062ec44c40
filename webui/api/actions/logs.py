"""The log: what the processes have said, the newest first, by topic, level and words; and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from flask import Response

from appliance.upkeep import logs
from appliance.upkeep.logs import Level, Topic
from appliance.upkeep.support import Mask
from appliance.words import Said
from webui.api.operations import Asked, Operations, moment

operations = Operations(Said.of("api.logs"))


class LogQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`level`: at least. `until`: before this time, for the next page that of the last line."""

    q: Annotated[str, msgspec.Meta(max_length=100)] = ""
    level: Level = "debug"
    topic: Literal["", "auth", "calls", "security", "system"] = ""
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class LogLine(msgspec.Struct):
    at: datetime
    level: Level
    topic: Topic
    process: str
    text: str
    more: list[str]


class LogLines(msgspec.Struct):
    items: list[LogLine]


def _lines(asked: Asked) -> Iterator[logs.Line]:
    query = asked.query
    until = query.until.timestamp() if query.until else float("inf")
    wanted = logs.Wanted(text=query.q, level=query.level, topic=query.topic, until=until)
    return logs.newest(Path(asked.here.boot.data) / "log", wanted, Mask())


@operations.add("GET", "/logs", may="see log", said=Said.of("api.log"), query=LogQuery, answer=LogLines)
def listing(asked: Asked) -> LogLines:
    found = islice(_lines(asked), asked.query.limit)
    return LogLines(
        [LogLine(moment(one.at), one.level, one.topic, one.process, one.text, list(one.more)) for one in found]
    )


@operations.add("GET", "/logs.txt", may="see log", said=Said.of("api.log-file"), query=LogQuery, kind="text/plain")
def as_file(asked: Asked) -> Response:
    return Response(map(logs.as_text, _lines(asked)), content_type="text/plain; charset=utf-8")
