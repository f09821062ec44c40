"""`/api`: what programs can do here, with examples to copy; the document for machines is at `/api/v1/openapi.json`."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from appliance.config.model import KINDS
from appliance.words import Said
from webui import wording
from webui.api.everything import BASE, OPERATIONS
from webui.api.refusals import Error, ErrorAnswer, FieldError
from webui.login.guard import route

pages = Blueprint("api", __name__)
PATH, LINES = KINDS["extension"].path, KINDS["line"].path
EXAMPLES: tuple[tuple[Said, str], ...] = (
    (Said.of("api.example-list"), f'ask "$API/{PATH}?q=anna&sort=-number"'),
    (Said.of("api.example-add"), f'ask $API/{PATH} \\\n  -d \'{{"number": "120", "name": "Anna"}}\''),
    (
        Said.of("api.example-change"),
        f'ask $API/{PATH}/ID -X PATCH \\\n  -d \'{{"encrypt": "required", "revision": "…"}}\'',
    ),
    (Said.of("api.example-reveal"), f"ask -X POST $API/{LINES}/ID/reveal"),
    (Said.of("api.example-calls"), 'ask "$API/call-records.csv?result=missed"'),
    (Said.of("api.example-events"), "ask -N $API/events"),
)


class Row(NamedTuple):
    method: str
    path: str
    may: str
    words: str


@route(pages, "/api", role="person")
def listing() -> ResponseReturnValue:
    say = wording.say
    groups: dict[str, list[Row]] = {}
    for one in OPERATIONS:
        groups.setdefault(say(one.group), []).append(Row(one.method, one.path, one.may, say(one.said)))
    wrong = FieldError(
        "number", say(Said.of("fields.no-number", field=Said.of("extension.number"))), "fields.no-number"
    )
    refused = Said.of("api.refused")
    shape = msgspec.json.encode(ErrorAnswer(Error(say(refused), refused.key, [wrong])))
    return render_template(
        "api.html",
        groups=groups.items(),
        base=BASE,
        here=request.host_url.rstrip("/"),
        examples=[(say(title), example) for title, example in EXAMPLES],
        refusal=msgspec.json.format(shape, indent=2).decode(),
    )
