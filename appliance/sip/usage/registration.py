"""Registration as a client (RFC 3261 §10.2 and §22, RFC 7616), pure: one binding at one registrar, kept until it is taken back.

What is to be sent comes out as Ask: the header fields of a REGISTER that are this usage's; request-URI, From and To are the driver's, who
sends it and tells the answer. What has come of it comes out as Registered, Refused and Lost. One REGISTER is on its way at a time, under one
Call-ID and a rising CSeq (RFC 3261 §10.2). Time, tokens and chance are arguments.

- A challenge is answered once, once more when the nonce was stale; who refuses the right answer twice knows another password, and asking on
  and on gets an address banned. The nonce is used again with the next count, so that a refresh is one request.
- 423 is asked again at once with Min-Expires, which stays the least; every refresh asks for the seconds that were wanted, not for those granted.
- Refreshed before what was granted to *our* contact is over. What failed is tried again after Retry-After, or after a pause that grows, between
  half and all of it (RFC 5626 §4.5): slower where the answer was no, and never given up, for providers say 403 in maintenance.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from appliance.sip.errors import PeerError
from appliance.sip.text import digest
from appliance.sip.text.message import Headers, Response
from appliance.sip.text.uri import NameAddr

PASSING, REFUSED = (
    (30.0, 1800.0),
    (60.0, 3600.0),
)  # seconds of the first pause and of the longest: nobody there, and a no
LONGEST = 7 * 24 * 3600  # seconds that a registrar may demand or grant
CHALLENGES = 2  # answered in one attempt; the second only when the first nonce was stale
MARGIN = 40.0  # seconds before the end in which a refresh can fail (RFC 3261 timer F) and be asked again
PASSES = (408, 413, 429, 480)  # 4xx that say nothing of this registration


@dataclass(frozen=True, slots=True)
class Ask:
    """Send REGISTER with these fields."""

    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Registered:
    """Bound for that many seconds; 0: taken back."""

    expires: int


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt came to nothing. `again`: seconds until the next, None when there is none (it was to be taken back)."""

    status: int  # 408: no answer, 503 without one: no way there
    reason: str
    again: float | None


@dataclass(frozen=True, slots=True)
class Lost:
    """It was registered and is no longer: the time is over, or the connection is gone."""


Output = Ask | Registered | Refused | Lost


@dataclass(frozen=True, slots=True)
class Login:
    username: str
    password: str
    uri: str  # the request-URI of the REGISTER


@dataclass(frozen=True, slots=True)
class _Wish:
    contacts: tuple[str, ...]
    expires: int
    headers: tuple[tuple[str, str], ...]


class Registration:
    """`tokens` gives cnonces, `fraction` a number in [0, 1), `numbers` the CSeq."""

    def __init__(
        self, login: Login, call_id: str, *, tokens: Callable[[], str], fraction: Callable[[], float],
        numbers: Iterator[int] | None = None,
    ) -> None:  # fmt: skip
        self._login = login
        self._call_id = call_id
        self._tokens, self._fraction = tokens, fraction
        self._numbers = numbers or itertools.count(1)
        self._output: deque[Output] = deque()
        self._wish: _Wish | None = None
        self._asked: _Wish | None = None  # what is on its way, with the seconds asked for
        self._again: float | None = None  # when to ask next
        self._until: float | None = None  # when our binding ends
        self._least = 0  # seconds, Min-Expires
        self._failures = 0
        self._challenge: digest.Challenge | None = None
        self._proxy = False
        self._count = 0  # of requests under this nonce
        self._challenges = 0  # answered in this attempt
        self._raised = False  # asked for more seconds in this attempt

    # ---- what the owner wants
    def register(self, contacts: tuple[str, ...], expires: int, now: float, headers: Headers = ()) -> None:
        """Bind these contacts from now on, for `expires` seconds at a time; 0 takes them back. Asks at once, or when the answer to what is on
        its way is there."""
        self._wish = _Wish(tuple(contacts), expires, tuple(headers))
        self._failures = 0
        if self._asked is None:
            self._begin()

    def lost(self, now: float) -> None:
        """The connection is gone, and with it the binding (RFC 5626 §4.2.1). Nothing is asked before `register` or the pause's end."""
        self._asked = None
        self._unbound()
        self._again = now + self._pause(PASSING) if self._wants else None

    # ---- time
    def deadline(self) -> float | None:
        return min((at for at in (self._again, self._until) if at is not None), default=None)

    def wake(self, now: float) -> None:
        if self._until is not None and now >= self._until:
            self._unbound()
        if self._again is not None and now >= self._again:
            self._begin()

    def next_output(self) -> Output | None:
        return self._output.popleft() if self._output else None

    # ---- what the registrar says
    def answered(self, status: int, response: Response | None, now: float) -> None:
        """The final answer to the last Ask; `response` is None when none came."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        if asked != self._wanted():  # something else is wanted by now
            self._begin()
        elif 200 <= status < 300:
            self._bound(asked, response, now)
        elif status in (401, 407) and response is not None and self._take_challenge(response):
            self._ask(asked)
        elif status == 423 and response is not None and self._take_minimum(asked, response):
            self._ask(replace(asked, expires=self._least))
        else:
            self._refused(status, response, now)

    @property
    def _wants(self) -> bool:
        return self._wish is not None and self._wish.expires > 0

    def _wanted(self) -> _Wish | None:
        wish = self._wish
        if wish is None or wish.expires == 0:
            return wish
        return _Wish(wish.contacts, max(wish.expires, self._least), wish.headers)

    def _begin(self) -> None:
        """A new attempt."""
        self._again, self._challenges, self._raised = None, 0, False
        if (wanted := self._wanted()) is not None:
            self._ask(wanted)

    def _ask(self, wanted: _Wish) -> None:
        self._asked = wanted
        headers = [("Call-ID", self._call_id), ("CSeq", f"{next(self._numbers)} REGISTER")]
        headers += [("Contact", contact) for contact in wanted.contacts]
        headers += [("Expires", str(wanted.expires)), *wanted.headers]
        if self._challenge is not None:
            self._count += 1
            headers.append(self._credentials(self._challenge))
        self._output.append(Ask(tuple(headers)))

    def _credentials(self, challenge: digest.Challenge) -> tuple[str, str]:
        login = self._login
        found = digest.answer(
            challenge, method="REGISTER", uri=login.uri, username=login.username, password=login.password,
            cnonce=self._tokens(), nc=self._count,
        )  # fmt: skip
        return digest.FIELDS[self._proxy][1], str(found)

    def _take_challenge(self, response: Response) -> bool:
        """Whether it is to be answered."""
        proxy = response.status == 407
        try:
            challenge = digest.strongest(response.get_all(digest.FIELDS[proxy][0]))
        except PeerError:
            challenge = None
        stale = challenge is not None and challenge.stale
        if challenge is None or self._challenges >= (CHALLENGES if stale else 1):
            self._challenge = None
            return False
        self._challenge, self._proxy, self._count = challenge, proxy, 0
        self._challenges += 1
        return True

    def _take_minimum(self, asked: _Wish, response: Response) -> bool:
        least = _number(response.get("Min-Expires"))
        if self._raised or not 0 < asked.expires < least <= LONGEST:
            return False
        self._least, self._raised, self._challenges = least, True, 0
        return True

    def _bound(self, asked: _Wish, response: Response | None, now: float) -> None:
        self._failures = 0
        if asked.expires == 0:
            self._wish = self._until = None
            self._output.append(Registered(0))
            return
        granted = min(_granted(asked, response), LONGEST)
        if granted <= 0:
            self._refused(503, response, now)
            return
        self._until = now + granted
        before_end = max(granted / 2, min(0.9 * granted, granted - MARGIN))
        self._again = now + before_end * (1 - 0.1 * self._fraction())
        self._output.append(Registered(granted))

    def _refused(self, status: int, response: Response | None, now: float) -> None:
        again = None
        if self._wants:
            passing = response is None or status in PASSES or 500 <= status < 600
            wait = min(_number(response.get("Retry-After")), REFUSED[1]) if response is not None else 0.0
            again = wait * (1 + 0.1 * self._fraction()) if wait else self._pause(PASSING if passing else REFUSED)
            self._again = now + again
        else:
            self._wish = None  # it ends by itself
            self._until = None
        self._output.append(Refused(status, response.reason if response is not None else "", again))

    def _pause(self, row: tuple[float, float]) -> float:
        first, most = row
        self._failures += 1
        return min(first * 2.0 ** min(self._failures - 1, 30), most) * (0.5 + 0.5 * self._fraction())

    def _unbound(self) -> None:
        if self._until is not None:
            self._until = None
            self._output.append(Lost())


def _number(value: str | None) -> int:
    """Seconds at the beginning of a value such as `120 (I'm in a meeting);duration=60`; 0 without any."""
    found = re.match(r"[ \t]*(\d{1,9})(?![\w.])", value or "", re.ASCII)
    return int(found[1]) if found else 0


def _granted(asked: _Wish, response: Response | None) -> int:
    """Seconds for our contact: it may stand among others, and a NAT's work may be undone in it (RFC 3261 §10.2.4)."""
    if response is None:
        return asked.expires
    rest = response.expires if response.expires is not None else asked.expires
    try:
        ours, listed = [NameAddr.parse(contact) for contact in asked.contacts], response.contacts
    except PeerError:
        return rest
    same: tuple[Callable[[NameAddr, NameAddr], bool], ...] = (
        lambda one, other: "+sip.instance" in one.params and one.params["+sip.instance"] == other.params.get("+sip.instance"),
        lambda one, other: (one.uri.user, one.uri.host, one.uri.port) == (other.uri.user, other.uri.host, other.uri.port),
        lambda one, other: one.uri.user == other.uri.user,
    )  # fmt: skip
    for test in same:
        for contact in listed:
            if any(test(one, contact) for one in ours):
                value = contact.params.get("expires", "")
                return int(value[:12]) if value.isascii() and value.isdigit() else rest
    return rest
