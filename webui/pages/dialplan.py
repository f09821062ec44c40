"""The dial plan: what a number leads to, asked of the same function that calls ask, and every number that is in use."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from appliance.calls.plan.plan import asked
from appliance.config.claims import EMERGENCY, EXTENSION, Claim
from appliance.config.model import Snapshot, owner
from webui.desk import desk
from webui.login.guard import acting, route
from webui.wording import say

pages = Blueprint("dialplan", __name__)
LONGEST = 64
SHOWN = 500


@route(pages, "/dial-plan", may="see extension")
def listing() -> ResponseReturnValue:
    snapshot = acting().snapshot
    number, caller = request.args.get("number", "").strip()[:LONGEST], request.args.get("from", "")
    callers = sorted(snapshot.extensions.values(), key=lambda each: (len(each.number), each.number))
    extension = snapshot.extension_by_number.get(caller) or (callers[0] if callers else None)
    told: list[tuple[int, str]] = []
    if number and extension is not None:
        told = [(depth, say(said)) for depth, said in asked(number, extension, desk().admin.snapshot)]
    claims = sorted(snapshot.claims, key=_place)
    return render_template(
        "dialplan.html",
        number=number,
        caller=extension.number if extension is not None else "",
        callers=callers,
        told=told,
        rows=[(claim.number, _owner(claim, snapshot), _leads_to(claim)) for claim in claims[:SHOWN]],
        more=max(0, len(claims) - SHOWN),
    )


def _place(claim: Claim) -> tuple[int, int, str]:
    """Emergency numbers first, then services, then extensions in their order."""
    order = {EMERGENCY: 0, EXTENSION: 2}.get(claim.target.kind, 1)
    return order, len(claim.number), claim.number


def _owner(claim: Claim, snapshot: Snapshot) -> str:
    words = say(owner(claim, snapshot))
    return words[:1].upper() + words[1:]


def _leads_to(claim: Claim) -> str:
    """The extension's page, for its row."""
    return claim.target.id if claim.target.kind == EXTENSION else ""
