"""The Flask application below `/api/v1`: routes made of the operations, who may, what is taken and answered, one shape for every refusal."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec
from flask import Flask, Response, current_app, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from appliance import cti
from appliance.config.admin import NotFound
from appliance.config.model import Problem, Refused
from appliance.config.rights import Forbidden
from appliance.config.store import Conflict
from appliance.storage.database import StorageFailed
from appliance.words import LANGUAGES, Said, Words, words_of
from webui.api import callers
from webui.api.operations import Asked, Do, Operation
from webui.api.refusals import Turned, field_errors, refusal
from webui.api.tags import mark_of
from webui.desk import Desk, desk
from webui.login.guard import add_headers
from webui.login.sessions import ServerSideSessions
from webui.serving import compression
from webui.serving.starting import asked_for
from webui.work import Busy

log = logging.getLogger(__name__)
LARGEST = 1 << 20  # octets of a body, but of files
LARGEST_FILE = 4 << 30
LONGEST_NAME = 200  # characters of what stands in an address
AT = re.compile(r"\$\.([^.\[]+)")  # where in it msgspec has found what is wrong
# What went wrong before any operation was asked: status -> sentence.
SAYINGS = {
    404: Said("api.nothing-here"),
    405: Said("api.method"),
    413: Said("api.too-large"),
    415: Said("api.no-json"),
}


def create_api(made: Desk, operations: Iterable[Operation]) -> Flask:
    """The application on a desk. Its addresses are those below the place where it is mounted."""
    app = Flask(__name__, static_folder=None)
    app.config.update(SECRET_KEY=made.sessions.secret(), MAX_CONTENT_LENGTH=LARGEST, WTF_CSRF_TIME_LIMIT=None)
    app.session_interface = ServerSideSessions(made.sessions, made.now)
    app.extensions["switchroom"] = made
    app.extensions["gate"] = callers.Gate()
    callers.install(app)
    app.after_request(add_headers)
    app.after_request(compression.compress)
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(Exception, refuse)
    for operation in operations:
        if operation.do is None:
            continue
        app.add_url_rule(
            operation.rule,
            operation.name,
            _view(operation, operation.do),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    return app


def _view(operation: Operation, do: Do) -> Callable[..., ResponseReturnValue]:
    def view(**names: str) -> ResponseReturnValue:
        here = desk()
        caller = cast(callers.Gate, current_app.extensions["gate"]).enter(here)
        if operation.may:
            verb, _, kind = operation.may.partition(" ")
            caller.actor.demand(cast(Any, verb), kind)
        if any(len(name) > LONGEST_NAME for name in names.values()):
            raise NotFound
        if operation.raw:
            request.max_content_length = LARGEST_FILE
        asked = Asked(here, caller, _words(), names, _query(operation), _body(operation), _if_match())
        return _answered(operation, do(asked))

    view.operation = operation  # type: ignore[attr-defined]
    return view


def _words() -> Words:
    """The language of the answer: what the request prefers of those there are, else the office's."""
    if "words" not in g:  # where everything else looks too that is said in this request (`wording`)
        wanted = asked_for(request.accept_languages) or desk().admin.snapshot.settings.language
        g.words, g.words_for = words_of(wanted if wanted in LANGUAGES else "en"), None
    return cast(Words, g.words)


def _query(operation: Operation) -> Any:
    sent = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise Turned(400, Said.of("api.query", name=name[:100]))
        sent[name] = values[0]
    try:
        return msgspec.convert(sent, operation.query, strict=False)
    except msgspec.ValidationError as error:
        raise Turned(400, Said.of("api.query", name=_where(error))) from None


def _where(error: msgspec.ValidationError) -> str:
    """The member that does not fit; of one that is not known, its name."""
    text = str(error)
    found = AT.search(text) or re.search(r"field `([^`]{1,100})`", text)
    return found[1] if found else ""


def _body(operation: Operation) -> Any:
    if operation.body is None:
        return None
    if request.mimetype != "application/json":
        raise Turned(415, Said.of("api.no-json"))
    try:
        sent = msgspec.json.decode(request.get_data())
        if operation.body is dict and not isinstance(sent, dict):
            raise Turned(400, Said.of("api.not-json"))
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise Turned(400, Said.of("api.not-json")) from None
    if operation.body is dict:
        return sent
    try:
        return msgspec.convert(sent, operation.body)
    except msgspec.ValidationError as error:
        raise Refused(Problem(_where(error), Said.of("api.member", name=_where(error)))) from None


def _if_match() -> str:
    """The mark of a configuration out of If-Match; "*" asks for nothing."""
    header = request.headers.get("If-Match", "").strip()
    if header in ("", "*"):
        return ""
    return mark_of(header.removeprefix("W/").strip('"'))


def _answered(operation: Operation, answer: Any) -> ResponseReturnValue:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status=operation.status)
    made = Response(msgspec.json.encode(answer), operation.status, mimetype="application/json")
    revision = answer.get("revision") if isinstance(answer, dict) else getattr(answer, "revision", None)
    if revision:
        made.headers["ETag"] = f'"{revision}"'
    return made


# ---- refusals ----------------------------------------------------------------------------------------------------------


def _explain(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    said = SAYINGS.get(status, Said("api.not-understood"))
    headers = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
    return refusal(status, _words().say(said), said.key, headers=headers)


def refuse(error: Exception) -> ResponseReturnValue:
    """What is answered when an operation raises."""
    say = _words().say_any
    match error:
        case Turned(status=status, said=said, fields=fields, headers=headers):
            return refusal(status, say(said), said.key, fields, headers)
        case Refused(problems=problems):
            said = Said.of("api.refused")
            return refusal(422, say(said), said.key, field_errors(problems, say))
        case Forbidden(said=said):
            return refusal(403, say(said), said.key)
        case NotFound():
            status, said = 404, Said.of("api.nothing-here")
        case Conflict():
            status, said = 409, Said.of("api.meanwhile")
        case Busy(said=said):
            status = 409
        case cti.Unavailable():
            said = Said.of("api.away")
            return refusal(503, say(said), said.key, headers={"Retry-After": "2"})
        case StorageFailed():
            log.error("%s %s: %s", request.method, request.path, error)
            status, said = 503, error.said
        case _:
            log.exception("%s %s failed", request.method, request.path)
            status, said = 500, Said.of("api.fault")
    return refusal(status, say(said), said.key)
