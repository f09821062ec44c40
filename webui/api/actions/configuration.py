"""The whole configuration as text: written out, compared, brought back (`appliance.exchange`). For who may do everything."""

from __future__ import annotations

import msgspec
from flask import Response, request

from appliance.config.model import Problem, Refused
from appliance.exchange import text
from appliance.exchange.preview import Action, preview
from appliance.words import Said
from webui.api.operations import Asked, Operations
from webui.api.records import Preview

operations = Operations(Said.of("api.configuration"))


class Foreseen(msgspec.Struct):
    kind: str
    id: str
    name: str
    action: Action
    sentence: str


class Applied(msgspec.Struct):
    preview: bool
    sentence: str
    items: list[Foreseen]


@operations.add("GET", "/configuration", may="see *", said=Said.of("api.configuration-text"), kind="application/toml")
def written(asked: Asked) -> Response:
    """Without secrets: the same configuration is always the same text."""
    return Response(text.written(asked.caller.acting.whole()), mimetype="application/toml")


@operations.add(
    "POST", "/configuration", may="change *", said=Said.of("api.configuration-apply"), query=Preview, raw="application/toml",
    answer=Applied, refuses=frozenset({409, 413, 422}),
)  # fmt: skip
def apply(asked: Asked) -> Applied:
    acting = asked.caller.acting
    snapshot = acting.whole()
    try:
        sent = request.stream.read(4 * text.LONGEST + 1).decode()
    except UnicodeDecodeError:
        raise Refused(Problem("", Said.of("api.no-text"))) from None
    wanted = text.read(sent, snapshot).wanted
    foreseen = preview(acting.apply(wanted, dry=True), snapshot)
    if not asked.query.preview:
        acting.apply(wanted)
    rows = [
        Foreseen(row.kind, row.key, row.name, row.action, asked.say(row.said))
        for row in foreseen.rows
        if row.action != "same"
    ]
    return Applied(asked.query.preview, asked.say(foreseen.summary), rows)
