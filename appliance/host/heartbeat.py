"""When does a core that lives count as hung? Pure: times are arguments, in seconds.

The threads of the core write down when they were last alive (`media_core.CoreView.heartbeat`). A beat older than LIMIT means that the
packets of every call lie still, so another core takes over. Two things look the same and are none: a core that is starting (its memory
is not adopted, or not every thread has begun), and a machine that stood still as a whole. Of that the supervisor has the best witness,
itself: when its own look comes late, the core has LIMIT from there to beat again.
"""

from __future__ import annotations

LIMIT = 2.0  # age of a beat that is too old
LOOK_EVERY = 0.25
LATE = 0.5  # a look so long after the one before means that nobody was given the processor

Beat = tuple[int, float | None]  # pid of the core that writes it, age


def begun(core: int, beat: Beat) -> bool:
    """Whether the process `core` is the one that beats, with all its threads."""
    return beat[0] == core and beat[1] is not None


class Heart:
    """Fed with each look at the beat."""

    def __init__(self) -> None:
        self._looked = float("-inf")
        self._fair_since = 0.0  # from here on the core had its chance to beat

    def hangs(self, now: float, core: int, beat: Beat) -> bool:
        """True once for each core (pid) that has to be killed; the next one gets LIMIT again."""
        if now - self._looked > LATE:
            self._fair_since = now
        self._looked = now
        pid, age = beat
        if pid != core or age is None or age <= LIMIT or now - self._fair_since <= LIMIT:
            return False
        self._fair_since = now
        return True
