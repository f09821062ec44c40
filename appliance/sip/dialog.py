"""Dialogs (RFC 3261 §12): who talks to whom, in which order, by which way.

A dialog is early or confirmed; confirmed it stays until its owner drops it. Requests inside it go over the flow of
the peer, whatever its Contact says; route set and remote target are kept because proxies beyond the flow need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.sip.errors import PeerError
from appliance.sip.text.message import Headers, Message, Request, Response
from appliance.sip.text.uri import NameAddr
from media_core.sip_plain import split_address

MAX_ROUTES = 16


def wire(text: str) -> bytes:
    """Text of a message as the bytes it came as."""
    return text.encode("utf-8", "surrogateescape")


def text(wire: bytes) -> str:
    return wire.decode("utf-8", "surrogateescape")


def with_tag(address: str, tag: str) -> str:
    """A From or To value (name-addr or addr-spec) with this tag."""
    if (plain := split_address(address)) is not None and "tag" not in plain[2]:
        return f"{address};tag={tag}"
    return str(NameAddr.parse(address).with_params(tag=tag))


def merge(defaults: Headers, headers: Headers) -> tuple[tuple[str, str], ...]:
    """The defaults that `headers` does not give, then `headers`."""
    given = tuple(headers)
    if not given:
        return tuple(defaults)
    names = {name.lower() for name, _ in given}
    return (*[pair for pair in defaults if pair[0].lower() not in names], *given)


@dataclass(slots=True)
class Dialog:
    call_id: str
    local: str  # our From value, tag included
    remote: str
    local_tag: str
    remote_tag: str
    target: str  # Request-URI of our requests
    routes: list[str] = field(default_factory=list)
    local_seq: int = 0
    remote_seq: int = -1  # -1: none seen yet
    confirmed: bool = False

    @classmethod
    def received(cls, request: Request, local_tag: str) -> Dialog:
        """Of an INVITE that came in (§12.1.1); PeerError 400 without exactly one usable Contact."""
        return cls(
            request.call_id,
            with_tag(request.get("To") or "", local_tag),
            request.get("From") or "",
            local_tag,
            request.from_tag,
            _target(request),
            _routes(request),
            0,
            request.cseq[0],
        )

    @classmethod
    def answered(cls, invite: Request, response: Response) -> Dialog:
        """Of a response to our INVITE (§12.1.2); PeerError for a route set that cannot be read."""
        return cls.unrouted(invite, response).routed(response)

    def routed(self, response: Response) -> Dialog:
        """With the route set of this response; PeerError when it cannot be read."""
        self.routes = _routes(response)[::-1]
        return self

    @classmethod
    def unrouted(cls, invite: Request, response: Response) -> Dialog:
        """The same without its route set. Without a Contact the INVITE's target is kept."""
        try:
            target = _target(response)
        except PeerError:
            target = invite.uri_text
        return cls(
            invite.call_id,
            invite.get("From") or "",
            response.get("To") or "",
            invite.from_tag,
            response.to_tag,
            target,
            [],
            invite.cseq[0],
        )

    def refresh(self, message: Message) -> None:
        """Take a new remote target from a re-INVITE, UPDATE or their 2xx (§12.2.1.2, §12.2.2)."""
        try:
            self.target = _target(message)
        except PeerError:
            return

    def follow(self, early: Dialog) -> None:
        """It is the same dialog: what was said in it counts (§12.3)."""
        self.local_seq, self.remote_seq = max(self.local_seq, early.local_seq), early.remote_seq

    def take(self, number: int) -> bool:
        """Whether a request with this CSeq comes in order (§12.2.2); remembers it."""
        if number <= self.remote_seq:
            return False
        self.remote_seq = number
        return True

    def request(
        self, method: str, via: str, headers: Headers = (), body: bytes = b"", *, number: int | None = None
    ) -> Request:
        """A request inside the dialog (§12.2.1.1). `number` is given for ACK: the INVITE's."""
        if number is None:
            self.local_seq += 1
            number = self.local_seq
        uri, routes = self.target, self.routes
        if routes and "lr" not in NameAddr.parse(routes[0]).uri.params:  # a strict router of RFC 2543
            uri, routes = str(NameAddr.parse(routes[0]).uri), [*routes[1:], f"<{self.target}>"]
        fields = [("Via", via), *(("Route", route) for route in routes), ("Max-Forwards", "70")]
        fields += [("From", self.local), ("To", self.remote), ("Call-ID", self.call_id), ("CSeq", f"{number} {method}")]
        made = Request(method, uri, merge(fields, headers), body)
        made.known(self.call_id, (number, method))
        return made

    def dump(self) -> tuple[Any, ...]:
        """Plain values for `restore`; only ever more of them, at the end."""
        texts = (self.call_id, self.local, self.remote, self.local_tag, self.remote_tag, self.target)
        return (*map(wire, texts), tuple(map(wire, self.routes)), self.local_seq, self.remote_seq, self.confirmed)

    @classmethod
    def restore(cls, values: Sequence[Any]) -> Dialog:
        call_id, local, remote, local_tag, remote_tag, target = map(text, values[:6])
        return cls(call_id, local, remote, local_tag, remote_tag, target, [text(each) for each in values[6]], *values[7:10])


def _target(message: Message) -> str:
    values = message.get_all("Contact")
    if len(values) == 1 and split_address(values[0]) is not None:  # then the URI is written in the one way there is
        return values[0].rpartition("<")[2].partition(">")[0]
    contacts = message.contacts
    if len(contacts) != 1 or contacts[0].uri.scheme not in ("sip", "sips"):
        raise PeerError(400, "Exactly one Contact is needed")
    return str(contacts[0].uri)


def _routes(message: Message) -> list[str]:
    if message.get("Record-Route") is None:
        return []
    routes = [str(address) for address in message.addresses("Record-Route")]
    if len(routes) > MAX_ROUTES:
        raise PeerError(400, "Too many Record-Route entries")
    return routes
