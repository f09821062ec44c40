"""Offer and answer for one leg of a call (RFC 3264, RFC 4568, RFC 5761). Pure: keys come from the function given.

A B2BUA negotiates each leg by itself: LegMedia writes our offers and answers, reads theirs and says what came of it
(Agreed). It promises: m-lines keep number and order, everything but one audio line is declined with port 0 (the first that can
be served, one with keys before one without; §6), the o= version rises by one when the description changes and only then, an answer
holds only what was offered. Media goes only where `media_address` allows.

States and moves: stable --make_offer--> offered --take_answer--> stable; stable --take_offer--> received --make_answer-->
stable; forget goes back. An answer may be taken or made again for the same offer (early media, then the final one).

Encryption, by policy and signalling:
- required: offers RTP/SAVP with keys and takes only lines with keys; without TLS signalling there is nothing it can do: 488;
- preferred: with TLS the same offer under `profile` (RTP/SAVP, or RTP/AVP with keys for "optional SRTP"), takes both; a phone
  that refuses it is offered plain RTP by whoever asked (`encrypt="off"`); without TLS plain RTP only;
- off: never a key. Keys are written and read only over secure signalling; an offer that insists otherwise is refused, 488.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from appliance.sip.errors import PeerError, WrongState
from appliance.sip.media import plain, sdes
from appliance.sip.media.address import media_address
from appliance.sip.media.agreed import NOTHING, Agreed, Before, Encrypt, Kept, Usable
from appliance.sip.text import sdp
from appliance.sip.text.sdp import CryptoLine, Format, Media, Session

EVENT = Format(101, "TELEPHONE-EVENT", 8000, 1, "0-16")
# what is offered when nobody has said what it wants
STANDARD = (
    Format(9, "G722", 8000),
    Format(8, "PCMA", 8000),
    Format(0, "PCMU", 8000),
    EVENT,
)

# whether encryption is wanted, and the signalling secure -> the kinds of media security a leg may have, the best first
POLICY: Mapping[tuple[Encrypt, bool], tuple[str, ...]] = {
    ("required", True): ("sdes",),
    ("required", False): (),
    ("preferred", True): ("sdes", "plain"),
    ("preferred", False): ("plain",),
    ("off", True): ("plain",),
    ("off", False): ("plain",),
}


def payload_map(one: Agreed, other: Agreed) -> dict[int, int]:
    """How payload types of packets from `one` read for `other`."""
    found: dict[int, int] = {}
    for mine in one.receive:
        theirs = next((each for each in other.send if each.same_codec(mine)), None)
        if theirs is not None:
            found[mine.payload_type] = theirs.payload_type
    return found


def common(formats: Iterable[Format], others: Sequence[Format]) -> tuple[Format, ...]:
    """Those of `formats` whose codec is in `others`, audio only."""
    return tuple(each for each in formats if not each.is_event and any(each.same_codec(other) for other in others))


def without_duplicates(formats: Iterable[Format]) -> tuple[Format, ...]:
    """A description must not have a payload type twice; the first one wins. What has no name cannot be passed on."""
    seen: dict[int, Format] = {}
    for each in formats:
        if each.name:
            seen.setdefault(each.payload_type, each)
    return tuple(seen.values())


def _directions(direction: str) -> tuple[bool, bool]:
    """(send, receive)"""
    return direction in ("sendrecv", "sendonly"), direction in ("sendrecv", "recvonly")


def _direction(send: bool, receive: bool) -> str:
    return {(True, True): "sendrecv", (True, False): "sendonly", (False, True): "recvonly"}.get(
        (send, receive), "inactive"
    )


def merged(lines: Sequence[Media]) -> tuple[Format, ...]:
    """What at least one of these lines can take. A codec of a later line whose payload type is taken gets another one, which
    is for other legs only: towards this one each line has its own."""
    found = list(lines[0].formats) if lines else []
    for each in (each for line in lines[1:] for each in line.formats):
        if each.name and not any(each.same_codec(other) for other in found):
            taken = {other.payload_type for other in found}
            number = next((n for n in (each.payload_type, *range(96, 128)) if n not in taken), None)
            if number is not None:
                found.append(replace(each, payload_type=number))
    return tuple(found)


class LegMedia:
    """Negotiation of one leg. `address` and `port` are ours, `keys(n)` gives n random bytes, `session_id` is for o=; `signalling`
    is the host that the far end signals from and `owns` knows our media ports (see `media_address`)."""

    def __init__(
        self,
        address: str,
        port: int,
        *,
        session_id: int,
        keys: Callable[[int], bytes],
        encrypt: Encrypt = "preferred",
        signalling_secure: bool = False,
        profile: Literal["RTP/SAVP", "RTP/AVP"] = "RTP/SAVP",
        signalling: str = "",
        owns: Callable[[int], bool] = lambda port: False,
    ) -> None:
        self.address = address
        self.port = port
        self.encrypt: Encrypt = encrypt
        self.signalling_secure = signalling_secure
        self.profile = profile
        self.signalling = signalling
        self.suites: tuple[str, ...] = sdes.PREFERENCE  # what our offers have
        self.skipped = 0  # lines of their last description that made no sense
        self._owns = owns
        self.agreed: Agreed | None = None
        self.state: Literal["stable", "offered", "received"] = "stable"
        self.local_sdp = b""
        self.remote_formats: tuple[Format, ...] = ()  # of their last offer or answer
        self.remote_direction = "sendrecv"
        self._session_id = session_id
        self._version = 0
        self._keys = sdes.Keys(keys)
        self._lines: tuple[Media, ...] = ()  # the m-lines of the session so far
        self._audio = 0  # which of them is ours
        self._offer: Media | None = None  # our last offered audio line
        self._received: Usable = ()  # theirs that can be used, with their places, the best first
        self._before: Before = NOTHING  # what forget goes back to

    @property
    def _kinds(self) -> tuple[str, ...]:
        return POLICY[self.encrypt, self.signalling_secure]

    @property
    def _key_in_use(self) -> CryptoLine | None:
        """Theirs."""
        return self.agreed.crypto_in if self.agreed is not None else None

    # ---- our offer
    def make_offer(self, formats: Sequence[Format] = STANDARD, direction: str = "sendrecv") -> bytes:
        """Our offer; PeerError 488 when policy and signalling leave nothing to offer."""
        if self.state == "received":
            raise WrongState("their offer waits for an answer")
        kinds = self._kinds
        if not kinds:
            raise PeerError(488, "This extension requires encryption and the phone is not connected over TLS")
        protocol: str = "RTP/AVP"
        crypto: tuple[CryptoLine, ...] = ()
        if kinds[0] == "sdes":
            protocol = self.profile if "plain" in kinds else "RTP/SAVP"
            crypto = self._keys.offer(self.suites, self._key_in_use)
        offer = Media(
            "audio", self.port, protocol, without_duplicates(formats), direction=direction, ptime=20, crypto=crypto
        )
        self.state, self._offer = "offered", offer
        return self._write(offer)

    def take_answer(self, body: bytes) -> Agreed:
        """Their answer to our last offer, or to a refresh of the session, which offers once more what we said last; PeerError 488 when it
        does not fit."""
        offer = self._offer
        if offer is None and self.state == "stable" and self.agreed is not None:
            offer = self._lines[self._audio]
        if offer is None:
            raise WrongState("there is no offer of ours")
        answer = sdp.parse(body)
        self.skipped = answer.skipped
        if len(answer.media) <= self._audio:  # more or fewer of those that were declined do no harm
            raise PeerError(488, "The answer has no line for the offered audio")
        media = answer.media[self._audio]
        if media.fault:
            raise PeerError(488, media.fault)
        if media.kind != "audio" or media.port == 0:
            raise PeerError(488, "The far end declined audio")
        pairs = [
            (mine, theirs)
            for theirs in media.formats
            for mine in offer.formats
            if mine.same_codec(theirs) or (not theirs.name and mine.payload_type == theirs.payload_type)
        ]
        if not any(not mine.is_event for mine, _ in pairs):
            raise PeerError(488, "The answer has no codec of the offer")
        crypto_in, crypto_out = self._answered_keys(media, offer)
        receive = tuple(mine for mine, _ in pairs)
        send = tuple(
            replace(mine, payload_type=theirs.payload_type, parameters=theirs.parameters) for mine, theirs in pairs
        )
        mine_send, mine_receive = _directions(offer.direction)
        they_send, they_receive = _directions(media.direction)
        direction = _direction(mine_send and they_receive, mine_receive and they_send)
        self._conclude(media, receive, send, direction, crypto_in, crypto_out)
        self.state = "stable"
        assert self.agreed is not None
        return self.agreed

    @staticmethod
    def _answered_keys(media: Media, offer: Media) -> tuple[CryptoLine | None, CryptoLine | None]:
        if offer.crypto and media.crypto:
            return sdes.answered(offer, media)
        plain.answered(offer, media)
        return None, None

    # ---- their offer
    def take_offer(self, body: bytes) -> None:
        """Their offer; PeerError 400 or 488. What they can do is in `remote_formats` and `remote_direction` then."""
        if self.state == "offered":
            raise WrongState("our own offer waits for an answer")
        offer = sdp.parse(body)
        self.skipped = offer.skipped
        usable: list[tuple[int, Media]] = []
        refusals: list[PeerError] = []
        # the sort is stable: of an offer with a secure and a plain line the secure one comes first
        for index in sorted(range(len(offer.media)), key=lambda index: not offer.media[index].crypto):
            media = offer.media[index]
            try:
                self._check_line(media)
            except PeerError as error:
                # what is wrong with the sound says more than that there is a picture
                refusals.insert(0 if media.kind == "audio" and media.port else len(refusals), error)
            else:
                usable.append((index, media))
        if not usable:
            raise refusals[0] if refusals else PeerError(488, "The offer has no media")
        self._before = (self._lines, self._audio, self._received, self.remote_formats, self.remote_direction)
        self.state, self._received = "received", tuple(usable)
        self._lines = tuple(_declined(line) for line in offer.media)
        self._audio = usable[0][0]
        self._remember(usable[0][1])
        self.remote_formats = merged([media for _, media in usable])

    def _check_line(self, media: Media) -> None:
        if media.kind != "audio":
            raise PeerError(488, "Only audio is possible")
        if media.fault:
            raise PeerError(400, media.fault)
        if media.port == 0:
            raise PeerError(488, "The audio line is switched off")
        if media.protocol not in (plain.PROFILES + sdes.PROFILES):
            raise PeerError(488, f"Media over {media.protocol[:30]} is not possible")
        if not any(each.name and not each.is_event for each in media.formats):
            raise PeerError(488, "The offer has no known codec")
        self._address_of(media)
        has_key = sdes.chosen(media) is not None
        if not self._kinds:
            raise PeerError(488, "This extension requires encryption and the phone is not connected over TLS")
        if "plain" not in self._kinds and not has_key:
            raise PeerError(488, "This extension requires encryption and the phone offered none")
        if media.protocol in sdes.PROFILES:
            if self.encrypt == "off":
                raise PeerError(488, "Encryption is switched off for this extension and the phone insists on it")
            if not self.signalling_secure:
                raise PeerError(488, "The phone wants encryption but is not connected over TLS")
            if not has_key:
                raise PeerError(488, "The phone offered no encryption that is known here")

    def _address_of(self, media: Media) -> str:
        """Where to send; UnusableAddress when that must not be."""
        if media.held_by_address:
            return media.address
        if media.rtcp_port:
            media_address(media.address, media.rtcp_port, ours=self.address, signalling=self.signalling, owns=self._owns)
        return media_address(media.address, media.port, ours=self.address, signalling=self.signalling, owns=self._owns)

    def make_answer(self, formats: Sequence[Format] = STANDARD, direction: str = "sendrecv") -> bytes:
        """Our answer: the offered codecs that are in `formats`, in the offer's order and under its payload types.
        PeerError 488 when there is none."""
        if not self._received or self.state == "offered":
            raise WrongState("there is no offer to answer")
        served = [(index, line, found) for index, line in self._received if (found := _in_common(line, formats))]
        if not served:
            raise PeerError(488, "No codec in common")
        self._audio, offer, chosen = served[0]
        self._received = ((self._audio, offer),)  # answered again, the same line is meant
        mine_send, mine_receive = _directions(direction)
        they_send, they_receive = _directions(offer.direction)
        if offer.held_by_address:
            they_receive = False
        agreed = _direction(mine_send and they_receive, mine_receive and they_send)
        line = sdes.chosen(offer) if "sdes" in self._kinds else None
        key = self._keys.answer(line, self._key_in_use) if line is not None else None
        answer = Media(
            "audio", self.port, offer.protocol, chosen, direction=agreed, rtcp_mux=offer.rtcp_mux, ptime=20,
            crypto=(key,) if key else (),
        )  # fmt: skip
        self._conclude(offer, answer.formats, answer.formats, agreed, line, key)
        self.state = "stable"
        self._offer = None
        return self._write(answer)

    # ---- both
    def forget(self) -> None:
        """The offer under way came to nothing: what was agreed before stays (RFC 3261 §14.1)."""
        if self.state == "received":
            self._lines, self._audio, self._received, self.remote_formats, self.remote_direction = self._before
        self.state = "stable"

    @property
    def offered_formats(self) -> tuple[Format, ...]:
        """What the far end can take, payload types as it wants them; to be offered to another leg."""
        return without_duplicates(self.remote_formats)

    def _remember(self, media: Media) -> None:
        self.remote_formats = media.formats
        self.remote_direction = (
            "inactive" if media.held_by_address and media.direction == "recvonly" else media.direction
        )
        if media.held_by_address and media.direction == "sendrecv":
            self.remote_direction = "sendonly"  # hold of RFC 2543

    def _conclude(
        self,
        media: Media,
        receive: tuple[Format, ...],
        send: tuple[Format, ...],
        direction: str,
        crypto_in: CryptoLine | None,
        crypto_out: CryptoLine | None,
    ) -> None:
        address = self._address_of(media)
        self._remember(media)
        rtcp = 0 if media.rtcp_mux else media.rtcp_port or min(media.port + 1, 65535)
        self.agreed = Agreed(
            address, media.port, rtcp, receive, send, direction, crypto_in, crypto_out, media.held_by_address
        )

    def _write(self, audio: Media) -> bytes:
        lines = [*self._lines] or [audio]
        lines[self._audio] = audio
        self._lines = tuple(lines)

        def text(version: int) -> bytes:
            origin = ("-", self._session_id, version, self.address)
            return Session(origin, "-", self.address, tuple(lines)).to_bytes()

        if not self.local_sdp or text(self._version) != self.local_sdp:
            self._version += 1
            self.local_sdp = text(self._version)
        return self.local_sdp

    # ---- survival
    def dump(self) -> tuple[Any, ...]:
        """Everything, keys included: for memory, never for a disk. Plain values when msgspec has packed them."""
        return (
            self.address, self.port, self.encrypt, self.signalling_secure, self.profile, self.suites, self._session_id, self._version,
            self.local_sdp, self._audio, self.remote_direction, tuple(self._keys), self.remote_formats, self._lines,
            self.agreed, self._offer, self.state, self._received, self._before,
        )  # fmt: skip

    @classmethod
    def restore(
        cls, values: Sequence[Any], keys: Callable[[int], bytes], signalling: str = "", owns: Callable[[int], bool] = lambda port: False
    ) -> LegMedia:
        """What `dump` gave, packed in between or not, by this version or one that knew fewer values, or more."""
        kept = msgspec.convert(values, Kept)
        leg = cls(
            kept.address, kept.port, session_id=kept.session_id, keys=keys, encrypt=kept.encrypt,
            signalling_secure=kept.signalling_secure, profile=kept.profile, signalling=signalling, owns=owns,
        )  # fmt: skip
        leg.suites, leg._version, leg.local_sdp, leg._audio = kept.suites, kept.version, kept.local_sdp, kept.audio
        leg.remote_direction, leg.remote_formats = kept.remote_direction, kept.remote_formats
        leg._keys = sdes.Keys(keys, kept.own_keys)
        leg._lines, leg.agreed, leg._offer = kept.lines, kept.agreed, kept.offer
        leg.state, leg._received = kept.state, kept.received
        leg._before = kept.before or NOTHING
        return leg


def _declined(line: Media) -> Media:
    """What an answer says of a line that is not taken (RFC 3264 §6)."""
    return Media(line.kind, 0, line.protocol, line.formats, line.other_formats)


def _in_common(line: Media, formats: Sequence[Format]) -> tuple[Format, ...]:
    """The line's formats whose codec is in `formats`; none without one for sound."""
    chosen: list[Format] = []
    for theirs in line.formats:
        for ours in formats if theirs.name else ():
            if ours.same_codec(theirs):
                kept = not ours.parameters or ours.parameters == theirs.parameters
                chosen.append(theirs if kept else replace(theirs, parameters=ours.parameters))
                break
    return tuple(chosen) if not all(each.is_event for each in chosen) else ()
