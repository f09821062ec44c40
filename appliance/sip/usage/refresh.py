"""Session timers (RFC 4028): never asked for by us, kept in every combination that a phone or trunk comes with.

A call ends for its timer only when the far end is really gone: it does not answer, or answers 408 or 481. Any other answer to a refresh
shows that it is there, also a refusal: a refused UPDATE is followed by a re-INVITE with the SDP as it was, a refused re-INVITE leaves the
call. A far end that ought to refresh and does not is asked once by a refresh of ours before the call is given up.

Deaf where nobody needs it: a Session-Expires that cannot be read is none; a 2xx that leaves it out changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from appliance.sip.errors import PeerError
from appliance.sip.text.message import Message, Request, Response
from appliance.sip.usage.ending import Ending
from appliance.sip.usage.session import Session

MIN_SE = 90  # seconds, RFC 4028 §5
LEAST = 40  # what is granted below it is taken as this: a refresh every 20 s is enough for anybody
AGAIN = 5.0  # when another exchange is under way
_SESSION_EXPIRES = re.compile(r"([0-9]{1,9})[ \t]*(?:;.*)?")
_REFRESHER = re.compile(r';[ \t]*refresher[ \t]*=[ \t]*"?(uac|uas)', re.I)


def session_expires(message: Message) -> tuple[int, str] | None:
    """Seconds and refresher ("" when open) of a Session-Expires header, None without a readable one."""
    value = message.get("Session-Expires") or ""
    match = _SESSION_EXPIRES.fullmatch(value.strip())
    if match is None or int(match[1]) == 0:
        return None
    refresher = _REFRESHER.search(value)
    return int(match[1]), refresher[1].lower() if refresher else ""


def check_timer(request: Request) -> None:
    """PeerError 422 for an interval that is too small, to who knows what that means (RFC 4028 §8.1)."""
    asked = session_expires(request)
    if asked is not None and asked[0] < MIN_SE and "timer" in request.supported:
        raise PeerError(422, "Session Interval Too Small", (("Min-SE", str(MIN_SE)),))


class SessionTimer:
    """`refresh` in the timers of the session is when we refresh, `expire` when the far end has been silent for too long."""

    __slots__ = ("_ending", "_interval", "_ours", "_overdue", "_session", "_without_update")

    def __init__(self, session: Session, ending: Ending) -> None:
        self._session = session
        self._ending = ending
        self._interval = 0  # seconds; 0: none
        self._ours = False  # we refresh
        self._without_update = False  # it lists UPDATE and refuses it
        self._overdue = False  # nothing was heard up to the end of the interval

    # ---- what is agreed
    @property
    def offered(self) -> tuple[tuple[str, str], ...]:
        """What our own offers say of it; towards us the roles are turned round."""
        return (
            (("Session-Expires", f"{self._interval};refresher={'uac' if self._ours else 'uas'}"),)
            if self._interval
            else ()
        )

    def answer(self, request: Request, now: float) -> tuple[tuple[str, str], ...]:
        """What our 2xx says of it (RFC 4028 §9, table 2). A request that leaves it out leaves it as it was."""
        asked, knows = session_expires(request), "timer" in request.supported
        if asked is not None:
            self._interval, self._ours = max(asked[0], LEAST), asked[1] == "uas" or not knows
        if not self._interval:
            return ()
        self._start(now)
        if asked is None and not knows:
            return ()
        value = f"{self._interval};refresher={'uas' if self._ours else 'uac'}"
        return (("Session-Expires", value), *(() if self._ours else (("Require", "timer"),)))

    def take(self, response: Response, now: float) -> None:
        """What their 2xx says of it. Without a refresher it is us: who was asked for nothing does nothing."""
        granted = session_expires(response)
        if granted is not None:
            self._interval, self._ours = max(granted[0], LEAST), granted[1] != "uas"
        if self._interval:
            self._start(now)

    def _start(self, now: float) -> None:
        session, interval = self._session, self._interval
        session.clear("refresh", "expire")
        self._overdue = False
        if self._ours:
            session.set("refresh", now + interval / 2)
        session.set("expire", now + interval - (0 if self._ours else min(32, interval / 3)))

    # ---- our refresh
    @property
    def method(self) -> str:
        """A re-INVITE needs the SDP as it was."""
        by_update = self._session.peer_updates and not self._without_update
        return "UPDATE" if by_update or not self._session.local_sdp else "INVITE"

    def due(self, name: str, now: float, *, busy: bool) -> bool:
        """Whether a refresh is to be sent now."""
        if busy:
            self._session.set(name, now + AGAIN)
            return False
        self._overdue = self._overdue or name == "expire"
        return True

    def refused(self, method: str, status: int, response: Response | None, now: float) -> bool:
        """A refresh of ours came to nothing; whether another one is to be sent at once."""
        gone = status in (408, 481) or response is None
        if method == "UPDATE" and status != 481 and (status == 408 or not gone):
            self._without_update = True
            if self.method == "INVITE":
                return True
        if status in (408, 481) or (gone and self._overdue):
            self._ending.die(now, "The far end does not answer any more")
        elif gone:  # its connection is; it may come back until the interval ends
            self._session.set("refresh", now + max(self._interval / 8, AGAIN))
        else:
            self._raise_interval(status, response)
            self._start(now)
        return False

    def _raise_interval(self, status: int, response: Response | None) -> None:
        least = response.get("Min-SE") if response is not None and status == 422 else None
        if least is not None and (found := re.match(r"[0-9]{1,9}", least)):
            self._interval = max(self._interval, int(found[0]))

    # ---- survival
    def dump(self) -> tuple[Any, ...]:
        return self._interval, self._ours, self._session.local_sdp if self._interval else b"", self._without_update

    def restore(self, values: Sequence[Any], now: float) -> None:
        """Nothing of it is the session's that has none yet."""
        missing: tuple[Any, ...] = (0, False, b"", False)[len(values) :]
        interval, self._ours, sdp, self._without_update = (*values[:4], *missing)
        self._interval = interval
        if interval:
            self._session.local_sdp = sdp
            self._start(now)
