"""How one phone's sound arrives, while the call goes on and summed up for its record; and which of what the media core tells is a
matter of security. Pure: the core's events in, figures and sentences out.

The core judges each 10 s and tells while they are poor and when they are good again, so a short bad spell is not lost in the average
of a long call. Packets that fail authentication count only from FORGED_FEW on: those in flight while keys change are nobody's fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import media_core
from appliance.words import Person, Said

INTERVAL = 10.0  # seconds that one report of the core is about
FORGED_FEW = 20
MIXED_CHANGES = 5  # of the stream within a second: there are two of them


@dataclass(slots=True)
class Quality:
    """Of what one phone sends."""

    poor_seconds: float = 0.0
    worst_lost: float = 0.0  # 0..1, of the worst interval
    worst_jitter_ms: float = 0.0
    now: Said | None = None  # how bad it is; None while it is good
    forged: int = 0

    def take(self, event: media_core.Event) -> None:
        match event:
            case media_core.MediaQuality(lost=lost, jitter_ms=jitter_ms, poor=True):
                self.poor_seconds += INTERVAL
                self.worst_lost = max(self.worst_lost, lost)
                self.worst_jitter_ms = max(self.worst_jitter_ms, jitter_ms)
                self.now = Said.of("quality.poor", lost=round(100 * lost), jitter=round(jitter_ms), seconds=INTERVAL)
            case media_core.MediaQuality():
                self.now = None
            case media_core.AuthenticationFailed(total=total):
                self.forged = total


def warning(event: media_core.Event, who: Person, secure: bool, address: str) -> tuple[str, str, Said] | None:
    """Kind, source host and sentence of a security event. `address`: where the phone's media comes from; `secure`: it is encrypted."""
    match event:
        case media_core.AuthenticationFailed(total=total, source=(host, _)) if total >= FORGED_FEW:
            return "forged media", host, Said.of("security.forged", host=host, who=who, total=total)
        case media_core.SsrcChanged(changes=changes) if changes >= MIXED_CHANGES and not secure:
            return "mixed media", address, Said.of("security.mixed", who=who, address=address)
    return None
