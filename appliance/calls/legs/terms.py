"""What a leg and its phone have agreed, in the words of a call: LegMedia (RFC 3264) towards the media core and the other leg.

Directions here are ours towards the phone. `direction` is what we have told it last: a phone may answer less than it was offered,
and must not be asked again and again for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec.structs import replace

import media_core
from appliance.sip.media.agreed import Agreed, Encrypt
from appliance.sip.media.negotiation import EVENT, STANDARD, LegMedia, common, payload_map
from appliance.sip.media.sdes import ALONE
from appliance.sip.text.sdp import CryptoLine, Format

log = logging.getLogger(__name__)

# What the media core sends and understands, so what a service can talk in and what is transcoded where two phones have no codec in
# common; the better first.
OWN = (
    Format(111, "OPUS", 48000, 2, "useinbandfec=1"),
    Format(9, "G722", 8000),
    Format(8, "PCMA", 8000),
    Format(0, "PCMU", 8000),
    EVENT,
)
DYNAMIC = range(96, 128)  # payload types without a fixed meaning (RFC 3551 §6)


def widened(formats: Sequence[Format]) -> tuple[Format, ...]:
    """The formats, and after them those of our own that are missing, under payload types that are free."""
    taken = {each.payload_type for each in formats}
    found = list(formats)
    for each in OWN:
        if any(each.is_event if other.is_event else each.same_codec(other) for other in formats):
            continue
        number = next((n for n in (each.payload_type, *DYNAMIC) if n not in taken), None)
        if number is not None:
            taken.add(number)
            found.append(replace(each, payload_type=number))
    return tuple(found)


class Terms:
    def __init__(self, media: LegMedia, *, direction: str = "sendrecv") -> None:
        self.media = media
        self.direction = direction
        self.wide = False  # our own codecs are offered beside the other phone's
        self.owed = False  # our 2xx carried an offer: the ACK owes the answer
        self.offered_direction = direction

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
        return bool(common(_current(self), other.formats()))

    # ---- offer and answer
    def offer(self, formats: Sequence[Format], direction: str) -> bytes:
        body = self.media.make_offer(formats, direction)
        self.offered_direction = direction
        return body

    def take_answer(self, body: bytes) -> None:
        self.media.take_answer(body)
        self.direction = self.offered_direction
        self._say_skipped()

    def take_offer(self, body: bytes) -> None:
        self.media.take_offer(body)
        self._say_skipped()

    def _say_skipped(self) -> None:
        if self.media.skipped:
            log.info("%d lines of a session description made no sense and were passed over", self.media.skipped)

    def answer(self, formats: Sequence[Format], direction: str) -> bytes:
        body = self.media.make_answer(formats, direction)
        assert self.agreed is not None
        self.direction = self.agreed.direction
        return body

    def forget(self) -> None:
        """The exchange under way has failed: all is as it was."""
        self.media.forget()
        self.owed = False

    def relent(self, formats: Sequence[Format]) -> bool:
        """After a refusal of these formats: what to offer next time. Our own codecs beside them, if we can transcode; then the one
        suite that every phone with SDES has, for a phone that dislikes the list; then, where the policy allows it, plain RTP; False:
        nothing is left to be tried.

        Our own are not offered the first time: a phone may send any codec it agreed on, and what both have need not be transcoded.
        """
        media = self.media
        encrypts = media.encrypt != "off" and media.signalling_secure
        if not self.wide and common(formats, OWN) and len(widened(formats)) > len(formats):
            self.wide = True
        elif encrypts and media.suites != ALONE:
            media.suites = ALONE
        elif encrypts and media.encrypt == "preferred":
            media.encrypt, self.wide = "off", False
        else:
            return False
        media.forget()
        return True

    # ---- for the media core
    def remote(self, signalling: str, *, find_digits: bool = False) -> media_core.Remote:
        """Only when something is agreed. `signalling` is the host the phone's signalling comes from; `find_digits`: in the sound, when it
        sends no events."""
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
            find_digits=find_digits and agreed.telephone_event < 0,
        )

    def payload_map(self, other: Terms) -> dict[int, int]:
        """Payload types as this phone sends them → as the other phone wants them."""
        if self.agreed is None or other.agreed is None:
            return {}
        return payload_map(self.agreed, other.agreed)

    def tone_payload_type(self) -> int | None:
        """What the phone receives tones in: G.711 costs least."""
        formats = common(self.formats(), OWN)
        return next(
            (each.payload_type for each in sorted(formats, key=lambda each: each.payload_type not in (0, 8))), None
        )


def _current(terms: Terms) -> Sequence[Format]:
    """The codecs of the waiting offer, else those agreed on."""
    return terms.offered_formats() if terms.has_offer else terms.formats()


def why_not_encrypted(terms: Terms, policy: Encrypt) -> str:
    """Why the sound is not encrypted under the extension's policy: a key of the catalogue, "" when it is or when nothing is agreed."""
    if terms.agreed is None or terms.secure:
        return ""
    if policy == "off":
        return "encryption.switched-off"
    if not terms.media.signalling_secure:
        return "encryption.no-tls"
    if terms.media.encrypt == "off":
        return "encryption.offers-refused"
    return "encryption.no-key"


def bridges(one: Terms, other: Terms) -> bool:
    """Both can talk to each other, if need be by way of the core, which transcodes its own codecs."""
    return one.shares(other) or bool(common(_current(one), OWN) and common(other.formats(), OWN))


def answerable(one: Terms, other: Terms) -> Sequence[Format]:
    """What to answer the offer of `one` with: what `other` has agreed on, or, with nothing in common, what we transcode."""
    return other.formats() if one.shares(other) else OWN


def _codecs(agreed: Agreed) -> tuple[media_core.Codec, ...]:
    """Under the payload types the phone takes them, the first choice first, then those it sends them under."""
    formats = [*agreed.send, *(each for each in agreed.receive if each not in agreed.send)]
    return tuple(media_core.Codec(each.name, each.payload_type) for each in formats if not each.is_event)


def _crypto(line: CryptoLine | None) -> media_core.Crypto | None:
    if line is None:
        return None
    return media_core.Crypto(line.suite, line.key, line.salt, line.mki_length)
