"""`/api`: what programs can do here, with examples to copy; the document for machines is at `/api/v1/openapi.json`."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from appliance.config.model import KINDS
from appliance.words import Said
from webui import wording
from webui.api.everything import BASE, PARTS
from webui.api.refusals import Error, ErrorAnswer, FieldError
from webui.login.guard import route

pages = Blueprint("api", __name__)
CURL = 'curl --cacert authority.crt -H "Authorization: Bearer $KEY"'
JSON = '-H "Content-Type: application/json"'
PATH = KINDS["extension"].path
EXAMPLES: tuple[tuple[Said, str], ...] = (
    (Said.of("api.example-list"), f'{CURL} \\\n  "$SWITCHROOM/{PATH}?q=anna&sort=-number"'),
    (
        Said.of("api.example-add"),
        f'{CURL} \\\n  {JSON} \\\n  -d \'{{"number": "120", "name": "Anna"}}\' $SWITCHROOM/{PATH}',
    ),
    (
        Said.of("api.example-change"),
        f'{CURL} \\\n  {JSON} -X PATCH \\\n  -d \'{{"encrypt": "required", "revision": "…"}}\' $SWITCHROOM/{PATH}/ID',
    ),
    (Said.of("api.example-reveal"), f"{CURL} \\\n  -X POST $SWITCHROOM/{KINDS['line'].path}/ID/reveal"),
    (Said.of("api.example-calls"), f'{CURL} \\\n  "$SWITCHROOM/call-records.csv?result=missed"'),
    (Said.of("api.example-events"), f"{CURL} -N $SWITCHROOM/events"),
)


class Row(NamedTuple):
    method: str
    path: str
    may: str
    words: str


@route(pages, "/api", role="person")
def listing() -> ResponseReturnValue:
    say = wording.say
    groups = [(say(part.group), [Row(one.method, one.path, one.may, say(one.said)) for one in part]) for part in PARTS]
    wrong = FieldError(
        "number", say(Said.of("fields.no-number", field=Said.of("extension.number"))), "fields.no-number"
    )
    refused = Said.of("api.refused")
    shape = msgspec.json.encode(ErrorAnswer(Error(say(refused), refused.key, [wrong])))
    return render_template(
        "api.html",
        groups=groups,
        base=BASE,
        here=request.host_url.rstrip("/"),
        examples=[(say(title), example) for title, example in EXAMPLES],
        refusal=msgspec.json.format(shape, indent=2).decode(),
    )
