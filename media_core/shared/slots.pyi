from collections.abc import Iterator, Sequence

class Area:
    """Slots of one kind: legs, or calls. They are claimed lowest first."""

    @property
    def capacity(self) -> int:
        """Octets of one slot."""
    @property
    def slots(self) -> int:
        """How many there are."""
    def __len__(self) -> int:
        """Slots with a payload."""
    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(slot, payload) of every slot in use, lowest first, as committed and with what this turn wrote."""
    def claim(self) -> int | None:
        """A free slot, None when all are taken."""
    def write(self, slot: int, payload: bytes) -> bool:
        """What the slot shall hold from the next commit on. False: it does not fit (or is empty), and what it held stays.
        ValueError: it is not claimed."""
    def free(self, slot: int) -> None:
        """From the next commit on the slot is free and wiped. ValueError: it is not claimed."""

class Slots:
    """The memory of the turn, held by one process at a time."""

    @property
    def legs(self) -> Area: ...
    @property
    def calls(self) -> Area: ...
    def __init__(self, fd: int) -> None:
        """Attach, and clear what was not committed. SlotsMissing: the memory is none of ours, or of another layout."""
    @staticmethod
    def make(fd: int, calls: int, *, leg_bytes: int = ..., call_bytes: int = ...) -> None:
        """Make all slots anew, free, whatever the memory held. ValueError: calls is not 1 to 32768."""
    @staticmethod
    def beside(fd: int, calls: int, than: Slots | None = None) -> Slots:
        """Slots made anew behind what the memory holds, which counts until take_place(). They have room for so many calls, and nowhere less
        than those of `than`. ValueError: calls is not 1 to 32768."""
    def take_place(self) -> None:
        """From now on these are the slots of the memory; what it held before is gone. Of the slots that count already: nothing."""
    def suffice(self, calls: int) -> bool:
        """Are they as many and as large as slots would be made now for so many calls?"""
    @property
    def turn(self) -> int:
        """The number of the last commit."""
    @property
    def positions(self) -> tuple[int, ...]:
        """What the last commit said of the rings; () before the first."""
    @property
    def unsent(self) -> list[tuple[int, bytes]]:
        """Messages of the last committed turn, (flow, message), until left() is called after it."""
    def commit(self, positions: Sequence[int], messages: Sequence[tuple[int, bytes]]) -> None:
        """Make the turn count: what was written and freed in both areas, these positions of the rings, and these messages
        (flow, message), of which as many as fit into 1 MiB are there for a later process to send again."""
    @property
    def failure(self) -> int:
        """What a process before this one has said of the turn that comes next: see fail(). 0: nothing."""
    def fail(self, alone: bool) -> None:
        """The turn that comes next cannot be committed. 1: it has read several inputs, 2: one alone, so that this one is known."""
    def left(self) -> None:
        """The messages of the last commit are where the core sees them."""
    def close(self) -> None:
        """Unmap; the slots stay for the next process."""

def create_slots(calls: int) -> int:
    """A memory for the slots of so many calls; returns its file descriptor. Called once, by the supervisor."""
