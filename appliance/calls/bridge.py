"""Who hears whom. A leg is in at most one bridge; only the bridge tells the media core who is connected, and only the bridge tells a leg
whom it talks to.

`Pair` relays two legs, `Loop` lets one hear itself, `Mix` is a conference. A sound for one leg of a pair plays over it.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from appliance.calls.history.facts import Kind
from appliance.calls.legs.leg import Leg
from appliance.calls.legs.terms import bridges
from appliance.calls.switchboard import Switchboard
from appliance.sip.media.negotiation import common

Board = Switchboard[Leg, Any]


class Bridge(ABC):
    """What all have in common: legs come in, and go out by themselves when they end."""

    kind = ""

    def __init__(self, board: Board, number: int) -> None:
        self._board = board
        self.number = number
        self.legs: list[Leg] = []

    def partner(self, leg: Leg) -> Leg | None:
        return None

    def muted(self, leg: Leg) -> bool:
        return False

    def offered(self, leg: Leg) -> bool:
        return True

    def renegotiated(self, leg: Leg) -> None:
        self.connect()

    def settled(self, leg: Leg) -> None:
        return None

    def resumed(self) -> None:  # noqa: B027 - most bridges have nothing to do
        """The process has been started again."""

    def pressed(self, leg: Leg, digit: str) -> None:
        return None

    @abstractmethod
    def connect(self, *, anew: bool = True) -> None:
        """Tell the media core, when the turn has been committed. With `anew` false only what it has otherwise."""

    def _enter(self, leg: Leg) -> None:
        if leg.bridge is not None:
            leg.bridge.left(leg)
        leg.enters(self)
        self.legs.append(leg)

    def left(self, leg: Leg) -> None:
        """It goes elsewhere, or has ended."""
        if leg in self.legs:
            self.legs.remove(leg)
            leg.leaves()
            port = leg.stream.port.id
            if not leg.over:
                self._board.turn.later(lambda: self._board.media.disconnect(port), leg)


class Pair(Bridge):
    kind = "pair"

    def __init__(self, board: Board, number: int) -> None:
        super().__init__(board, number)
        self._waiting: Leg | None = None  # its phone's offer waits until the other leg has been asked for these codecs

    @classmethod
    def of(cls, board: Board, a: Leg, b: Leg, number: int) -> Pair:
        pair = cls(board, number)
        pair._enter(a)
        pair._enter(b)
        a.tells(Kind.BRIDGED, b.who)
        b.tells(Kind.BRIDGED, a.who)
        pair.connect()
        for leg in (a, b):
            pair._hold_tone(leg)
        return pair

    def partner(self, leg: Leg) -> Leg | None:
        return next((other for other in self.legs if other is not leg), None) if leg in self.legs else None

    def connect(self, *, anew: bool = True) -> None:
        if len(self.legs) < 2:
            return
        a, b = self.legs
        there, back = a.stream.terms.payload_map(b.stream.terms), b.stream.terms.payload_map(a.stream.terms)
        media, one, other = self._board.media, a.stream.port.id, b.stream.port.id
        self._board.turn.later(lambda: media.connect(one, other, there, back, anew=anew), a)

    def offered(self, leg: Leg) -> bool:
        """When the offer has no codec in common with the other leg, that one is asked first, unless both are transcoded as it is."""
        other = self.partner(leg)
        if other is None or not other.answered or leg.stream.terms.shares(other.stream.terms):
            return True
        one, two = leg.stream.terms, other.stream.terms
        if not common(one.formats(), two.formats()) and bridges(one, two):
            return True
        self._waiting = leg
        other.shall_have(one.offered_formats())
        return self._waiting is None

    def settled(self, leg: Leg) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.answer_offer()

    def renegotiated(self, leg: Leg) -> None:
        self.connect()
        self._hold_tone(leg)

    def resumed(self) -> None:
        for leg in self.legs:
            self._hold_tone(leg)

    def _hold_tone(self, leg: Leg) -> None:
        """Who is held hears that the call is still there."""
        other = self.partner(leg)
        if other is not None and other.answered:
            other.hears_hold(leg.held_by_them)

    def pressed(self, leg: Leg, digit: str) -> None:
        other = self.partner(leg)
        if other is not None and other.answered:
            other.passes_on(digit)

    def left(self, leg: Leg) -> None:
        """The other one stays alone, in no bridge."""
        other = self.partner(leg)
        super().left(leg)
        if other is not None:
            self.legs.remove(other)
            other.leaves()
            other.hears_hold(False)
            other.tells(Kind.ALONE)
        self._waiting = None


class Loop(Bridge):
    """A leg hears itself."""

    kind = "loop"

    @classmethod
    def of(cls, board: Board, leg: Leg, number: int) -> Loop:
        loop = cls(board, number)
        loop._enter(leg)
        leg.tells(Kind.BRIDGED, leg.who)
        loop.connect()
        return loop

    def connect(self, *, anew: bool = True) -> None:
        for leg in self.legs:
            self._loop(leg.stream.port.id, leg, anew)

    def _loop(self, port: int, leg: Leg, anew: bool) -> None:
        self._board.turn.later(lambda: self._board.media.connect(port, port, anew=anew), leg)


class Mix(Bridge):
    """A conference: everybody who is not muted is heard by all others. Its number is the media core's number of the room."""

    kind = "mix"

    def __init__(self, board: Board, number: int) -> None:
        super().__init__(board, number)
        self._muted: set[Leg] = set()

    def enter(self, leg: Leg, *, muted: bool = False) -> None:
        self._enter(leg)
        leg.tells(Kind.BRIDGED, 0)
        self.mute(leg, muted)

    def mute(self, leg: Leg, muted: bool) -> None:
        (self._muted.add if muted else self._muted.discard)(leg)
        leg.enters(self)
        self._mix([leg], anew=True)

    def muted(self, leg: Leg) -> bool:
        return leg in self._muted

    def connect(self, *, anew: bool = True) -> None:
        self._mix(self.legs, anew=anew)

    def renegotiated(self, leg: Leg) -> None:
        self._mix([leg], anew=True)

    def _mix(self, legs: Iterable[Leg], *, anew: bool) -> None:
        for leg in legs:
            self._mix_one(leg.stream.port.id, leg, anew)

    def _mix_one(self, port: int, leg: Leg, anew: bool) -> None:
        muted = leg in self._muted
        self._board.turn.later(lambda: self._board.media.mix(port, self.number, muted=muted, anew=anew), leg)

    def left(self, leg: Leg) -> None:
        self._muted.discard(leg)
        super().left(leg)
        if not self.legs:
            self._board.rooms.pop(self.number, None)


def room(board: Board, number: int) -> Mix:
    """The conference of this number, begun when nobody is in it."""
    found = board.rooms.get(number)
    if not isinstance(found, Mix):
        found = board.rooms[number] = Mix(board, number)
    return found


def restored(board: Board, kept: Iterable[tuple[Leg, tuple[str, int, bool]]]) -> None:
    """The bridges that the slots of these legs name; one that has lost a leg is none any more."""
    by_number = itertools.groupby(sorted(kept, key=lambda each: each[1][:2]), key=lambda each: each[1][:2])
    for (kind, number), group in by_number:
        legs = [(leg, bool(muted)) for leg, (_, _, muted) in group]
        board.numbered(number)
        if kind == "mix":
            for leg, muted in legs:
                mix = room(board, number)
                mix._enter(leg)
                if muted:
                    mix._muted.add(leg)
        elif (kind, len(legs)) in (("pair", 2), ("loop", 1)):
            bridge: Bridge = Pair(board, number) if kind == "pair" else Loop(board, number)
            for leg, _ in legs:
                bridge._enter(leg)
