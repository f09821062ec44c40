"""The logged-in person's own second factor, on both ports: switch it on with an app that scans a QR code, switch it off, new recovery codes.

The seed of an app that is being set up waits in the session, until a code has shown that the app has it. Recovery codes are shown once.
"""

from __future__ import annotations

import io
from typing import cast

import segno
from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from appliance.config.model import Problem, Refused
from appliance.config.rights import second_factor
from appliance.words import Said
from webui.desk import desk
from webui.forms import problems_by_field
from webui.login.account import check_password
from webui.login.guard import acting, person, route
from webui.login.sessions import Session
from webui.wording import t

pages = Blueprint("second_factor", __name__)
SEED = "seed"


def qr_code(text: str) -> Markup:
    """As an SVG; its light squares are light on a dark page too."""
    out = io.BytesIO()
    segno.make(text, error="m").save(
        out, kind="svg", xmldecl=False, svgns=True, scale=1, border=3, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None
    )
    return Markup(out.getvalue().decode())


@route(pages, "/account/code", role="person")
def form() -> ResponseReturnValue:
    return _page({})


def _page(problems: dict[str, str]) -> str:
    if person().totp_seed:
        return render_template("account/code_on.html", problems=problems)
    seed = session.setdefault(SEED, second_factor.new_seed())
    box = desk().admin.snapshot.settings.name or "Switchroom"
    return render_template(
        "account/code.html",
        problems=problems,
        picture=qr_code(second_factor.address(seed, person().username, box)),
        seed=" ".join(seed[at : at + 4] for at in range(0, len(seed), 4)),
    )


@route(pages, "/account/code", role="person", methods=("POST",))
def begin() -> ResponseReturnValue:
    """The app has the seed: from now on its code is asked for."""
    if person().totp_seed or SEED not in session:
        return redirect(url_for("second_factor.form"), 303)
    seed, here = session[SEED], desk()
    try:
        check_password(request.form.get("current", ""))
        step = second_factor.step_of(seed, request.form.get("code", "")[:40], here.now())
        if step is None:
            raise Refused(Problem("code", Said("second-factor.wrong")))
    except Refused as refused:
        return _page(problems_by_field(refused.problems)), 422
    codes = acting().set_second_factor(seed)
    del session[SEED]
    here.sessions.use_step(person().id, step)
    here.sessions.end_all_of(person().id, but=cast(Session, session).cookie)
    return _codes(codes)


def _codes(codes: list[str]) -> ResponseReturnValue:
    return render_template("account/recovery.html", codes=codes)


@route(pages, "/account/code/recovery", role="person", methods=("POST",))
def renew_recovery() -> ResponseReturnValue:
    if not person().totp_seed:
        return redirect(url_for("second_factor.form"), 303)
    try:
        check_password(request.form.get("current", ""))
    except Refused as refused:
        return _page(problems_by_field(refused.problems)), 422
    return _codes(acting().renew_recovery_codes())


@route(pages, "/account/code/off", role="person", methods=("POST",))
def end() -> ResponseReturnValue:
    try:
        check_password(request.form.get("current", ""))
        acting().remove_second_factor(person().id)
    except Refused as refused:
        return _page(problems_by_field(refused.problems)), 422
    flash(t("second-factor.off"))
    return redirect(url_for("account.form"), 303)
