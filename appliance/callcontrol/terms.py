"""What a leg and its phone have agreed, in the words of a call: LegMedia (RFC 3264) towards the media core and the other leg.

Directions here are ours towards the phone. `direction` is what we have told it last: a phone may answer less than it was offered,
and must not be asked again and again for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import media_core
from appliance.sip.offer_answer import EVENT, STANDARD, Agreed, LegMedia, common, payload_map
from appliance.sip.sdp import CryptoLine, Format

# what a service of our own can send and understand
OWN = (Format(8, "PCMA", 8000), Format(0, "PCMU", 8000), EVENT)


class Terms:
    def __init__(self, media: LegMedia, *, direction: str = "sendrecv") -> None:
        self.media = media
        self.direction = direction
        self.owed = False  # our 2xx carried an offer: the ACK owes the answer
        self._offered_direction = direction

    # ---- what is agreed
    @property
    def agreed(self) -> Agreed | None:
        return self.media.agreed

    @property
    def has_offer(self) -> bool:
        """An offer of the phone waits for our answer."""
        return self.media.state == "received"

    @property
    def secure(self) -> bool:
        return self.agreed is not None and self.agreed.secure

    def formats(self) -> tuple[Format, ...]:
        """The agreed codecs under the payload types the phone wants; its preference first."""
        return self.agreed.send if self.agreed is not None else ()

    def offered_formats(self) -> Sequence[Format]:
        """What the phone can take; our own list when it has not said (late offer)."""
        return self.media.offered_formats or STANDARD

    def shares(self, other: Terms) -> bool:
        """A codec that is agreed on the other leg is agreed here, too; if an offer waits, it is in the offer."""
        formats = self.offered_formats() if self.has_offer else self.formats()
        return bool(common(formats, other.formats()))

    # ---- offer and answer
    def offer(self, formats: Sequence[Format], direction: str) -> bytes:
        body = self.media.make_offer(formats, direction)
        self._offered_direction = direction
        return body

    def take_answer(self, body: bytes) -> None:
        self.media.take_answer(body)
        self.direction = self._offered_direction

    def take_offer(self, body: bytes) -> None:
        self.media.take_offer(body)

    def answer(self, formats: Sequence[Format], direction: str) -> bytes:
        body = self.media.make_answer(formats, direction)
        assert self.agreed is not None
        self.direction = self.agreed.direction
        return body

    def forget(self) -> None:
        """The exchange under way has failed: all is as it was."""
        self.media.forget()
        self.owed = False

    def without_encryption(self) -> bool:
        """After a refusal: offer plain RTP next time. False when that is not allowed or changes nothing."""
        if self.media.encrypt != "preferred" or not self.media.signalling_secure:
            return False
        self.media.encrypt = "off"
        self.media.forget()
        return True

    # ---- for the media core
    def remote(self, signalling: str) -> media_core.Remote:
        """Only when something is agreed. `signalling` is the host the phone's signalling comes from."""
        agreed = self.agreed
        assert agreed is not None
        return media_core.Remote(
            address=signalling if agreed.held_by_address else agreed.address,
            port=agreed.port,
            rtcp_port=agreed.rtcp_port,
            signalling=signalling,
            send=agreed.may_send,
            receive=agreed.may_receive,
            telephone_event=agreed.telephone_event,
            crypto_in=_crypto(agreed.crypto_in) if agreed.secure else None,
            crypto_out=_crypto(agreed.crypto_out) if agreed.secure else None,
            codecs=_codecs(agreed),
        )

    def payload_map(self, other: Terms) -> dict[int, int]:
        """Payload types as this phone sends them → as the other phone wants them."""
        if self.agreed is None or other.agreed is None:
            return {}
        return payload_map(self.agreed, other.agreed)

    def tone_payload_type(self) -> int | None:
        """A G.711 that the phone receives, for tones."""
        return next((each.payload_type for each in self.formats() if each.payload_type in (0, 8)), None)


def _codecs(agreed: Agreed) -> tuple[media_core.Codec, ...]:
    """Under the payload types the phone takes them, the first choice first, then those it sends them under."""
    formats = [*agreed.send, *(each for each in agreed.receive if each not in agreed.send)]
    return tuple(media_core.Codec(each.name, each.payload_type) for each in formats if not each.is_event)


def _crypto(line: CryptoLine | None) -> media_core.Crypto | None:
    return media_core.Crypto(line.suite, line.key, line.salt) if line is not None else None
