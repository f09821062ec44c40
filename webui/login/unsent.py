"""What somebody had typed when the session was lost: kept over the login, and put back into the form, which is not sent.

Kept on the server, with the session of the visitor that this browser has become, and only for a browser that has logged in before (`devices.py`):
strangers store nothing here. It is shown to the same user alone, and what is a secret (`SECRET`) is asked for anew. The request that was
refused is not repeated: whoever logs in sees the form as it was, and sends it.
"""

from __future__ import annotations

import re
from typing import Any, cast
from urllib.parse import urlsplit

from flask import request, session

from webui import devices
from webui.desk import desk
from webui.login.sessions import Session

KEY = "unsent"
LASTS = 1800.0  # seconds
LARGEST = 8192  # octets of names and values
SECRET = re.compile("pass|again|current|code|token|secret|key|mark")  # of a field's name


def is_local(address: str) -> bool:
    """Is it a path on this page, and nothing a browser could read as another host?"""
    return (
        address.startswith("/")
        and not address.startswith(("//", "/\\"))
        and all(letter.isprintable() for letter in address)
    )


def keep() -> str:
    """Keep the form of this request for after the login; the page it stood on, or "" when there is nothing to keep."""
    came = urlsplit(request.referrer or "")
    page = f"{came.path}?{came.query}" if came.query else came.path
    device = devices.user_of(desk(), request.cookies.get(devices.COOKIE, ""))
    if device is None or came.netloc != request.host or not is_local(page) or request.mimetype == "application/octet-stream":
        return ""
    typed = [(name, value) for name, value in request.form.items(multi=True) if not SECRET.search(name)]
    if typed and sum(len(name) + len(value) for name, value in typed) <= LARGEST:
        session[KEY] = {
            "user": device.user, "page": page, "action": request.path, "typed": typed, "until": desk().now() + LASTS,
        }  # fmt: skip
    return page


def carry(begin_session: Any, user: str) -> None:
    """Begin the session of who has logged in, with what the same user had typed."""
    kept = session.get(KEY)
    begin_session(cast(Session, session), user)
    if kept and kept["user"] == user:
        session[KEY] = kept


def waiting() -> dict[str, Any] | None:
    """What belongs into a form of this page."""
    kept = cast("dict[str, Any] | None", session.get(KEY))
    if kept is None or kept["until"] < desk().now() or urlsplit(kept["page"]).path != request.path:
        return None
    return kept


def forget_sent() -> None:
    """The form was sent again: what it held is now where it belongs."""
    kept = session.get(KEY)
    if kept and request.method == "POST" and kept["action"] == request.path:
        del session[KEY]
