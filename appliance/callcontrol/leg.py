"""One telephone's side of a call: its session, its media leg, and what was negotiated between them.

`wants_send` and `wants_receive` are what the phone itself asked for by its last offer (a phone that holds does not want to
receive); what the other leg is offered follows from them, see `direction_for`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

import media_core
from appliance import cti
from appliance.callcontrol.api import Party
from appliance.callcontrol.exchange import Exchange, Media
from appliance.callcontrol.slot import LegSlot
from appliance.callcontrol.terms import OWN, Terms, answerable, why_not_encrypted
from appliance.calls.history.quality import Quality
from appliance.calls.history.record import LegRecord, Side
from appliance.config.model import Encrypt
from appliance.sip import events
from appliance.sip.dialog import Dialog
from appliance.sip.errors import WrongState
from appliance.sip.media.negotiation import LegMedia
from appliance.sip.text.sdp import Format
from appliance.sip.text.uri import NameAddr, Uri, join_host


def flags(sends: bool, receives: bool) -> str:
    return ("sendrecv" if receives else "sendonly") if sends else ("recvonly" if receives else "inactive")


def wanted(other: PhoneLeg | None) -> str:
    """Our direction towards a phone that may have all of it: what the other one sends and receives."""
    return flags(other.wants_send, other.wants_receive) if other is not None else "sendrecv"


class PhoneLeg:
    def __init__(
        self,
        exchange: Exchange,
        *,
        side: Side,
        party: Party,
        line: str,
        encrypt: Encrypt,
        flow: media_core.FlowInfo,
        port: media_core.Leg,
    ) -> None:
        self.side = side
        self.party = party
        self.line = line
        self.encrypt = encrypt
        self.flow = flow
        self.port = port
        self.session = ""
        self.target = ""  # Request-URI of the phone we ring
        self.user_agent = ""
        self.answered = False
        self.over = False
        self.quality = Quality()
        self.status = 0  # the phone's final refusal
        self.wants_send = True
        self.wants_receive = True
        self._early_answer = b""
        self._offer_result: asyncio.Future[events.OfferAnswered] | None = None
        media = LegMedia(
            exchange.host,
            port.port,
            session_id=int.from_bytes(exchange.secrets(4), "big"),
            keys=exchange.secrets,
            encrypt=encrypt,
            signalling_secure=self.signalling_secure,
            signalling=flow.remote[0],
            owns=exchange.media.owns,
        )
        self.terms = Terms(media)

    @property
    def signalling_secure(self) -> bool:
        return self.flow.transport == media_core.Transport.TLS

    @property
    def address(self) -> str:
        return join_host(*self.flow.remote)

    # ---- offer and answer
    def answer(self, other: PhoneLeg | None) -> bytes:
        """Our answer to the waiting offer, for a late offer our offer. The caller's early answer is the final one, too."""
        if self._early_answer and not self.terms.has_offer:
            return self._early_answer
        codecs: Sequence[Format] = OWN if other is None else answerable(self.terms, other.terms)
        if not self.terms.has_offer:
            self.terms.owed = True
            return self.terms.offer(codecs, "sendrecv")
        body = self.terms.answer(codecs, wanted(other))
        if not self.answered:
            self._early_answer = body
        self.follow()
        return body

    def follow(self) -> None:
        """Take the direction the phone has said last for what it wants."""
        direction = self.terms.media.remote_direction
        self.wants_send = direction in ("sendrecv", "sendonly")
        self.wants_receive = direction in ("sendrecv", "recvonly")

    def direction_for(self, other: PhoneLeg | None) -> str:
        """Our direction towards this phone: we send what the other wants to send, if this one wants to receive it."""
        if other is None:
            return flags(self.wants_receive, self.wants_send)
        return flags(other.wants_send and self.wants_receive, other.wants_receive and self.wants_send)

    def expect_answer(self) -> asyncio.Future[events.OfferAnswered]:
        self._offer_result = asyncio.get_running_loop().create_future()
        return self._offer_result

    def offer_answered(self, event: events.OfferAnswered) -> None:
        if self._offer_result is not None and not self._offer_result.done():
            self._offer_result.set_result(event)

    # ---- headers
    def identity(self, host: str) -> tuple[str, list[tuple[str, str]]]:
        """From and the asserted identity towards the other side: the line's extension, never what the phone claims."""
        address = str(NameAddr(Uri("sip", self.party.number, host), self.party.name))
        return address, [("P-Asserted-Identity", address)]

    @staticmethod
    def connected_line(host: str, callee: Party | None) -> list[tuple[str, str]]:
        """Whom the caller has reached."""
        if callee is None:
            return []
        return [("P-Asserted-Identity", str(NameAddr(Uri("sip", callee.number, host), callee.name)))]

    # ---- what is shown and kept
    def media_host(self, media: Media) -> str:
        """Where its packets come from, as far as is known."""
        try:
            return media.stats(self.port.id).remote[0]
        except media_core.StaleHandle:
            return ""

    def close(self, media: Media) -> LegRecord:
        """Free the media leg; what it has counted."""
        stats = media.close(self.port.id)
        received, sent, reported = stats.received, stats.sent, stats.reported
        return LegRecord(
            side=self.side,
            number=self.party.number,
            name=self.party.name,
            address=self.address,
            transport=media_core.Transport(self.flow.transport).name,
            signalling_secure=self.signalling_secure,
            media_secure=self.terms.secure,
            not_encrypted=why_not_encrypted(self.terms, self.encrypt),
            codec=_codec(self.terms),
            user_agent=self.user_agent,
            status=self.status,
            packets_received=received.packets,
            packets_sent=sent.packets,
            secured_received=received.secured,
            secured_sent=sent.secured,
            lost=received.lost,
            jitter_ms=round(received.jitter_ms, 2),
            dropped_source=received.dropped_source,
            dropped_auth=received.dropped_auth,
            burst_lost=received.burst_lost,
            burst_longest=received.burst_longest,
            poor_seconds=self.quality.poor_seconds,
            worst_lost=self.quality.worst_lost,
            worst_jitter_ms=self.quality.worst_jitter_ms,
            far_lost=reported.lost if reported else 0,
            far_jitter_ms=round(reported.jitter_ms, 2) if reported else 0.0,
            round_trip_ms=round(reported.round_trip_ms, 1) if reported else 0.0,
            receives=self.answered and self.wants_send,
        )

    def view(self, other: PhoneLeg | None, media: Media) -> cti.LegView:
        try:
            stats = media.stats(self.port.id)
        except media_core.StaleHandle:
            stats = None
        return cti.LegView(
            number=self.party.number,
            name=self.party.name,
            address=self.address,
            transport=media_core.Transport(self.flow.transport).name,
            signalling_secure=self.signalling_secure,
            media_secure=self.terms.secure,
            codec=_codec(self.terms),
            state=self._state(other),
            packets_received=stats.received.packets if stats else 0,
            packets_sent=stats.sent.packets if stats else 0,
            lost=stats.received.lost if stats else 0,
            jitter_ms=round(stats.received.jitter_ms, 2) if stats else 0.0,
            poor=self.quality.now,
            forged=self.quality.forged,
            secured_received=stats.received.secured if stats else 0,
            secured_sent=stats.sent.secured if stats else 0,
        )

    def _state(self, other: PhoneLeg | None) -> str:
        """ringing; talking; held: has put the other on hold; on-hold: waits."""
        if not self.answered:
            return "ringing"
        if not self.wants_receive:
            return "held"
        return "on-hold" if other is not None and not other.wants_receive else "talking"

    def dialog(self, sip: Callable[[Callable[[Any, float], Dialog | None]], Dialog | None]) -> Dialog | None:
        """With the phone, once it is set up and as long as it is."""
        try:
            return sip(lambda stack, now: stack.dialog(self.session)) if self.session and not self.over else None
        except WrongState:
            return None

    def slot(self, sip: Callable[[Callable[[Any, float], tuple[Any, ...]]], tuple[Any, ...]]) -> LegSlot:
        try:
            session = msgspec.msgpack.encode(sip(lambda stack, now: stack.dump(self.session))) if self.session and not self.over else b""
        except WrongState:
            session = b""
        return LegSlot(
            side=self.side,
            number=self.party.number,
            name=self.party.name,
            line=self.line,
            encrypt=self.encrypt,
            id=self.session,
            session=session,
            flow=self.flow.id,
            transport=int(self.flow.transport),
            local=self.flow.local,
            remote=self.flow.remote,
            cipher=self.flow.cipher,
            leg=self.port.id,
            port=self.port.port,
            answered=self.answered,
            user_agent=self.user_agent,
            wants_send=self.wants_send,
            wants_receive=self.wants_receive,
            local_direction=self.terms.direction,
            negotiated=msgspec.msgpack.encode(self.terms.media.dump()),
            poor=(self.quality.poor_seconds, self.quality.worst_lost, self.quality.worst_jitter_ms),
        )

    @classmethod
    def restored(cls, exchange: Exchange, slot: LegSlot) -> PhoneLeg:
        """As `slot` has it; a session that was over by then stays over."""
        transport = media_core.Transport(slot.transport)
        flow = media_core.FlowInfo(slot.flow, transport, slot.local, slot.remote, slot.cipher)
        leg = cls(
            exchange,
            side=slot.side,
            party=Party(slot.number, slot.name),
            line=slot.line,
            encrypt=slot.encrypt,
            flow=flow,
            port=media_core.Leg(slot.leg, slot.port),
        )
        leg.answered = slot.answered
        leg.quality = Quality(*slot.poor)
        leg.user_agent = slot.user_agent
        leg.wants_send, leg.wants_receive = slot.wants_send, slot.wants_receive
        media = LegMedia.restore(msgspec.msgpack.decode(slot.negotiated), exchange.secrets, flow.remote[0], exchange.media.owns)
        media.forget()  # nobody waits for the answer to an offer of before
        leg.terms = Terms(media, direction=slot.local_direction)
        leg.session = slot.id
        if slot.session:
            values = msgspec.msgpack.decode(slot.session)
            leg.session = exchange.sip(lambda stack, now: stack.restore(values, now))
        else:
            leg.over = True
        return leg


def _codec(terms: Terms) -> str:
    codec = terms.agreed.codec if terms.agreed is not None else None
    return codec.name if codec is not None else ""
