"""How one phone's sound arrives, while the call goes on and summed up for its record; and which of what the media core tells is a
matter of security. Pure: the core's events in, figures and sentences out.

The core judges each 10 s and tells while they are poor and when they are good again, so a short bad spell is not lost in the average
of a long call. Packets that fail authentication count only from FORGED_FEW on: those in flight while keys change are nobody's fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import media_core
from appliance.callcontrol.api import Party

INTERVAL = 10.0  # seconds that one report of the core is about
FORGED_FEW = 20
MIXED_CHANGES = 5  # of the stream within a second: there are two of them


@dataclass(slots=True)
class Quality:
    """Of what one phone sends."""

    poor_seconds: float = 0.0
    worst_lost: float = 0.0  # 0..1, of the worst interval
    worst_jitter_ms: float = 0.0
    now: str = ""  # in words, empty while it is good
    forged: int = 0

    def take(self, event: media_core.Event) -> None:
        match event:
            case media_core.MediaQuality(lost=lost, jitter_ms=jitter_ms, poor=True):
                self.poor_seconds += INTERVAL
                self.worst_lost = max(self.worst_lost, lost)
                self.worst_jitter_ms = max(self.worst_jitter_ms, jitter_ms)
                self.now = f"{100 * lost:.0f} % lost, {jitter_ms:.0f} ms of jitter in the last {INTERVAL:.0f} s"
            case media_core.MediaQuality():
                self.now = ""
            case media_core.AuthenticationFailed(total=total):
                self.forged = total


def warning(event: media_core.Event, who: Party, secure: bool, address: str) -> tuple[str, str, str] | None:
    """Kind, source host and sentence of a security event. `address`: where the phone's media comes from; `secure`: it is encrypted."""
    match event:
        case media_core.AuthenticationFailed(total=total, source=(host, _)) if total >= FORGED_FEW:
            return (
                "forged media",
                host,
                f"Packets from {host} to the call of {who} fail authentication ({total} so far) and are dropped: "
                "somebody forges them, or the phone uses another key than was agreed on.",
            )
        case media_core.SsrcChanged(changes=changes) if changes >= MIXED_CHANGES and not secure:
            return (
                "mixed media",
                address,
                f"Two streams are mixed in the sound from {who} at {address}: somebody injects packets, or the phone is faulty. "
                "Encryption (SRTP) keeps strangers out.",
            )
    return None
