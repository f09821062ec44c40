"""What happened, fact by fact, in a thread: all the legs that ever stood together. The call record, the live view, the diagnosis and the counters
are functions of it. Pure: every time is an argument, unix seconds.

A fact is told once, when it happens, and never changed. Each is at most LONGEST octets when packed; a text at the end of a fact that does not
fit goes on in MORE facts, other texts are cut. After MOST facts those in the middle are left out, and counted: first of the kinds that only
say how something went on (PASSING), so that who was there and how it ended stays known.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

import media_core
from appliance.calls.history.facts import PASSING, PLACES, Fact, Kind, decode, encode
from appliance.calls.history.quality import Quality

LONGEST = 64  # octets of a fact, packed
MOST = 250  # facts of a thread; with the largest ones it takes 16 KB in a slot
PIECES = 6  # that a long text may take


class Story:
    __slots__ = ("_base", "_packed", "facts", "id", "last", "left_out", "memo")

    def __init__(self, id: str) -> None:
        self.id = id  # of the thread: the id of its call record
        self.facts: list[Fact] = []
        self.left_out = 0  # facts from the middle
        self.last = 0  # the highest number a leg has
        self.memo: object = None  # what `summary` has made of the facts so far: the next reading goes on behind them
        self._base = 0.0  # times are packed as milliseconds since this one
        self._packed: list[bytes] = []  # of each fact

    def add(self, time: float, kind: int, who: int, *values: str | float | bool) -> None:
        """Tell a fact. ValueError: its numbers alone are too long."""
        time = round(time, PLACES)
        if not self.facts and not self.left_out:
            self._base = time
        rest = self._append(Fact(time, int(kind), who, values))
        for _ in range(PIECES - 1):
            if not rest:
                break
            rest = self._append(Fact(time, Kind.MORE, who, (rest,)))
        while len(self.facts) > MOST:
            self._leave_one_out()

    def leg(self) -> int:
        """The number of the next leg."""
        return self.last + 1

    def __iter__(self) -> Iterator[Fact]:
        return self.since(0)

    def since(self, place: int) -> Iterator[Fact]:
        """The facts from this place on, long texts in one piece again."""
        whole: Fact | None = None
        for fact in self.facts[place:]:
            if fact.kind == Kind.MORE:
                if whole is not None and whole.values and fact.values:
                    whole = msgspec.structs.replace(
                        whole, values=(*whole.values[:-1], f"{whole.values[-1]}{fact.values[0]}")
                    )
                continue
            if whole is not None:
                yield whole
            whole = fact
        if whole is not None:
            yield whole

    def counted(self, time: float, who: int, stats: media_core.LegStats, quality: Quality, receives: bool) -> None:
        """The final counters of a leg, in groups; a group with nothing in it is left out. `receives`: sound was to be expected from it."""
        received, sent, far = stats.received, stats.sent, stats.reported
        groups: list[tuple[float, ...]] = [
            (received.packets, received.secured, received.lost, round(received.jitter_ms, 2)),
            (received.dropped_source, received.dropped_auth),
            (received.burst_lost, received.burst_longest),
            (sent.packets, sent.secured),
            (far.lost, round(far.jitter_ms, 2), round(far.round_trip_ms, 1)) if far is not None else (),
            (quality.poor_seconds, quality.worst_lost, quality.worst_jitter_ms),
        ]
        for number, figures in enumerate(groups):
            if any(figures):
                self.add(time, Kind.COUNTED, who, number, *figures)
        if receives:
            self.add(time, Kind.COUNTED, who, len(groups), True)

    # ---- in a slot
    def pack(self) -> bytes:
        """A `Packed`, of which the facts are packed already."""
        head = b"\x95" + b"".join(map(encode, (self.id, self._base, self.left_out, self.last)))
        return head + b"\xdc" + len(self._packed).to_bytes(2, "big") + b"".join(self._packed)

    @classmethod
    def unpack(cls, data: bytes) -> Story:
        """ValueError: it is no story. What a newer version has added to a fact is passed over, a kind of its own is kept."""
        try:
            found = decode(data)
            facts = [
                Fact(round(found.base + row[0] / 1000, PLACES), row[1], row[2], tuple(row[3])) for row in found.facts
            ]
            if not all(type(fact.kind) is int and type(fact.who) is int and fact.who >= 0 for fact in facts):
                raise TypeError
        except (msgspec.DecodeError, TypeError, IndexError, OverflowError) as error:
            raise ValueError("no story") from error
        story = cls(found.id)
        story._take(facts[-MOST:], found.base, found.left_out + len(facts[:-MOST]), found.last)
        return story

    @classmethod
    def merged(cls, one: Story, other: Story) -> Story:
        """Two threads become one, under the id of `one`, in the order of time. The legs of `other` go on as numbers after `one.last`."""
        moved = [_moved(fact, one.last) for fact in other.facts]
        story = cls(one.id)
        base = min((each._base for each in (one, other) if each.facts), default=0.0)
        story._take(_in_order(one.facts, moved), base, one.left_out + other.left_out, one.last + other.last)
        while len(story.facts) > MOST:
            story._leave_one_out()
        return story

    # ---- inside
    def _append(self, fact: Fact) -> str:
        """What of the text at its end did not fit."""
        rest = ""
        packed = self._bytes(fact)
        while (excess := len(packed) - LONGEST) > 0:
            texts = [place for place, value in enumerate(fact.values) if isinstance(value, str) and value]
            if not texts:
                raise ValueError("a fact of numbers that is too long")
            place = max(texts, key=lambda each: len(fact.values[each].encode()))
            text = fact.values[place]
            kept = text.encode()[: max(0, len(text.encode()) - excess)].decode(errors="ignore")
            if place == len(fact.values) - 1:
                rest = text[len(kept) :] + rest
            fact = msgspec.structs.replace(fact, values=(*fact.values[:place], kept, *fact.values[place + 1 :]))
            packed = self._bytes(fact)
        self.facts.append(fact)
        self._packed.append(packed)
        self.last = max(self.last, fact.who)
        return rest

    def _bytes(self, fact: Fact) -> bytes:
        return encode((round((fact.time - self._base) * 1000), fact.kind, fact.who, fact.values))

    def _take(self, facts: list[Fact], base: float, left_out: int, last: int) -> None:
        self.facts, self._base, self.left_out, self.last = facts, base, left_out, last
        self._packed = [self._bytes(fact) for fact in facts]

    def _leave_one_out(self) -> None:
        """From the middle on; a text that goes on in further pieces goes with them."""
        middle = range(MOST // 2, len(self.facts) - 1)
        whole = [place for place in middle if self.facts[place].kind != Kind.MORE]
        first = next((place for place in whole if self.facts[place].kind in PASSING), whole[0] if whole else middle[0])
        end = first + 1
        while end < len(self.facts) and self.facts[end].kind == Kind.MORE:
            end += 1
        del self.facts[first:end], self._packed[first:end]
        self.left_out += 1


def _moved(fact: Fact, by: int) -> Fact:
    """With the legs numbered on from `by`."""
    values = fact.values
    if fact.kind == Kind.BRIDGED and fact.get(0, 0):
        values = (fact.get(0, 0) + by, *values[1:])
    return msgspec.structs.replace(fact, who=fact.who + by if fact.who else 0, values=values)


def _in_order(one: list[Fact], other: list[Fact]) -> list[Fact]:
    """By time, each with its further pieces behind it, and in the order of its own story where the clock was set back."""
    merged: list[Fact] = []
    waiting = [list(reversed(one)), list(reversed(other))]
    while all(waiting):
        taken = waiting[0] if waiting[0][-1].time <= waiting[1][-1].time else waiting[1]
        merged.append(taken.pop())
        while taken and taken[-1].kind == Kind.MORE:
            merged.append(taken.pop())
    return [*merged, *reversed(waiting[0]), *reversed(waiting[1])]
