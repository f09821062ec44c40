"""The first-run wizard: setup code → administrator → country and numbering → what to do next.

The code is printed where the box was started and lies in run/setup-code: only who can read it may become the first administrator. Each step is checked
before the next; nothing is stored until the last one, and the password waits in memory only. There is no default password and no way back
here once an administrator exists. On a box that cannot read its configuration the code leads to the restore of a backup, and nowhere else.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import math
from typing import Any, cast

from flask import Blueprint, abort, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from appliance.config import passwords
from appliance.config.countries import COUNTRIES
from appliance.config.model import Problem, Refused, User, check, make, service_number
from appliance.host import setup_code
from appliance.words import LANGUAGES, Said
from webui.desk import PendingSetup, desk
from webui.forms import fields_of, problems_by_field
from webui.login.guard import person, route
from webui.login.sessions import ServerSideSessions, Session
from webui.login.throttle import counts
from webui.pages.backup import take
from webui.wording import countries, language, t

pages = Blueprint("setup", __name__)
log = logging.getLogger(__name__)

STEPS = ("code", "administrator", "numbering")
PENDING_SECONDS = 1800.0
PENDING_BOUND = 8
WIDTHS = ("10", "100")  # the first extension, of two digits or of three


def _draw(step: str, values: dict[str, str], problems: dict[str, str], status: int = 200) -> ResponseReturnValue:
    page = render_template(
        f"setup/{step}.html",
        step=STEPS.index(step),
        steps=STEPS,
        values=values,
        wrong=problems,
        countries=countries(),
        languages=LANGUAGES,
        spoken=values.get("language") or language(),
        widths=WIDTHS,
        fields=fields_of(User, values),
        advice=t("password.least", least=passwords.SHORTEST, advice=passwords.ADVICE),
        code_file=desk().setup_code_file,
    )
    return page, status


def _pending() -> PendingSetup | None:
    found = desk().pending_setups.get(session.get("setup", ""))
    return found if found and found.until > desk().now() else None


@pages.before_request
def only_restore() -> ResponseReturnValue | None:
    """What would be set up on a configuration that cannot be read would be lost."""
    unfit = request.endpoint in ("setup.name_administrator", "setup.complete")
    return redirect(url_for("setup.begin"), 303) if desk().damage and unfit else None


@route(pages, "/setup", role="setup")
def begin() -> ResponseReturnValue:
    with contextlib.suppress(OSError):  # then there is no way in
        # it may have been used up by an administrator whom a restored backup does not have
        setup_code.keep(desk().setup_code_file)
    if not session.get("setup"):
        return _draw("code", {}, {})
    if desk().damage:
        return redirect(url_for("setup.choose_backup"), 303)
    pending = _pending()
    if pending is None or request.args.get("step") == "administrator":
        values = {"username": pending.username, "full_name": pending.full_name} if pending else {}
        return _draw("administrator", values, {})
    settings = desk().admin.snapshot.settings
    return _draw("numbering", {"first_extension": settings.first_extension, "country": settings.country}, {})


@route(pages, "/setup/code", role="setup", methods=("POST",))
def enter_code() -> ResponseReturnValue:
    here, now = desk(), desk().elapsed()
    names = counts(request.remote_addr, "setup code")
    if wait := here.throttle.wait(now, *names):
        problem = t("setup.held-back", seconds=math.ceil(wait))
        return _draw("code", {}, {"code": problem}, 429)
    here.throttle.failed(now, *names)
    typed = _normal(request.form.get("code", "")[:100])
    try:
        expected = _normal(here.setup_code_file.read_text())
    except OSError:
        expected = ""
    if not expected or not hmac.compare_digest(typed.encode(), expected.encode()):
        log.warning("wrong setup code from %s", request.remote_addr)
        return _draw("code", {}, {"code": t("setup.wrong-code")}, 422)
    here.throttle.succeeded(*names)
    web_session = cast(Session, session)
    cast(ServerSideSessions, current_app.session_interface).begin(web_session, "")
    web_session["setup"] = here.sessions.token()
    return redirect(url_for("setup.begin"), 303)


def _normal(code: str) -> str:
    """People type codes with spaces, dashes and small letters."""
    return "".join(letter for letter in code.upper() if letter.isalnum())


@route(pages, "/setup/restore", role="setup")
def choose_backup() -> ResponseReturnValue:
    if not session.get("setup"):
        return redirect(url_for("setup.begin"), 303)
    return render_template("setup/restore.html")


@route(pages, "/setup/restore", role="setup", methods=("POST",))
def take_backup() -> ResponseReturnValue:
    """Only for who has entered the setup code."""
    if not session.get("setup"):
        abort(403)
    return take("setup")


@route(pages, "/setup/administrator", role="setup", methods=("POST",))
def name_administrator() -> ResponseReturnValue:
    key = session.get("setup")
    if not key:
        return redirect(url_for("setup.begin"), 303)
    values = {name: request.form.get(name, "").strip() for name in ("full_name", "username")}
    password = request.form.get("password", "")
    try:
        _check_administrator(values, password, request.form.get("again", ""))
    except Refused as refused:
        return _draw("administrator", values, problems_by_field(refused.problems), 422)
    here = desk()
    waiting = here.pending_setups
    waiting[key] = PendingSetup(values["username"], values["full_name"], password, here.now() + PENDING_SECONDS)
    for stale in [one for one, pending in waiting.items() if pending.until <= here.now()] or list(waiting)[
        : max(0, len(waiting) - PENDING_BOUND)
    ]:
        del waiting[stale]
    return redirect(url_for("setup.begin"), 303)


def _check_administrator(values: dict[str, str], password: str, again: str) -> None:
    """What the fields of the step can tell; Refused with every problem at once."""
    problems: list[Problem] = []
    if not values["full_name"]:
        problems.append(Problem("full_name", Said("setup.no-name")))
    try:
        problems += check("user", make("user", {"id": "first", "role": "full", **values}), desk().admin.snapshot)
    except Refused:
        problems.append(Problem("username", Said("setup.name-too-long")))
    if weak := passwords.weakness(password, values["username"], values["full_name"]):
        problems.append(Problem("password", weak))
    if password != again:
        problems.append(Problem("again", Said("account.not-same")))
    if problems:
        raise Refused(*problems)


@route(pages, "/setup/numbering", role="setup", methods=("POST",))
def complete() -> ResponseReturnValue:
    pending = _pending()
    if pending is None:
        return redirect(url_for("setup.begin"), 303)
    values = {name: request.form.get(name, "").strip() for name in ("country", "first_extension", "language")}
    problems = {}
    if values["country"] not in COUNTRIES:
        problems["country"] = t("setup.no-country")
    if values["first_extension"] not in WIDTHS:
        problems["first_extension"] = t("setup.no-width")
    if values["language"] not in LANGUAGES:
        values["language"] = language()
    if problems:
        return _draw("numbering", values, problems, 422)
    here = desk()
    try:
        user = here.admin.complete_setup(
            username=pending.username, full_name=pending.full_name, password=pending.password, **cast(Any, values)
        )
    except Refused as refused:
        found = problems_by_field(refused.problems)
        step = "administrator" if found.keys() & {"username", "full_name", "password"} else "numbering"
        return _draw(step, {**values, "username": pending.username, "full_name": pending.full_name}, found, 422)
    here.pending_setups.clear()
    here.setup_code_file.unlink(missing_ok=True)
    log.info("setup completed by %s from %s", user.username, request.remote_addr)
    cast(ServerSideSessions, current_app.session_interface).begin(cast(Session, session), user.id)
    return redirect(url_for("setup.welcome"), 303)


@route(pages, "/welcome", may="change settings")
def welcome() -> ResponseReturnValue:
    return render_template(
        "setup/welcome.html",
        name=person().full_name,
        number=desk().admin.snapshot.settings.first_extension,
        echo=service_number(desk().admin.snapshot, "echo"),
        boot=desk().boot,
    )
