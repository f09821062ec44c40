"""SIP messages (RFC 3261 §7, §8.1.1, §8.2, §20): received ones parsed lazily, our own ones built and written.

`parse` takes one whole message and returns a Request or a Response that has passed `check`: everything a transaction,
dialog or B2BUA must rely on is there, well-formed and single (a second From, Call-ID, CSeq, Content-Length … is 400,
never "the first wins"; of what may be left out, a second one that says the same is none). What `check` does not read is parsed
when asked for and raises PeerError then. Of the Via entries only the topmost is taken apart: the others are only echoed.

What is written the plain way, which is nearly everything, is checked and read by `sip_plain` in one go: the attributes that a
transaction or dialog asks for are then there already. Everything else comes to the same by the readers here and in `uri`.

An answer is made of the request's own slices (`answer_to`). A request that is malformed is answered when its topmost Via can be read
at all (`echo_of`), a response never.

A message is not changed after it was made. Text is UTF-8; bytes that are not survive as surrogates. Bounds: sip_scan's,
tag and Call-ID 255 characters, URI 1,024, CSeq below 2**31 (RFC 3261 §8.1.1.5), Max-Forwards 255.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from appliance.sip.errors import PeerError
from appliance.sip.text.body import media_type, session_description
from appliance.sip.text.reasons import REASONS, STATUS_LINES
from appliance.sip.text.uri import (
    MAX_TAG,
    NameAddr,
    Uri,
    is_token,
    parse_addresses,
    parse_params,
    split_list,
)
from appliance.sip.text.via import VIA, Via
from media_core import sip_plain
from media_core.sip_scan import HEADERS, IDS, Scan, ScanError, scan

Headers = Iterable[tuple[str, str]]

MAX_CSEQ = 2**31
MAX_FIELD = 8192  # what sip_scan takes of a header field; here of one that is only echoed
COOKIE = "z9hG4bK"  # RFC 3261 §8.1.1.7

_FULL_NAME = {name.lower(): name for name, _ in HEADERS} | {short: name for name, short in HEADERS if short}
_ONCE = ("From", "To", "Call-ID", "CSeq", "Content-Length")
_SINGLE = (
    "Max-Forwards", "Content-Type", "Expires", "Session-Expires", "Min-SE", "Refer-To", "Replaces", "Event",
    "Subscription-State", "RAck", "RSeq",
)  # fmt: skip
_MANDATORY = ("Via", "From", "To", "Call-ID", "CSeq")
_ECHOED = ("Via", "From", "To", "Call-ID", "CSeq", "Timestamp")
MAX_HOPS = 70  # more Via entries than Max-Forwards allows
_CSEQ = re.compile(r"([0-9]{1,12})[ \t]+([A-Za-z0-9\-.!%*_+`'~]{1,64})")
_LINE_END = re.compile(r"\r\n|\r|\n")
_BRANCH = re.compile(r";[ \t]*branch[ \t]*=", re.I)

_DIALOG_MAKERS = ("INVITE", "SUBSCRIBE", "REFER")  # whose answers carry the route set
sip_plain.once((*_ONCE, *_SINGLE))


class Message:
    """What requests and responses share. `source` is where it came from, None for our own."""

    def __init__(self, headers: Headers = (), body: bytes = b"", *, scanned: Scan | None = None) -> None:
        self._scan = scanned
        self.is_plain = False  # and what `take` gives is there
        self._stamp: tuple[str, int] | None = None  # where it came from, if the topmost Via says so
        self._headers = tuple(headers)
        self.body = body
        # what has been asked for; None: not yet
        self._fields: tuple[tuple[str, str], ...] | None = None
        self._vias: list[str] | None = None
        self._via: Via | None = None
        self._branch: str | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._from_tag: str | None = None
        self._to_tag: str | None = None
        self._call_id: str | None = None
        self._cseq: tuple[int, str] | None = None
        self._contacts: list[NameAddr] | None = None
        self._sdp: bytes | None = None

    def take(self, plain: tuple[sip_plain.PlainVia, str, tuple[int, str], str, str, int]) -> None:
        """What has been read of a message that is written the plain way: it need not be checked any more."""
        via, self._call_id, self._cseq, self._from_tag, self._to_tag, length = plain
        self._via = Via(*via)
        self._branch = via[3].get("branch", "")
        self.is_plain = True
        if length < len(self.body):
            self.body = self.body[:length]

    def known(self, call_id: str, cseq: tuple[int, str], *, from_tag: str | None = None, to_tag: str | None = None) -> None:
        """What its maker knows of it: nobody has to read it again."""
        self._call_id, self._cseq, self._from_tag, self._to_tag = call_id, cseq, from_tag, to_tag

    # ---- any header
    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """(canonical name, value) in order."""
        if self._scan is None:
            return self._headers
        if self._fields is None:
            self._fields = tuple(self._scan.fields_list())
        return self._fields

    def get(self, name: str) -> str | None:
        """Value of the first field of this name (full name, any case), or None."""
        if self._scan is not None and (id := IDS.get(name)):
            return self._scan.first(id)
        found = self.get_all(name)
        return found[0] if found else None

    def get_all(self, name: str) -> list[str]:
        """Values of all fields of this name, one per field (a field may hold a comma-separated list)."""
        if self._scan is not None:
            id = IDS.get(name) or IDS.get(_FULL_NAME.get(name.lower(), ""))
            return self._scan.every(id) if id else self._scan.named(name)
        found = [value for key, value in self._headers if key == name]  # our own are spelt in one way
        return found or [value for key, value in self._headers if key.lower() == name.lower()]

    def tokens(self, name: str) -> list[str]:
        """The entries of a comma-separated header such as Require, in lower case. They are tokens: a quote is none."""
        values = self.get_all(name)
        return [part for value in values for each in value.lower().split(",") if (part := each.strip(" \t"))] if values else []

    def addresses(self, name: str) -> list[NameAddr]:
        """The entries of an address header such as Route, Path, P-Asserted-Identity."""
        return parse_addresses(self.get_all(name))

    # ---- the ones everybody needs
    @property
    def vias(self) -> list[str]:
        """The Via entries as they came, the topmost first, which is only checked by `via` and stamped by `stamped`."""
        if self._vias is not None:
            return self._vias
        found = [part for value in self.get_all("Via") for part in split_list(value) if part]
        if not 0 < len(found) <= MAX_HOPS or not all(VIA.fullmatch(part) for part in found[1:]):
            raise PeerError(400, "Malformed Via")
        if self._stamp is not None:
            found[0] = str(self.via)
        self._vias = found
        return found

    @property
    def via(self) -> Via:
        """The topmost Via."""
        if self._via is None:
            plain = sip_plain.split_via(self.get("Via") or "")
            self._via = Via(*plain) if plain is not None else Via.parse(self.vias[0])
        return self._via

    @property
    def branch(self) -> str:
        """Of the topmost Via, "" without one."""
        if self._branch is None:
            self._branch = self.via.branch
        return self._branch

    @property
    def is_single_hop(self) -> bool:
        """Whether there is one Via entry."""
        return self.is_plain or len(self.vias) == 1

    @property
    def from_(self) -> NameAddr:
        if self._from is None:
            self._from = self._address("From")
        return self._from

    @property
    def to(self) -> NameAddr:
        if self._to is None:
            self._to = self._address("To")
        return self._to

    def _address(self, name: str) -> NameAddr:
        address = NameAddr.parse(self.get(name) or "")
        if len(address.tag) > MAX_TAG or ("tag" in address.params and not is_token(address.tag)):
            raise PeerError(400, f"Malformed {name} tag")
        return address

    @property
    def from_tag(self) -> str:
        if self._from_tag is None:
            self._from_tag = self.from_.tag
        return self._from_tag

    @property
    def to_tag(self) -> str:
        if self._to_tag is None:
            self._to_tag = self.to.tag
        return self._to_tag

    @property
    def call_id(self) -> str:
        if self._call_id is not None:
            return self._call_id
        value = self.get("Call-ID") or ""
        if not value or len(value) > MAX_TAG or " " in value or "\t" in value:
            raise PeerError(400, "Malformed Call-ID")
        self._call_id = value
        return value

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method."""
        if self._cseq is not None:
            return self._cseq
        match = _CSEQ.fullmatch(self.get("CSeq") or "")
        if match is None or int(match[1]) >= MAX_CSEQ:
            raise PeerError(400, "Malformed CSeq")
        self._cseq = int(match[1]), match[2]
        return self._cseq

    @property
    def contacts(self) -> list[NameAddr]:
        """Contact entries; empty for `*` (see `contact_star`)."""
        if self._contacts is None:
            values = self.get_all("Contact")
            self._contacts = [] if values == ["*"] else parse_addresses(values)
        return self._contacts

    @property
    def contact_star(self) -> bool:
        return self.get_all("Contact") == ["*"]

    @property
    def expires(self) -> int | None:
        """Seconds, at most 2**32 - 1; None without the header or when it makes no sense (RFC 3261 §10.3 step 7)."""
        value = self.get("Expires")
        if value is None or not value.isascii() or not value.isdigit():
            return None
        return min(int(value[:12]), 2**32 - 1)

    @property
    def max_forwards(self) -> int:
        """70 when the header is missing."""
        value = self.get("Max-Forwards")
        if value is None:
            return 70
        if not value.isascii() or not value.isdigit() or len(value) > 10 or int(value) > 255:
            raise PeerError(400, "Malformed Max-Forwards")
        return int(value)

    @property
    def require(self) -> list[str]:
        return self.tokens("Require")

    @property
    def supported(self) -> list[str]:
        return self.tokens("Supported")

    @property
    def replaces(self) -> tuple[str, str, str] | None:
        """Call-ID, our tag and the other's of the dialog whose place this INVITE wants (RFC 3891 §6.1)."""
        value = self.get("Replaces")
        if value is None:
            return None
        call_id, _, rest = value.partition(";")
        params = parse_params(rest) if rest else {}
        if not params.get("to-tag") or not params.get("from-tag"):
            raise PeerError(400, "Malformed Replaces")
        return call_id.strip(" \t"), params["to-tag"], params["from-tag"]

    @property
    def content_type(self) -> str:
        """Media type without parameters, in lower case, "" when there is none."""
        return media_type(self.get("Content-Type") or "")

    @property
    def sdp(self) -> bytes:
        """The session description in the body, b"" when there is none (RFC 3261 §13.2.1, RFC 5621)."""
        if self._sdp is None:
            self._sdp = session_description(self.get("Content-Type") or "", self.body)
        return self._sdp

    def ignore_sdp(self) -> None:
        """What it describes does not count."""
        self._sdp = b""

    @property
    def user_agent(self) -> str:
        return self.get("User-Agent") or self.get("Server") or ""

    @property
    def dialog_id(self) -> tuple[str, str, str]:
        """Call-ID, From tag, To tag."""
        return self.call_id, self.from_tag, self.to_tag

    # ---- both ways
    def check(self) -> None:
        """Everything a transaction or dialog relies on; PeerError 400, 414, 416 if something is not right."""
        assert self._scan is not None
        for name in _ONCE + _SINGLE:
            number = self._scan.number_of(IDS[name])
            if number > 1 and (name in _ONCE or len(set(self._scan.every(IDS[name]))) > 1):
                raise PeerError(400, f"More than one {name}")
        for name in _MANDATORY:
            if not self._scan.number_of(IDS[name]):
                raise PeerError(400, f"No {name}")
        self.vias, self.via, self.call_id, self.cseq, self.from_, self.to, self.max_forwards  # noqa: B018  each raises if malformed
        length = self.get("Content-Length")
        if length is not None:
            if not length.isascii() or not length.isdigit() or len(length) > 6 or int(length) > len(self.body):
                raise PeerError(400, "Content-Length does not fit")
            self.body = self.body[: int(length)]


def _breaks(text: str) -> int:
    return text.count("\r") + text.count("\n")


def written(headers: Headers) -> bytes:
    """Header fields as lines."""
    pairs = list(headers)
    if (plain := sip_plain.lines(pairs)) is not None:
        return plain
    lines = [f"{name}: {value}\r\n" for name, value in pairs]
    text = "".join(lines)
    if _breaks(text) != 2 * len(lines) or "\0" in text:
        raise ValueError("line break in a header")  # our bug: nothing received can bring one here
    return text.encode("utf-8", "surrogateescape")


class Request(Message):
    def __init__(
        self, method: str, uri: str | Uri, headers: Headers = (), body: bytes = b"", *, scanned: Scan | None = None
    ) -> None:
        super().__init__(headers, body, scanned=scanned)
        self.method = method
        self.uri_text = str(uri)
        self._uri: Uri | None = None

    @property
    def uri(self) -> Uri:
        if self._uri is None:
            self._uri = Uri.parse(self.uri_text)
        return self._uri

    def check(self) -> None:
        super().check()
        number_method = self.cseq[1]
        if number_method != self.method:
            raise PeerError(400, "CSeq has another method")
        if not self.from_.tag and self.via.branch.startswith(COOKIE):  # RFC 2543 phones had none
            raise PeerError(400, "No From tag")
        self.uri  # noqa: B018  raises if malformed

    def stamped(self, host: str, port: int) -> Request:
        """This request with the source address in its topmost Via (RFC 3261 §18.2.1, RFC 3581 §4). One that cannot be read
        stays as it is."""
        try:
            via = self.via
        except PeerError:
            return self
        params = dict(via.params)
        if "rport" in params:
            params["rport"] = str(port)
        if "rport" in params or via.host != host.lower():
            params["received"] = host
        if params != via.params:
            self._via = Via(via.transport, via.host, via.port, params)
            self._stamp = host, port
            if self._vias is not None:  # else they are stamped when somebody asks
                self._vias[0] = str(self._via)
        return self

    def echoed(self, tag: str, *, routes: bool) -> bytes:
        """What an answer repeats of this request, as lines (RFC 3261 §8.2.6.2): Via, with `routes` Record-Route, From, To with
        this tag if it has none, Call-ID, CSeq."""
        if self.is_plain and self._scan is not None:
            via = sip_plain.stamped_via(self._scan, *self._stamp) if self._stamp else None
            suffix = f";tag={tag}".encode() if tag and not self.to_tag else b""
            if (lines := sip_plain.echo(self._scan, via or str(self.via).encode(), suffix, routes)) is not None:
                return lines
        fields = [("Via", via) for via in self.vias]
        if routes:
            fields += [("Record-Route", value) for value in self.get_all("Record-Route")]
        to = self.get("To") or ""
        if tag and to and not _has_tag(self):
            bare = to.rstrip("; \t")
            to = f"{bare};tag={tag}" if ">" in bare or ";" in bare else f"<{bare}>;tag={tag}"
        fields += [("From", self.get("From") or ""), ("To", to), ("Call-ID", self.get("Call-ID") or "")]
        fields.append(("CSeq", self.get("CSeq") or ""))
        return written((name, value) for name, value in fields if value)  # a malformed request may lack one

    def to_bytes(self) -> bytes:
        start = f"{self.method} {self.uri_text} SIP/2.0"
        if _breaks(start) or "\0" in start:
            raise ValueError("line break in a header")  # our bug: nothing received can bring one here
        headers = written([each for each in self.headers if each[0] != "Content-Length"])
        return b"%b\r\n%bContent-Length: %d\r\n\r\n%b" % (start.encode("utf-8", "surrogateescape"), headers, len(self.body), self.body)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri_text}>"


class Response(Message):
    def __init__(
        self, status: int, reason: str = "", headers: Headers = (), body: bytes = b"", *, scanned: Scan | None = None
    ) -> None:
        super().__init__(headers, body, scanned=scanned)
        self.status = status
        self.reason = reason or (REASONS.get(status, "Unknown") if scanned is None else "")

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


class Malformed(PeerError):
    """A message that failed its checks. `request` is what could be read of it when an answer can be sent, else None."""

    def __init__(self, status: int, reason: str, request: Request | None) -> None:
        super().__init__(status, reason)
        self.request = request


def _from_scan(found: Scan) -> Request | Response:
    first, second, third = found.start_line()
    if not found.is_response:
        return Request(first, second, body=found.body(), scanned=found)
    return Response(int(second), third, body=found.body(), scanned=found)


def parse(data: bytes) -> Request | Response:
    """The message in `data`, checked. Malformed says what is wrong and, for a request whose Via, Call-ID and CSeq
    can be read, holds that request so that it can be answered; the rest is to be dropped and counted."""
    try:
        found = scan(data)
        message = _from_scan(found)
        if (plain := sip_plain.head(found)) is not None:
            message.take(plain)
            return message
        version = found.start_line()[0 if isinstance(message, Response) else 2]
        if version.upper() != "SIP/2.0":
            raise PeerError(505, REASONS[505])
        if isinstance(message, Response) and not 100 <= message.status <= 699:
            raise PeerError(400, "Malformed status")
        message.check()
    except (ScanError, PeerError) as error:
        raise Malformed(error.status, error.reason, echo_of(data)) from None
    return message


def echo_of(data: bytes) -> Request | None:
    """What an answer to a malformed request echoes (RFC 3261 §8.2.6.2), read line by line: only the method and the first of each
    header field that is echoed. None when nothing must be sent (a response, an ACK) or nothing says whose answer it would be: no
    Via with a branch or a readable address."""
    first, *lines = _LINE_END.split(data.lstrip(b"\r\n").decode("utf-8", "surrogateescape"))
    method = first.split(" ")[0]
    if first[:4].upper() == "SIP/" or method == "ACK":
        return None
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if not line:
            break
        if line[0] in " \t":
            if name and len(found[name]) < MAX_FIELD:
                found[name] += " " + line.strip(" \t")
            continue
        key, _, value = line.partition(":")
        known = _FULL_NAME.get(key.strip(" \t").lower(), "")
        name = known if known in _ECHOED and known not in found else ""
        if name:
            found[name] = value.strip(" \t")
    request = Request(method, "", [(name, value.replace("\x00", "")) for name, value in found.items() if value])
    top = request.get("Via") or ""
    try:
        request.via  # noqa: B018
    except PeerError:
        if not _BRANCH.search(top) and not VIA.fullmatch(top.partition(",")[0]):
            return None
        request._vias = [top]
    return request


def _has_tag(request: Request) -> bool:
    try:
        return bool(request.to.tag)
    except PeerError:
        return False


def answer_to(
    request: Request, status: int, reason: str = "", *, to_tag: str = "", headers: Headers = (), body: bytes = b""
) -> bytes:
    """A response (RFC 3261 §8.2.6): what `echoed` says, Record-Route where a dialog can begin, then `headers`."""
    start = STATUS_LINES.get(status) if not reason else None
    if start is None:
        reason = reason or "Unknown"
        if _breaks(reason) or "\0" in reason:
            raise ValueError("line break in a header")
        start = f"SIP/2.0 {status} {reason}\r\n".encode("utf-8", "surrogateescape")
    if status == 100 and (timestamp := request.get("Timestamp")):
        headers = (("Timestamp", timestamp), *headers)
    echoed = request.echoed(to_tag, routes=101 <= status < 300 and request.method in _DIALOG_MAKERS)
    return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (start, echoed, written(headers), len(body), body)
