"""The secret half of an API key: made here and shown once."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from appliance.config.model import Record
from webui.desk import desk
from webui.login.guard import acting, route
from webui.pages.changes import gone

pages = Blueprint("keys", __name__)


def _key(key: str) -> Record:
    return acting().records("api-key").get(key) or gone("api-key", key)


def _page(record: Record, issued: str = "") -> str:
    there = bool(getattr(desk().admin.snapshot.of("api-key")[record.id], "key_hash", ""))
    return render_template("key.html", key=record, issued=issued, there=there, used=desk().sessions.key_used(record.id))


@route(pages, "/api-keys/<key>/key", may="change api-key")
def listing(key: str) -> ResponseReturnValue:
    return _page(_key(key))


@route(pages, "/api-keys/<key>/key", may="change api-key", methods=("POST",))
def issue(key: str) -> ResponseReturnValue:
    record = _key(key)
    return _page(record, acting().issue_key(key))
