"""How one phone's sound arrives, while the call goes on and summed up for its record. Pure: the core's events in, figures out.

The core judges each 10 s and tells while they are poor and when they are good again, so a short bad spell is not lost in the average
of a long call.
"""

from __future__ import annotations

from dataclasses import dataclass

import media_core

INTERVAL = 10.0  # seconds that one report of the core is about


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
