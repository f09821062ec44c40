"""What a user agent can do, said once: Allow, Supported, Accept, Allow-Events and the refusals 405, 415, 420 and 489 follow from one row.

The stack is told the row by who builds it. What is not in it is neither promised nor let in.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.sip.errors import PeerError
from appliance.sip.text.body import SDP_TYPE, may_be_ignored
from appliance.sip.text.message import Request

LISTED = 20  # option tags named in a 420

# Methods that are answered otherwise than by 405 when nobody here has a use for them (RFC 6665 §4.1.3, §4.2.1.1; RFC 3903 §6).
_WITHOUT_EVENTS = {"SUBSCRIBE": (489, "Bad Event"), "PUBLISH": (489, "Bad Event"), "NOTIFY": (481, "Subscription Does Not Exist")}


@dataclass(frozen=True, slots=True)
class Abilities:
    methods: tuple[str, ...] = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE", "PRACK")
    extensions: tuple[str, ...] = ("timer", "100rel")  # option tags, for every method
    registration: tuple[str, ...] = ()  # further ones, understood in a REGISTER
    bodies: tuple[str, ...] = (SDP_TYPE, "multipart/mixed", "multipart/alternative")  # of INVITE, UPDATE and PRACK: with SDP in it
    info: tuple[str, ...] = ()  # of INFO; (): any
    events: tuple[str, ...] = ()  # event packages of SUBSCRIBE and PUBLISH

    @property
    def allow(self) -> tuple[str, str]:
        return "Allow", ", ".join(self.methods)

    @property
    def supported(self) -> tuple[str, str]:
        return "Supported", ", ".join((*self.extensions, *self.registration))

    def supported_without(self, tag: str) -> tuple[str, str]:
        return "Supported", ", ".join(each for each in (*self.extensions, *self.registration) if each != tag)

    @property
    def all(self) -> tuple[tuple[str, str], ...]:
        """The answer to OPTIONS (RFC 3261 §11.2)."""
        events = (("Allow-Events", ", ".join(self.events)),) if self.events else ()
        accept = ("Accept", ", ".join((*self.bodies, *self.info)))
        return (self.allow, self.supported, accept, ("Accept-Encoding", "identity"), *events)

    def check_method(self, request: Request) -> None:
        """PeerError for a method, or an event package, that we have nothing for."""
        event = (request.get("Event") or "").partition(";")[0].strip().lower()
        if request.method in _WITHOUT_EVENTS and event not in self.events:
            headers = (("Allow-Events", ", ".join(self.events)),) if self.events else ()
            raise PeerError(*_WITHOUT_EVENTS[request.method], headers)
        if request.method not in self.methods:
            raise PeerError(405, "Method Not Allowed", (self.allow,))

    def check_extensions(self, request: Request) -> None:
        """PeerError 420 for what it demands and we do not understand (RFC 3261 §8.2.2.3)."""
        if request.get("Require") is None and request.get("Proxy-Require") is None:
            return
        understood = {*self.extensions, *(self.registration if request.method == "REGISTER" else ())}
        unknown = [tag for tag in (*request.require, *request.tokens("Proxy-Require")) if tag not in understood]
        if unknown:
            raise PeerError(420, "Bad Extension", (("Unsupported", ", ".join(unknown[:LISTED])),))

    def check_body(self, request: Request) -> None:
        """PeerError 415 for a body that nobody here reads; none at all is fine (an empty INFO asks whether we are there)."""
        types = {"INVITE": self.bodies, "UPDATE": self.bodies, "PRACK": self.bodies, "INFO": self.info}.get(request.method, ())
        if not types or not request.body.strip():
            return
        readable = request.sdp if SDP_TYPE in types else request.content_type in types
        if not readable and not may_be_ignored(request.get("Content-Disposition") or ""):
            raise PeerError(415, "Unsupported Media Type", (("Accept", ", ".join(types)),))
        if (request.get("Content-Encoding") or "identity").lower() != "identity":
            raise PeerError(415, "Unsupported Media Type", (("Accept-Encoding", "identity"),))


PHONE = Abilities()  # what the stack does by itself
