"""RTP without encryption: a kind of media security that has nothing to agree on."""

from __future__ import annotations

from appliance.sip.errors import PeerError
from appliance.sip.media import sdes
from appliance.sip.text.sdp import Media

PROFILES = ("RTP/AVP", "RTP/AVPF")


def answered(offer: Media, answer: Media) -> None:
    """PeerError 488 when one of them is for encrypted media only."""
    if offer.protocol in sdes.PROFILES or answer.protocol in sdes.PROFILES:
        raise PeerError(488, "The far end answered without an encryption key")
