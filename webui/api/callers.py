"""Who asks: the key in the Authorization header, else who has logged in to the page. Never a cookie alone for what changes something.

A request that brings a key is judged by it alone. A request of a page (session cookie) has to bring the page's form token with every method
but GET, so that no other site can make one in somebody's name. How fast one may ask is `bounds.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from flask import Flask, current_app, request, session
from flask_wtf.csrf import CSRFError  # type: ignore[import-untyped]

from appliance.config.model import ApiKey
from appliance.config.rights import Actor, actor_of, actor_of_key, key_of
from appliance.config.rights.acting import Acting
from appliance.words import Said
from webui.api.bounds import PER_ADDRESS, PER_KEY, UNPROVED, Purses
from webui.api.refusals import Turned
from webui.desk import Desk
from webui.login.guard import PASSWORD, mark_of, owes
from webui.login.sessions import Session
from webui.serving.compression import MaskedTokens
from webui.serving.limits import source_name

SAFE = ("GET", "HEAD")
LONGEST_KEY = 200  # characters


@dataclass(frozen=True, slots=True)
class Caller:
    """purse: what its requests are counted by."""

    actor: Actor
    acting: Acting
    purse: str


@dataclass
class Gate:
    """Counts who asks how fast."""

    keys: Purses = field(default_factory=lambda: Purses(PER_KEY))
    addresses: Purses = field(default_factory=lambda: Purses(PER_ADDRESS))
    unproved: Purses = field(default_factory=lambda: Purses(UNPROVED))

    def enter(self, here: Desk) -> Caller:
        """Turned when nobody is known, or asks too fast."""
        now, source = here.elapsed(), source_name(request.remote_addr)
        _demand(self.addresses.take(source, now))
        caller = known(here)
        if caller is None:
            _demand(self.unproved.take(source, now))
            raise Turned(401, Said.of("api.unknown"), headers={"WWW-Authenticate": "Bearer"})
        _demand(self.keys.take(caller.purse, now))
        return caller


def _demand(wait: float) -> None:
    if wait:
        raise Turned(429, Said.of("api.too-fast"), headers={"Retry-After": str(math.ceil(wait))})


def known(here: Desk) -> Caller | None:
    """Who asks; None: nobody who is known here, or not any more."""
    snapshot = here.admin.snapshot
    if "Authorization" in request.headers:
        return _program(here)
    logged_in = cast(Session, session)
    user = snapshot.users.get(logged_in.user)
    if user is None or logged_in.get(PASSWORD, mark_of(user)) != mark_of(user) or owes(user, snapshot):
        return None
    actor = actor_of(user, snapshot)
    if not actor.rights:
        return None
    if request.method not in SAFE:
        _demand_token()
    return Caller(actor, Acting(here.admin, actor), f"user {user.id}")


def _program(here: Desk) -> Caller | None:
    """Who has brought a key."""
    snapshot, key = here.admin.snapshot, key_in(request.headers["Authorization"], here)
    if key is None or not (actor := actor_of_key(key, snapshot)).rights:
        return None
    here.sessions.use_key(key.id, here.now())
    return Caller(actor, Acting(here.admin, actor), f"key {key.id}")


def key_in(header: str, here: Desk) -> ApiKey | None:
    """The record of the key in an Authorization header (RFC 6750 section 2.1)."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer" or len(text) > LONGEST_KEY:
        return None
    snapshot = here.admin.snapshot
    return key_of(text.strip(), snapshot, datetime.fromtimestamp(here.now(), snapshot.zone).date())


def _demand_token() -> None:
    try:
        cast(MaskedTokens, current_app.extensions["tokens"]).protect()
    except CSRFError:
        raise Turned(403, Said.of("api.no-token")) from None


def install(app: Flask) -> None:
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False  # only who is known by a cookie needs one
    app.extensions["tokens"] = MaskedTokens(app)
