"""What is in a message body: the session description, alone or as a part of a multipart body (RFC 5621, RFC 2046 §5.1). Pure.

Deaf where a call does not need it: other parts are passed over whatever they are, as is a part whose disposition is not the
session's (an early session of RFC 3959, an icon …) or that is written in a transfer encoding, which SIP does not use. A missing end
delimiter ends at the end of the body. Bounds: PARTS parts, DEPTH multiparts within each other; what is beyond is passed over.
"""

from __future__ import annotations

import re

from appliance.sip.errors import PeerError
from appliance.sip.text.uri import parse_params

SDP_TYPE = "application/sdp"
PARTS = 32
DEPTH = 3

_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,\-./:=? ]{0,69}[A-Za-z0-9'()+_,\-./:=?]")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_IDENTITY = ("", "7bit", "8bit", "binary")


def media_type(content_type: str) -> str:
    """Of a Content-Type value: type/subtype in lower case, "" when there is none."""
    return content_type.partition(";")[0].strip(" \t").lower()


def session_description(content_type: str, body: bytes, depth: int = 0) -> bytes:
    """The description in a body of this type; b"" when there is none. A body that does not say its type is one if it begins
    like one. Of multipart/alternative the last one counts, which its sender likes best (RFC 2046 §5.1.4), else the first."""
    kind = media_type(content_type)
    if not body.strip():
        return b""
    if kind == SDP_TYPE or (not kind and body.lstrip()[:3] == b"v=0"):
        return body
    if not kind.startswith("multipart/") or depth >= DEPTH:
        return b""
    found = [
        description
        for part_type, content in _parts(content_type, body)
        if (description := session_description(part_type, content, depth + 1))
    ]
    return (found[-1] if kind == "multipart/alternative" else found[0]) if found else b""


def may_be_ignored(disposition: str) -> bool:
    """Whether a Content-Disposition value allows who does not understand the body to go on without it (RFC 3261 §20.11)."""
    try:
        return parse_params(disposition.partition(";")[2]).get("handling", "").lower() == "optional"
    except PeerError:
        return False


def _parts(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """(Content-Type, content) of the parts that can be a session's."""
    try:
        boundary = parse_params(content_type.partition(";")[2]).get("boundary", "")
    except PeerError:
        return []
    if not _BOUNDARY.fullmatch(boundary):
        return []
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    found: list[tuple[str, bytes]] = []
    start = 0  # of the part after the last delimiter; 0: only the preamble has been seen
    for match in delimiter.finditer(body):
        # the line break before a delimiter is the delimiter's, so two delimiters in a row share one
        if start:
            found.append(_part(body[start : match.start()]))
        start = match.end()
        if match[1] or len(found) >= PARTS:
            start = 0
            break
    if start:
        found.append(_part(body[start:]))
    return [part for part in found if part[0]]


def _part(data: bytes) -> tuple[str, bytes]:
    """Its Content-Type and content; "" for one that is of no use."""
    blank = _BLANK_LINE.search(data)
    if blank is None:
        return "", b""
    fields: dict[str, str] = {}
    for line in re.split(rb"\r?\n(?![ \t])", data[: blank.start()]):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        fields.setdefault(name.strip().lower(), " ".join(value.split()))
    disposition = fields.get("content-disposition", "").partition(";")[0].strip().lower()
    encoding = fields.get("content-transfer-encoding", "").lower()
    if disposition not in ("", "session") or encoding not in _IDENTITY:
        return "", b""
    return fields.get("content-type", fields.get("c", "")), data[blank.end() :]
