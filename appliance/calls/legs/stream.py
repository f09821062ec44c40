"""One media stream of a leg: its port in the media core, and what was negotiated for it with the phone (RFC 3264).

`wants_send` and `wants_receive` are what the phone itself asked for last; a phone that holds does not want to receive. A hold stays on its
leg: the other leg is not offered anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import media_core
from appliance.calls.legs.terms import OWN, Terms, answerable, why_not_encrypted
from appliance.config.model import Encrypt
from appliance.sip.media.negotiation import LegMedia
from appliance.sip.text.sdp import Format


def flags(sends: bool, receives: bool) -> str:
    return ("sendrecv" if receives else "sendonly") if sends else ("recvonly" if receives else "inactive")


class Stream:
    def __init__(self, port: media_core.Leg, terms: Terms, encrypt: Encrypt) -> None:
        self.port = port
        self.terms = terms
        self.encrypt = encrypt
        self.wants_send = True
        self.wants_receive = True
        self.held_by_us = False
        self.hold_told = False  # held_by_us, as the phone knows it
        self.listens = False  # keys are looked for in its sound
        self.early_answer = b""  # the caller's early answer is the final one, too (RFC 3261 §13.2.1)

    @classmethod
    def new(
        cls,
        port: media_core.Leg,
        *,
        host: str,
        encrypt: Encrypt,
        secure: bool,
        signalling: str,
        secrets: Callable[[int], bytes],
        owns: Callable[[int], bool],
    ) -> Stream:
        media = LegMedia(
            host,
            port.port,
            session_id=int.from_bytes(secrets(4), "big"),
            keys=secrets,
            encrypt=encrypt,
            signalling_secure=secure,
            signalling=signalling,
            owns=owns,
        )
        return cls(port, Terms(media), encrypt)

    # ---- what is agreed
    @property
    def codec(self) -> str:
        codec = self.terms.agreed.codec if self.terms.agreed is not None else None
        return codec.name if codec is not None else ""

    @property
    def why_not_encrypted(self) -> str:
        return why_not_encrypted(self.terms, self.encrypt)

    @property
    def held_by_them(self) -> bool:
        return not self.wants_receive

    @property
    def direction(self) -> str:
        """What ours should be: we send what the phone wants to hear, and hear what it wants to send, unless we hold it."""
        return flags(self.wants_receive, self.wants_send and not self.held_by_us)

    def follow(self) -> None:
        """Take the direction the phone has said last for what it wants."""
        said = self.terms.media.remote_direction
        self.wants_send = said in ("sendrecv", "sendonly")
        self.wants_receive = said in ("sendrecv", "recvonly")

    def remote(self, signalling: str) -> media_core.Remote:
        """What the media core is told."""
        return self.terms.remote(signalling, find_digits=self.listens and self.terms.agreed is not None)

    # ---- offer and answer
    def answer(self, other: Stream | None) -> bytes:
        """Our answer to the waiting offer, for a late offer our offer, with what the other stream has agreed on or can take. PeerError 488."""
        if self.early_answer and not self.terms.has_offer:
            return self.early_answer
        codecs: Sequence[Format] = OWN if other is None else answerable(self.terms, other.terms)
        if not self.terms.has_offer:
            return self.offer_all(codecs)
        body = self.terms.answer(codecs, flags(True, not self.held_by_us))
        self.follow()
        return body

    def offer_all(self, formats: Sequence[Format]) -> bytes:
        """Our offer to a phone that has asked for one: its answer says what it wants."""
        self.terms.owed = True
        return self.terms.offer(formats, flags(True, not self.held_by_us))

    def offer(self, formats: Sequence[Format]) -> bytes:
        return self.terms.offer(formats, self.direction)

    # ---- survival
    def dump(self) -> tuple[Any, ...]:
        """Plain values; new ones come at the end."""
        terms = self.terms
        return (
            self.port.id, self.port.port, self.encrypt, terms.media.dump(), self.wants_send, self.wants_receive, self.held_by_us, self.hold_told,
            self.listens, self.early_answer, terms.direction, terms.offered_direction, terms.wide, terms.owed,
        )  # fmt: skip

    @classmethod
    def restored(
        cls, values: Sequence[Any], *, signalling: str, secrets: Callable[[int], bytes], owns: Callable[[int], bool]
    ) -> Stream:
        id, port, encrypt, dumped, sends, receives, held, told, listens, early, direction, offered, wide, owed = values[:14]
        media = LegMedia.restore(dumped, secrets, signalling, owns)
        stream = cls(media_core.Leg(id, port), Terms(media, direction=direction), encrypt)
        stream.wants_send, stream.wants_receive = sends, receives
        stream.held_by_us, stream.hold_told = held, told
        stream.listens, stream.early_answer = listens, early
        stream.terms.offered_direction, stream.terms.wide, stream.terms.owed = offered, wide, owed
        return stream
