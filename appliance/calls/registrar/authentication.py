"""Who sends a request: digest authentication of lines (RFC 3261 §22, RFC 7616, RFC 8760). Time and tokens are arguments.

Promises. The answer is the same for a line that exists and one that does not: unknown names are computed against a dummy password.
A nonce is ours by its HMAC (key, time, source) and good for NONCE_SECONDS; its count must rise, without qop it is good once, and a
wrong answer spends it, so nothing recorded can be played again and each guess costs a question. What is answered to a nonce that is
not ours, too old or spent is not looked at (stale=true, RFC 7616 §3.3): it tells nothing and counts as nothing. A right answer to a
fresh nonce is always taken. Guessing is slowed by `Throttle`.

Which algorithm is asked for. RFC 8760 §2.4 wants SHA-256 first and MD5 after it, but many phones look only at the first challenge,
and some give up when any of them is for SHA-256 (libre up to 2.0 and pjsip up to 2.10, which many phones are made of), while a few
are set to SHA-256 alone. So DEVICES that are known to cope get both, others MD5 alone. One that does not answer that, but asks
again, gets both the next time; what a phone with the right password has answered is what its User-Agent is asked from then on.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.calls.registrar.security import Address, Throttle
from appliance.config.model import Line, Snapshot
from appliance.sip.errors import PeerError
from appliance.sip.text import digest
from appliance.sip.text.message import Request
from appliance.sip.text.uri import Uri

NONCE_SECONDS = 300.0
NONCES = 20_000  # whose count is remembered
ACCOUNT = 64  # characters of a name
SPENT = 2**32

# User-Agents that handle two challenges with SHA-256 first, by what was tried or is documented by their makers.
DEVICES = re.compile(r"Switchroom|baresip v?(?:3\.(?:1[1-9]|[2-9]\d)|[4-9]\.|\d\d\.)|Linphone[^/]*/(?:[5-9]|\d\d)\.")
OFFERS = (("MD5",), ("SHA-256", "MD5"))
IGNORED_AFTER = (
    1.0  # seconds without an answer; a phone that repeats itself or asks twice at once has not ignored anything
)
ASKED = 10_000  # phones whose unanswered questions are counted
LEARNT = 1_000  # User-Agents


@dataclass(frozen=True, slots=True)
class Authenticated:
    line: Line
    asked: float  # when the question was asked that was answered


@dataclass(frozen=True, slots=True)
class Denied:
    """Answer with this status and these header fields. `why` is the row of `refusals.KINDS` for what was wrong with `account`,
    "" when nothing was: it was only asked for its password. `seconds` it is held now."""

    status: int
    headers: tuple[tuple[str, str], ...]
    account: str = ""
    why: str = ""
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class _Nonce:
    text: str
    made: float
    port: int  # of the source it was given to


class Authenticator:
    """`key` signs nonces; with a key that survives a restart, so do they."""

    def __init__(self, key: bytes, tokens: Callable[[], str]) -> None:
        self._key = key
        self._tokens = tokens
        self._used: OrderedDict[str, tuple[int, float]] = OrderedDict()  # nonce -> its count, when it was made
        self._forgotten = float(
            "-inf"
        )  # nonces made before are not good any more: their counts may have been forgotten
        self._spent: OrderedDict[str, None] = (
            OrderedDict()
        )  # by wrong answers; what strangers can fill makes no nonce bad
        self._asked: OrderedDict[tuple[str, str, str], tuple[int, float | None]] = OrderedDict()
        self._learnt: OrderedDict[str, int] = OrderedDict()  # User-Agent -> which of OFFERS
        self.throttle = Throttle()

    def verify(
        self,
        request: Request,
        source: Address,
        snapshot: Snapshot,
        now: float,
        known: Callable[[str], bool] = lambda account: False,
    ) -> Authenticated | Denied:
        """PeerError 400 for credentials that are no credentials. `known` says whether this phone has registered for an account
        before: it is never held."""
        found = self._credentials(request, snapshot.settings.realm)
        account = (found.username if found is not None else _address_of_record(request))[:ACCOUNT]
        if found is not None:
            self._answered(_phone(request, source))
        never_held = known(account)
        nonce = self._fresh(found, source, account, now, never_held=never_held) if found is not None else None
        if found is None or nonce is None:
            wait = 0.0 if never_held else self.throttle.held_until(source, account) - now
            if wait > 0:
                return _held(account, "held back", wait)
            return self._question(request, source, snapshot, now, stale=found is not None, known=never_held)
        line = snapshot.line_by_sip_username.get(found.username)
        password = line.sip_password if line is not None else self._dummy(found.username)
        right = digest.verify(found, request.method, password)
        if line is None or not line.sip_password or not right:
            return self._wrong(request, source, nonce, account, snapshot, now, never_held=never_held)
        if not self._fits(found.uri, request):
            self._use(nonce, SPENT)
            return self._challenge(request, source, snapshot, now, failed=account, why="another request")
        self._use(nonce, found.nc if found.qop else SPENT)
        self.throttle.right(source, account)
        self._learn(request, source)
        return Authenticated(line, nonce.made)

    # ---- pieces
    @staticmethod
    def _credentials(request: Request, realm: str) -> digest.Credentials | None:
        """Those for our realm; phones behind a proxy may carry others."""
        for value in request.get_all("Authorization" if request.method == "REGISTER" else "Proxy-Authorization"):
            found = digest.Credentials.parse(value)
            if found is not None and found.realm == realm:
                return found
        return None

    def _wrong(
        self,
        request: Request,
        source: Address,
        nonce: _Nonce,
        account: str,
        snapshot: Snapshot,
        now: float,
        *,
        never_held: bool,
    ) -> Denied:
        """One guess: counted for where it came from and for where its question was asked."""
        self._spent[nonce.text] = None
        _bound(self._spent, NONCES)
        wait = self.throttle.wrong({source, (source[0], nonce.port)}, account, now)
        if wait > 0 and not never_held:
            return _held(account, "wrong password", wait)
        return self._challenge(request, source, snapshot, now, failed=account, why="wrong password")

    def _fresh(
        self, found: digest.Credentials, source: Address, account: str, now: float, *, never_held: bool
    ) -> _Nonce | None:
        """The nonce, when it is ours, given to this host, young, not used before, and not from a time when this port was held."""
        nonce = self._read(found.nonce, source[0])
        if nonce is None or not 0 <= now - nonce.made <= NONCE_SECONDS or nonce.made <= self._forgotten:
            return None
        count, _ = self._used.get(nonce.text, (0, 0.0))
        if nonce.text in self._spent or (found.nc if found.qop else SPENT) <= count:
            return None
        ports = {source, (source[0], nonce.port)}
        if not never_held and any(nonce.made < self.throttle.held_until(port, account) for port in ports):
            return None
        return nonce

    def _use(self, nonce: _Nonce, count: int) -> None:
        self._used.pop(nonce.text, None)
        self._used[nonce.text] = (count, nonce.made)
        if len(self._used) > NONCES:
            _, (_, made) = self._used.popitem(last=False)
            self._forgotten = max(self._forgotten, made)

    # ---- questions
    def _question(
        self, request: Request, source: Address, snapshot: Snapshot, now: float, *, stale: bool, known: bool
    ) -> Denied:
        """A challenge for a phone that has shown nothing yet. One that asks again instead of answering is asked differently."""
        phone = _phone(request, source)
        ignored, asked = self._asked.pop(phone, (0, None))
        if known:
            ignored = 0
        elif asked is not None and now - asked >= IGNORED_AFTER:
            ignored += 1
            asked = None
        self._asked[phone] = (ignored, now if asked is None else asked)
        _bound(self._asked, ASKED)
        silent = ignored and ignored % len(OFFERS) == 0  # it has seen all of them
        named = phone[1] if silent else ""
        why = "no password" if silent else ""
        return self._challenge(request, source, snapshot, now, stale=stale, failed=named, why=why)

    def _offer(self, phone: _Phone) -> int:
        ignored, _ = self._asked.get(phone, (0, None))
        return (self._learnt.get(phone[2], 0) + ignored) % len(OFFERS)

    def _answered(self, phone: _Phone) -> None:
        if phone in self._asked:
            self._asked[phone] = (self._asked[phone][0], None)

    def _learn(self, request: Request, source: Address) -> None:
        """A phone with the right password has answered: so its kind is asked from now on."""
        phone = _phone(request, source)
        agent, offer = phone[2], self._offer(phone)
        self._asked.pop(phone, None)
        if agent and self._learnt.get(agent, 0) != offer:
            self._learnt[agent] = offer
            _bound(self._learnt, LEARNT)

    def _challenge(
        self,
        request: Request,
        source: Address,
        snapshot: Snapshot,
        now: float,
        *,
        stale: bool = False,
        failed: str = "",
        why: str = "",
    ) -> Denied:
        copes = DEVICES.search(request.user_agent)
        algorithms = OFFERS[1] if copes else OFFERS[self._offer(_phone(request, source))]
        registers, realm = request.method == "REGISTER", snapshot.settings.realm
        name = "WWW-Authenticate" if registers else "Proxy-Authenticate"
        headers = tuple(
            (name, digest.challenge(realm, self._nonce(source, now), algorithm, stale=stale))
            for algorithm in algorithms
        )
        return Denied(401 if registers else 407, headers, failed, why)

    def _dummy(self, username: str) -> str:
        return hmac.new(self._key, username.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

    # ---- nonces
    def _nonce(self, source: Address, now: float) -> str:
        body = struct.pack(">dH", now, source[1]) + hashlib.sha256(self._tokens().encode()).digest()[:8]
        return urlsafe_b64encode(body + self._sign(body, source[0])).decode().rstrip("=")

    def _sign(self, body: bytes, host: str) -> bytes:
        return hmac.digest(self._key, body + host.encode(), "sha256")[:14]

    def _read(self, text: str, host: str) -> _Nonce | None:
        """None when it is not ours, or was given to another host."""
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        body, sign = raw[:18], raw[18:]
        if len(body) != 18 or not hmac.compare_digest(sign, self._sign(body, host)):
            return None
        made, port = struct.unpack(">dH", body[:10])
        return _Nonce(text, made, port)

    @staticmethod
    def _fits(uri: str, request: Request) -> bool:
        """The digest must be made for this Request-URI. Some clients leave out the user or the parameters."""
        if uri == request.uri_text:
            return True
        try:
            named = Uri.parse(uri)
        except PeerError:
            return False
        return named.host == request.uri.host and named.user in ("", request.uri.user)


def _held(account: str, why: str, wait: float) -> Denied:
    """503 until the time is over; the words say which of the two it was."""
    seconds = int(wait) + 1
    said = "Wrong SIP username or password" if why == "wrong password" else "Held back after wrong passwords"
    headers = (("Retry-After", str(seconds)), ("Reason", f'SIP;cause=503;text="{said}, {seconds} s to wait"'))
    return Denied(503, headers, account, why, seconds)


def _bound(table: OrderedDict[Any, Any], most: int) -> None:
    while len(table) > most:
        table.popitem(last=False)


def _address_of_record(request: Request) -> str:
    """Whom a request without credentials speaks for."""
    return (request.to if request.method == "REGISTER" else request.from_).uri.user


_Phone = tuple[str, str, str]  # host, address of record, User-Agent


def _phone(request: Request, source: Address) -> _Phone:
    return source[0], _address_of_record(request)[:ACCOUNT], request.user_agent[:ACCOUNT]
