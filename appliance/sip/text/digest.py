"""Digest authentication, both sides, pure (RFC 7616, RFC 2617 form, RFC 8760, RFC 3261 §22).

Algorithms MD5 and SHA-256, qop "auth" or none (RFC 2069 form of very old phones); -sess and auth-int are not offered
and not taken. What a nonce is, how long it lives and how its count must rise is the business of whoever issues it;
here are the texts and the arithmetic. Comparison takes constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from msgspec import Struct
from msgspec.structs import replace

from appliance.sip.errors import PeerError
from appliance.sip.text.uri import quote_string, unquote_string
from media_core.sip_plain import split_credentials

MAX_SIZE = 2048  # characters of a credentials or challenge value
MAX_PARAMETERS = 20

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}  # by their names in the registry
ALGORITHMS = tuple(_HASHES)
_COUNT = re.compile(r"[0-9A-Fa-f]{8}")
FIELDS = (("WWW-Authenticate", "Authorization"), ("Proxy-Authenticate", "Proxy-Authorization"))  # challenge and answer; 401 and 407

_PARAMETER = re.compile(r'[\s,]*([A-Za-z0-9_-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]*)\s*(?:,[\s,]*|$)')


def _parse(value: str) -> dict[str, str] | None:
    """Parameters of `Digest name=value, …`, names in lower case; None for another scheme. An empty place in the list is none, and a
    parameter that is said twice says it once; with two values nobody knows which is meant."""
    scheme, _, rest = value.strip().replace("\t", " ").partition(" ")
    if scheme.lower() != "digest":
        return None
    if len(value) > MAX_SIZE:
        raise PeerError(400, "Credentials too long")
    if (plain := split_credentials(rest)) is not None:
        return plain
    found: dict[str, str] = {}
    at = 0
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        if match is None or len(found) >= MAX_PARAMETERS:
            raise PeerError(400, "Malformed credentials")
        name, text = match[1].lower(), unquote_string(match[2]) if match[2][:1] == '"' else match[2]
        if found.setdefault(name, text) != text:
            raise PeerError(400, "Malformed credentials")
        at = match.end()
    return found


class Credentials(Struct, frozen=True, gc=False):
    """An Authorization or Proxy-Authorization value. `nc` is 0 and `cnonce` "" without qop."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    qop: str = ""
    nc: int = 0
    cnonce: str = ""
    opaque: str = ""

    @classmethod
    def parse(cls, value: str) -> Credentials | None:
        """None for another scheme than Digest; PeerError 400 for malformed or incomplete ones."""
        found = _parse(value)
        if found is None:
            return None
        if any(not found.get(name) for name in ("username", "nonce", "uri", "response")) or "realm" not in found:
            raise PeerError(400, "Incomplete credentials")
        algorithm = found.get("algorithm", "MD5").upper()
        qop = found.get("qop", "").lower()
        nc = found.get("nc", "")
        if qop and (not _COUNT.fullmatch(nc) or not found.get("cnonce")):
            raise PeerError(400, "Incomplete credentials")
        return cls(
            found["username"],
            found["realm"],
            found["nonce"],
            found["uri"],
            found["response"].lower(),
            algorithm,
            qop,
            int(nc, 16) if qop else 0,
            found.get("cnonce", ""),
            found.get("opaque", ""),
        )

    def __str__(self) -> str:
        parts = [
            f"{name}={quote_string(getattr(self, name))}" for name in ("username", "realm", "nonce", "uri", "response")
        ]
        parts.append(f"algorithm={self.algorithm}")
        if self.qop:
            parts += [f"qop={self.qop}", f"nc={self.nc:08x}", f"cnonce={quote_string(self.cnonce)}"]
        if self.opaque:
            parts.append(f"opaque={quote_string(self.opaque)}")
        return "Digest " + ", ".join(parts)


class Challenge(Struct, frozen=True, gc=False):
    """A WWW-Authenticate or Proxy-Authenticate value. `qop` is "auth" or "" (others are not for us)."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: str = "auth"
    stale: bool = False
    opaque: str = ""

    @classmethod
    def parse(cls, value: str) -> Challenge | None:
        """None for one we cannot answer: another scheme, algorithm or qop."""
        found = _parse(value)
        if found is None:
            return None
        if "realm" not in found or not found.get("nonce"):
            raise PeerError(400, "Incomplete challenge")
        algorithm = found.get("algorithm", "MD5").upper()
        offered = [word.strip().lower() for word in found.get("qop", "").split(",") if word.strip()]
        if algorithm not in ALGORITHMS or (offered and "auth" not in offered):
            return None
        stale = found.get("stale", "").lower() == "true"
        return cls(found["realm"], found["nonce"], algorithm, "auth" if offered else "", stale, found.get("opaque", ""))

    def __str__(self) -> str:
        parts = [f"realm={quote_string(self.realm)}", f"nonce={quote_string(self.nonce)}"]
        if self.opaque:
            parts.append(f"opaque={quote_string(self.opaque)}")
        if self.stale:
            parts.append("stale=true")
        parts.append(f"algorithm={self.algorithm}")
        if self.qop:
            parts.append(f"qop={quote_string(self.qop)}")
        return "Digest " + ", ".join(parts)


def challenge(realm: str, nonce: str, algorithm: str = "MD5", *, stale: bool = False) -> str:
    """The value of a challenge with qop=auth."""
    return str(Challenge(realm, nonce, algorithm, "auth", stale))


def response(credentials: Credentials, method: str, password: str) -> str:
    """The response these credentials must carry, in hex (RFC 7616 §3.4.1)."""
    function = _HASHES[credentials.algorithm]

    def digest(text: str) -> str:
        return function(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()

    secret = digest(f"{credentials.username}:{credentials.realm}:{password}")
    subject = digest(f"{method}:{credentials.uri}")
    if not credentials.qop:
        return digest(f"{secret}:{credentials.nonce}:{subject}")
    count = f"{credentials.nc:08x}:{credentials.cnonce}:{credentials.qop}"
    return digest(f"{secret}:{credentials.nonce}:{count}:{subject}")


def verify(credentials: Credentials, method: str, password: str) -> bool:
    """Whether the response is right for this method and password. The caller checks realm, nonce, count and uri."""
    if credentials.algorithm not in ALGORITHMS or credentials.qop not in ("", "auth"):
        return False
    expected = response(credentials, method, password)
    return hmac.compare_digest(expected.encode(), credentials.response.encode("utf-8", "surrogateescape"))


def answer(
    challenge: Challenge, *, method: str, uri: str, username: str, password: str, cnonce: str, nc: int = 1
) -> Credentials:
    """Our credentials for a challenge. Use only toward the peer the password belongs to (CVE-2021-41158)."""
    blank = Credentials(
        username, challenge.realm, challenge.nonce, uri, "", challenge.algorithm, opaque=challenge.opaque
    )
    if challenge.qop:
        blank = replace(blank, qop=challenge.qop, nc=nc, cnonce=cnonce)
    return replace(blank, response=response(blank, method, password))


def strongest(values: list[str]) -> Challenge | None:
    """The challenge to answer: SHA-256 before MD5, else the first we can (RFC 8760 §2.4)."""
    found = [each for value in values if (each := Challenge.parse(value)) is not None]
    return min(found, key=lambda each: each.algorithm != "SHA-256", default=None)
