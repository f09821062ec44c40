"""SIP, SIPS and tel URIs and name-addr (RFC 3261 §19, §20.10, §25.1; RFC 3966).

A user part is kept unescaped and is escaped again when written, so two spellings of one user compare equal. Control
characters, NUL included, are refused however they are spelled: no extension has such a name and too much software
downstream stops reading at one.

Strict where two readers could disagree about whom or what is meant (scheme, user, host, port, a parameter given twice with two
values), deaf where nobody reads: an empty parameter, a display name in any shape, a list entry without content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

from msgspec import Struct, field
from msgspec.structs import replace

from appliance.sip.errors import PeerError
from media_core.sip_plain import split_address, split_uri

MAX_URI = 1024
MAX_TAG = 255
MAX_ENTRIES = 64  # entries of one list-valued header

_USER_SAFE = "-_.!~*'()&=+$,;?/"
_PARAM_SAFE = "-_.!~*'()[]/:&+$"
_HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?|\[(?=[^\]]*:)[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._~-]{1,32})?\]"
)
_TEL = re.compile(r"\+?[0-9A-Fa-f*#().\-]{1,128}")
_SEPARATORS = re.compile(r"[().\-]")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.S)
# A quote that is never closed is taken to the end as well, so that a text full of them is read once, not once for each.
_QUOTES = re.compile(r'"(?:[^"\\]|\\.)*("?)', re.S)
_OUTSIDE = re.compile(r'[ <>"]')  # what a URI may hold in a quoted parameter only
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:]+")
_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _unescape(text: str) -> str:
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise PeerError(400, "Malformed escape in a URI")
    plain = unquote(text, errors="surrogateescape")
    if _CONTROL.search(plain):
        raise PeerError(400, "Control character in a URI")
    return plain


def _escape(text: str, safe: str) -> str:
    return text if text.isalnum() and text.isascii() else quote(text, safe=safe, errors="surrogateescape")


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def host_port(text: str) -> tuple[str, int]:
    """`host[:port]`; the host in lower case, IPv6 without brackets, port 0 when there is none."""
    match = _HOST.match(text)
    if match is None or len(text) > 255:
        raise PeerError(400, "Malformed host")
    host, rest = match[0], text[match.end() :].strip()
    port = 0
    if rest:
        digits = rest[1:].strip()
        if (
            rest[0] != ":"
            or not digits.isascii()
            or not digits.isdigit()
            or len(digits) > 5
            or not 0 < int(digits) < 65536
        ):
            raise PeerError(400, "Malformed port")
        port = int(digits)
    if host[0] == "[":
        host = host[1:-1]
    return host.lower(), port


def join_host(host: str, port: int = 0) -> str:
    """`host[:port]` with brackets around IPv6."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


class Uri(Struct, frozen=True, gc=False):
    """scheme is sip, sips or tel; of a tel URI `user` is the number and `host` is empty. `params` keep their order,
    names in lower case, "" for a parameter without value. `headers` is the text after "?", not interpreted."""

    scheme: str
    user: str
    host: str
    port: int = 0
    params: Mapping[str, str] = field(default_factory=dict)
    headers: str = ""
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """PeerError 400 for a malformed URI, 414 for one over 1,024 characters, 416 for another scheme."""
        if (plain := split_uri(text)) is not None:
            return cls(*plain)
        if len(text) > MAX_URI:
            raise PeerError(414, "Request-URI Too Long")
        if not text.isascii() or _CONTROL.search(text):
            raise PeerError(400, "Malformed URI")
        if _OUTSIDE.search(text):  # phones quote parameters such as +sip.instance, which the grammar does not have
            before, semicolon, _ = text.partition(";")
            if _OUTSIDE.search(_hidden(text)) or not semicolon or _OUTSIDE.search(before):
                raise PeerError(400, "Malformed URI")
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or (not scheme.isalnum() and not is_token(scheme)):
            raise PeerError(400, "Malformed URI")
        if scheme == "tel":
            number, _, params = rest.partition(";")
            if not _TEL.fullmatch(number):
                raise PeerError(400, "Malformed tel URI")
            return cls("tel", number, "", 0, _parse_uri_params(params))
        if scheme not in ("sip", "sips"):
            raise PeerError(416, "Unsupported URI Scheme")
        # "@" may not occur unescaped in user, parameters or headers, so it is the only one outside quotes
        at = _hidden(rest).rfind("@")
        userinfo, rest_ = rest[: max(at, 0)], rest[at + 1 :]
        if at == 0 or "@" in userinfo:
            raise PeerError(400, "Malformed URI")
        user, _, password = userinfo.partition(":")
        question = _hidden(rest_).find("?")
        rest_, headers = (rest_[:question], rest_[question + 1 :]) if question >= 0 else (rest_, "")
        address, _, params = rest_.partition(";")
        host, port = host_port(address)
        return cls(scheme, _unescape(user), host, port, _parse_uri_params(params), headers, password)

    def __str__(self) -> str:
        if self.scheme == "tel":
            return f"tel:{self.user}{_write_uri_params(self.params)}"
        user = _escape(self.user, _USER_SAFE)
        if self.password:
            user += f":{self.password}"
        params = _write_uri_params(self.params) if self.params else ""
        headers = f"?{self.headers}" if self.headers else ""
        at = "@" if user else ""
        return f"{self.scheme}:{user}{at}{join_host(self.host, self.port)}{params}{headers}"

    @property
    def dialled(self) -> str:
        """The number somebody has dialled: of a telephone number (tel, or a user part with phone-context or user=phone,
        RFC 3261 §19.1.6) without its parameters and without the signs that only part its digits (RFC 3966 §5.1.1)."""
        number, semicolon, _ = self.user.partition(";")
        telephone = self.scheme == "tel" or bool(semicolon) or self.params.get("user", "").lower() == "phone"
        return _SEPARATORS.sub("", number) if telephone and _TEL.fullmatch(number) else self.user

    @property
    def transport(self) -> str:
        """The transport parameter in upper case; UDP or, for sips, TLS when there is none."""
        return self.params.get("transport", "tls" if self.scheme == "sips" else "udp").upper()

    def bare(self) -> Uri:
        """Only scheme, user and host with port: an address of record (RFC 3261 §10.3 step 5)."""
        return replace(self, params={}, headers="", password="")

    def same_as(self, other: Uri) -> bool:
        """Equality of RFC 3261 §19.1.4, without headers."""
        if (self.scheme, self.user, self.password, self.host, self.port) != (
            other.scheme,
            other.user,
            other.password,
            other.host,
            other.port,
        ):
            return False
        for name in {*self.params, *other.params}:
            mine, theirs = self.params.get(name), other.params.get(name)
            if mine is None or theirs is None:
                if name in ("user", "ttl", "method", "maddr", "transport"):
                    return False
            elif mine.lower() != theirs.lower():
                return False
        return True


def _parse_uri_params(text: str) -> dict[str, str]:
    params: dict[str, str] = {}
    for part in split_list(text, ";") if text else ():
        name, _, value = part.partition("=")
        _add(params, _unescape(name).lower(), _unescape(value))
    return params


def _add(params: dict[str, str], name: str, value: str) -> None:
    """One more parameter. One without a name is none; the same one again says nothing new."""
    if name and params.get(name, value) != value:
        raise PeerError(400, "A parameter has two values")
    if len(params) >= MAX_ENTRIES:
        raise PeerError(400, "Too many parameters")
    if name:
        params[name] = value


def _hidden(text: str) -> str:
    """The text with dots for its quoted parts, character for character."""
    return _QUOTES.sub(lambda quoted: "." * len(quoted[0]) if quoted[1] else quoted[0], text) if '"' in text else text


def _write_uri_params(params: Mapping[str, str]) -> str:
    return "".join(
        f";{_escape(name, _PARAM_SAFE)}={_escape(value, _PARAM_SAFE)}" if value else f";{_escape(name, _PARAM_SAFE)}"
        for name, value in params.items()
    )


def split_list(value: str, separator: str = ",") -> Iterator[str]:
    """The parts of a header value between separators that stand outside quotes and angle brackets; stripped."""
    if '"' not in value and "<" not in value:
        yield from (part.strip(" \t") for part in value.split(separator))
        return
    start, quoted, angle, escaped = 0, False, False, False
    for at, char in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char == "<":
            angle = True
        elif char == ">":
            angle = False
        elif char == separator and not angle:
            yield value[start:at].strip(" \t")
            start = at + 1
    if quoted or angle:
        raise PeerError(400, "Unterminated quote or bracket")
    yield value[start:].strip(" \t")


def parse_params(text: str) -> dict[str, str]:
    """Header parameters `;name[=value]…` (text begins after the first semicolon); names in lower case, unquoted. One with an
    empty value is like one without."""
    params: dict[str, str] = {}
    for part in split_list(text, ";"):
        name, _, value = part.partition("=")
        name, value = name.rstrip(" \t").lower(), value.lstrip(" \t")
        if name and not is_token(name):
            raise PeerError(400, "Malformed header parameters")
        _add(params, name, unquote_string(value) if value[:1] == '"' else value)
    return params


def unquote_string(text: str) -> str:
    """Content of a quoted-string."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        raise PeerError(400, "Malformed quoted string")
    inner = text[1:-1]
    if "\\" not in inner:
        if '"' in inner:
            raise PeerError(400, "Malformed quoted string")
        return inner
    if re.fullmatch(r'(?:[^"\\]|\\.)*', inner) is None:
        raise PeerError(400, "Malformed quoted string")
    return re.sub(r"\\(.)", r"\1", inner)


def quote_string(text: str) -> str:
    """A quoted-string; control characters, which could end the line, are left out."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + re.sub(r'(["\\])', r"\\\1", _NOT_SHOWN.sub("", text)) + '"'


def write_params(params: Mapping[str, str]) -> str:
    """`;name=value` for each; a value that is no token (nor a host or address) is quoted."""
    parts = []
    for name, value in params.items():
        plain = not value or _PLAIN_VALUE.fullmatch(value)
        parts.append(f";{name}={value if plain else quote_string(value)}" if value else f";{name}")
    return "".join(parts)


class NameAddr(Struct, frozen=True, gc=False):
    """A name-addr or addr-spec with header parameters. `display` is safe to show: control characters, direction
    overrides and broken UTF-8 are taken out (RFC 4475 has messages that carry them)."""

    uri: Uri
    display: str = ""
    params: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        text = text.strip(" \t")
        if (plain := split_address(text)) is not None:
            return cls(Uri(*plain[0]), plain[1], plain[2])
        angle = _angle(text)
        if angle < 0:
            # addr-spec: parameters after ";" are the header's (RFC 3261 §20); of a display name only a quoted one is known as such
            quoted = _QUOTED.match(text)
            display, rest = (quoted[0], text[quoted.end() :].lstrip(" \t")) if quoted else ("", text)
            spec, _, params = rest.partition(";")
            spec = spec.rstrip(" \t")
            if "?" in spec or "," in spec:
                raise PeerError(400, "Malformed address")
            return cls(Uri.parse(spec), _shown(display), parse_params(params))
        close = _hidden(text[angle:]).find(">") + angle
        rest = text[close + 1 :].strip(" \t")
        if close < angle or (rest and rest[0] != ";"):
            raise PeerError(400, "Malformed address")
        return cls(Uri.parse(text[angle + 1 : close].strip(" \t")), _shown(text[:angle]), parse_params(rest[1:]))

    @property
    def tag(self) -> str:
        return self.params.get("tag", "")

    def with_params(self, **params: str) -> NameAddr:
        return replace(self, params={**self.params, **params})

    def __str__(self) -> str:
        display = f"{quote_string(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{write_params(self.params)}"


def _angle(text: str) -> int:
    """Where the "<" of the URI is, -1 without one. It stands outside quotes; with a quote that is never closed, the last one."""
    hidden = _hidden(text)
    quote = hidden.find('"')
    angle = hidden.find("<", 0, quote if quote >= 0 else None)
    return angle if angle >= 0 or quote < 0 else hidden.rfind("<")


def _shown(display: str) -> str:
    """A display name in any shape, safe to show."""
    display = display.strip(" \t")
    plain = unquote_string(display) if _QUOTED.fullmatch(display) else display
    return _NOT_SHOWN.sub("", plain).strip()


def parse_addresses(values: list[str]) -> list[NameAddr]:
    """All entries of a Contact-, Route- or Path-like header."""
    if len(values) == 1 and (plain := split_address(values[0])) is not None:
        return [NameAddr(Uri(*plain[0]), plain[1], plain[2])]
    found: list[NameAddr] = []
    for part in (part for value in values for part in _entries(value)):
        if len(found) >= MAX_ENTRIES:
            raise PeerError(400, "Too many addresses")
        found.append(NameAddr.parse(part))
    return found


def _entries(value: str) -> Iterator[str]:
    """The entries of a list of addresses. A comma in a display name that is not quoted parts nothing: what stands before it
    holds no URI. With a quote that is never closed there is one entry or none."""
    try:
        parts = list(split_list(value))
    except PeerError:
        parts = [value]
    display = ""
    for part in parts:
        entry = display + part
        display = f"{entry}, " if part and "<" not in part and ":" not in part else ""
        if part and not display:
            yield entry
    if display:
        raise PeerError(400, "Malformed address")
