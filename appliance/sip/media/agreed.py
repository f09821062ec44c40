"""What a leg's media has come to, and what of it is kept in a slot."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from appliance.sip.text.sdp import CryptoLine, Format, Media

Encrypt = Literal["required", "preferred", "off"]


class Agreed(Struct, frozen=True, array_like=True, gc=False):
    """What both sides may do now. `receive` and `send` are parallel: the payload type we take a codec under, and the one
    the far end takes it under. `rtcp_port` is 0 when RTCP shares the RTP port."""

    address: str
    port: int
    rtcp_port: int
    receive: tuple[Format, ...]
    send: tuple[Format, ...]
    direction: str  # ours: sendrecv, sendonly, recvonly, inactive
    crypto_in: CryptoLine | None = None  # their key
    crypto_out: CryptoLine | None = None  # ours
    held_by_address: bool = False

    @property
    def secure(self) -> bool:
        return self.crypto_in is not None and self.crypto_out is not None

    @property
    def may_send(self) -> bool:
        return self.direction in ("sendrecv", "sendonly") and not self.held_by_address

    @property
    def may_receive(self) -> bool:
        return self.direction in ("sendrecv", "recvonly")

    @property
    def telephone_event(self) -> int:
        """The payload type to send digits under, -1 if there is none."""
        return next((each.payload_type for each in self.send if each.is_event), -1)

    @property
    def codec(self) -> Format | None:
        """The first choice for audio."""
        return next((each for each in self.send if not each.is_event), None)


Usable = tuple[tuple[int, Media], ...]
Before = tuple[tuple[Media, ...], int, Usable, tuple[Format, ...], str]
NOTHING: Before = ((), 0, (), (), "sendrecv")


class Kept(Struct, frozen=True, array_like=True):
    """A LegMedia (negotiation). New values come at the end, with a default."""

    address: str
    port: int
    encrypt: Encrypt
    signalling_secure: bool
    profile: Literal["RTP/SAVP", "RTP/AVP"]
    suites: tuple[str, ...]
    session_id: int
    version: int
    local_sdp: bytes
    audio: int
    remote_direction: str
    own_keys: tuple[CryptoLine, ...]
    remote_formats: tuple[Format, ...]
    lines: tuple[Media, ...]
    agreed: Agreed | None
    offer: Media | None
    state: Literal["stable", "offered", "received"] = "stable"
    received: Usable = ()
    before: Before | None = None
