"""Who sends a request: digest authentication of lines (RFC 3261 §22, RFC 7616, RFC 8760). Time and tokens are arguments.

Promises. The answer is the same for a line that exists, one that does not and one that is held back: unknown names are computed
against a dummy password. A nonce is ours by its HMAC (key, time, source host) and good for NONCE_SECONDS; its count must rise,
and without qop it is good once, so nothing recorded can be played again. A right password with a spent nonce gets stale=true.
Challenges carry MD5 alone for unknown devices, and SHA-256 first for those in SHA256_DEVICES, which are known to cope: many phones
look only at the first challenge (RFC 8760 §2.4 wants the preferred one first).
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

from appliance.callcontrol.security import Throttle
from appliance.model import Line, Snapshot
from appliance.sip import digest
from appliance.sip.errors import PeerError
from appliance.sip.message import Request
from appliance.sip.uri import Uri

NONCE_SECONDS = 300.0
NONCES = 20_000  # whose count is remembered

# User-Agents that handle two challenges with SHA-256 first, by what was tried or is documented by their makers.
SHA256_DEVICES: tuple[re.Pattern[str], ...] = (
    re.compile(r"Switchroom"),
    re.compile(r"baresip v?(?:3\.(?:1[1-9]|[2-9]\d)|[4-9]\.|\d\d\.)"),
    re.compile(r"Linphone[^/]*/(?:[5-9]|\d\d)\."),
)


@dataclass(frozen=True, slots=True)
class Authenticated:
    line: Line


@dataclass(frozen=True, slots=True)
class Challenged:
    """Answer with this status and these header fields. `failed` names the account whose password was wrong."""

    status: int
    headers: tuple[tuple[str, str], ...]
    failed: str = ""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Too many wrong passwords: answer 503 with this Retry-After."""

    seconds: int
    account: str


Verdict = Authenticated | Challenged | HeldBack


class Authenticator:
    """`key` signs nonces; with a key that survives a restart, so do they."""

    def __init__(self, key: bytes, tokens: Callable[[], str]) -> None:
        self._key = key
        self._tokens = tokens
        self._counts: OrderedDict[str, int] = OrderedDict()
        self.throttle = Throttle()

    def verify(self, request: Request, source: str, snapshot: Snapshot, now: float) -> Verdict:
        """PeerError 400 for credentials that are no credentials."""
        proxy = request.method != "REGISTER"
        realm = snapshot.settings.realm
        found = self._credentials(request, realm, proxy=proxy)
        if found is None:
            return self._challenge(request, realm, source, now, proxy=proxy)
        account = found.username[:64]
        wait = self.throttle.delay(source, account, now)
        if wait > 0:
            return HeldBack(int(wait) + 1, account)
        line = snapshot.line_by_sip_username.get(found.username)
        password = line.sip_password if line is not None else self._dummy(found.username)
        right = digest.verify(found, request.method, password) and self._fits(found.uri, request)
        if line is None or not line.sip_password or not right:
            self.throttle.failed(source, account, now)
            return self._challenge(request, realm, source, now, proxy=proxy, failed=account)
        self.throttle.succeeded(source, account, now)
        if not self._ours(found.nonce, source, now) or not self._first_use(found):
            return self._challenge(request, realm, source, now, proxy=proxy, stale=True)
        return Authenticated(line)

    # ---- pieces
    @staticmethod
    def _credentials(request: Request, realm: str, *, proxy: bool) -> digest.Credentials | None:
        """Those for our realm; phones behind a proxy may carry others."""
        for value in request.get_all("Proxy-Authorization" if proxy else "Authorization"):
            found = digest.Credentials.parse(value)
            if found is not None and found.realm == realm:
                return found
        return None

    def _challenge(
        self,
        request: Request,
        realm: str,
        source: str,
        now: float,
        *,
        proxy: bool,
        stale: bool = False,
        failed: str = "",
    ) -> Challenged:
        known = any(device.search(request.user_agent) for device in SHA256_DEVICES)
        algorithms = ("SHA-256", "MD5") if known else ("MD5",)
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        headers = tuple(
            (name, digest.challenge(realm, self._nonce(source, now), algorithm, stale=stale))
            for algorithm in algorithms
        )
        return Challenged(407 if proxy else 401, headers, failed)

    def _dummy(self, username: str) -> str:
        return hmac.new(self._key, username.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

    def _nonce(self, source: str, now: float) -> str:
        body = struct.pack(">d", now) + bytes.fromhex(hashlib.sha256(self._tokens().encode()).hexdigest()[:16])
        return urlsafe_b64encode(body + self._sign(body, source)).decode().rstrip("=")

    def _sign(self, body: bytes, source: str) -> bytes:
        return hmac.new(self._key, body + source.encode(), hashlib.sha256).digest()[:14]

    def _ours(self, nonce: str, source: str, now: float) -> bool:
        try:
            raw = urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
        except ValueError:
            return False
        body, sign = raw[:16], raw[16:]
        if len(body) != 16 or not hmac.compare_digest(sign, self._sign(body, source)):
            return False
        (made,) = struct.unpack(">d", body[:8])
        return bool(0 <= now - made <= NONCE_SECONDS)

    def _first_use(self, found: digest.Credentials) -> bool:
        """The nonce count must rise; without qop there is none and the nonce is spent at once."""
        count = found.nc if found.qop else 2**32
        if count <= self._counts.pop(found.nonce, 0):
            self._counts[found.nonce] = 2**32
            return False
        self._counts[found.nonce] = count
        if len(self._counts) > NONCES:
            self._counts.popitem(last=False)
        return True

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
