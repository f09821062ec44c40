"""Browsers that have logged in before. Each keeps a signed cookie with its user's id and a number of its own: guesses of others never slow it down.

It opens nothing: a session does that. Whoever stole it could guess that one user's password from it, so its own failures are counted too.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from flask import Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from webui.desk import Desk

COOKIE = "__Host-switchroom-device"
DAYS = 400  # what browsers keep at most


class Device(NamedTuple):
    user: str  # id of the user record
    number: str


def _signer(desk: Desk) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(desk.sessions.secret(), salt="device")


def user_of(desk: Desk, cookie: str) -> Device | None:
    """The device of a cookie; None when it is not ours, or its user is gone."""
    if not cookie:
        return None
    try:
        user, number = _signer(desk).loads(cookie[:500])
    except (BadSignature, ValueError):
        return None
    return Device(user, number) if user in desk.admin.snapshot.users else None


def remember(desk: Desk, response: Response, user: str) -> None:
    cookie = _signer(desk).dumps((user, secrets.token_urlsafe(12)))
    response.set_cookie(
        COOKIE, cookie, max_age=DAYS * 86400, path="/", secure=True, httponly=True, samesite="Lax"
    )
