"""Ringing an extension: an INVITE to each of its phones at once, the first answer wins (RFC 3261 §16.7 for the failures).

The fork itself remembers nothing: the branches are legs of the call, how long they ring and who has refused stands in the call. So `look`
says what is and does the rest, also in a new process.

Early media of one phone only reaches the caller, the first that sends any; the others just ring. A phone of an extension with "preferred"
encryption is offered SRTP when its signalling is TLS, and once more without when it refuses that offer (Leg). The losers are told that the
call was completed elsewhere, so that it is not listed as missed (RFC 3326).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import media_core
from appliance.calls.api import Cause, Outcome, Unanswered
from appliance.calls.bridge import Pair
from appliance.calls.history.causes import best, cause_of
from appliance.calls.legs.endpoint import Endpoint
from appliance.calls.legs.leg import Leg
from appliance.calls.legs.standing import Owner
from appliance.calls.plan.party import Party
from appliance.calls.registrar.registrar import Binding
from appliance.calls.switchboard import Switchboard
from appliance.config.model import Extension

FOR_ALL = (600, 603, 604)  # a person has decided, or there is nobody: RFC 3261 §16.7 step 5
OUTCOMES: dict[Cause, Outcome] = {
    Cause.BUSY: "busy", Cause.NO_ANSWER: "no-answer", Cause.NO_RESPONSE: "unreachable", Cause.ABSENT: "unreachable", Cause.REJECTED: "refused",
}  # fmt: skip


class Rings(Owner, Protocol):
    """The call, as the fork sees it."""

    caller_leg: Leg | None
    all_legs: list[Leg]
    refused: list[int]  # final answers of phones so far
    ring_from: int  # number of the first leg of this ringing, 0: nothing rings
    ring_until: float
    rang: bool  # the caller has been told that it rings
    callee: Party | None

    def open_leg(self, party: Party, endpoint: Endpoint) -> Leg: ...


def failed(cause: Cause, status: int = 0) -> Unanswered:
    return Unanswered(OUTCOMES.get(cause, "failed"), cause, status=status)


class Fork:
    def __init__(self, board: Switchboard[Leg, Any], call: Rings) -> None:
        self._board = board
        self._call = call

    @property
    def branches(self) -> list[Leg]:
        """Those that have not ended."""
        return [leg for leg in self._rung if not leg.over]

    @property
    def _rung(self) -> list[Leg]:
        first = self._call.ring_from
        return [leg for leg in self._call.all_legs if not leg.incoming and leg.who >= first > 0]

    def begin(self, extension: Extension, seconds: float) -> None:
        """Unanswered when there is nobody to be rung."""
        board, call = self._board, self._call
        call.callee = Party(extension.number, extension.name)
        call.refused, call.ring_from = [], call.story.leg()
        call.ring_until = board.turn.now + seconds
        full = False
        for line in board.snapshot.lines_of.get(extension.id, ()):
            for binding in board.registrar.bindings(line.id):
                full = not self._ring_phone(extension, binding) or full
        if not self.branches and not call.refused:
            raise failed(Cause.NO_CHANNEL if full else Cause.ABSENT)

    def _ring_phone(self, extension: Extension, binding: Binding) -> bool:
        """False: no port is left for it."""
        board = self._board
        if not binding.reachable or (flow := board.flow_of(binding)) is None:
            return True
        endpoint = Endpoint(binding.line, extension.encrypt, [flow], binding.contact, binding.user_agent)
        try:
            leg = self._call.open_leg(Party(extension.number, extension.name), endpoint)
        except media_core.OutOfService:
            return False
        leg.invite()
        return True

    def look(self) -> Leg | None:
        """Who has answered; None: nobody yet. Unanswered when nobody will."""
        call, now = self._call, self._board.turn.now
        answered = next((leg for leg in self.branches if leg.answered), None)
        if answered is not None:
            return answered
        self._count_refusals()
        branches = self.branches
        if not branches or any(status in FOR_ALL for status in call.refused):
            raise self._failure(call.refused)
        if now >= call.ring_until:
            raise failed(Cause.NO_ANSWER)
        self._tell_caller(branches)
        return None

    def _count_refusals(self) -> None:
        call = self._call
        for leg in self._rung:
            if not leg.over:
                continue
            call.all_legs.remove(leg)
            call.refused.append(leg.status or (500 if leg.ended_by == "fault" else 503))

    @staticmethod
    def _failure(refused: Sequence[int]) -> Unanswered:
        final = best(list(refused)) if refused else 503
        return failed(cause_of(final), final if final >= 400 and final not in (401, 407, 481, 408) else 0)

    def _tell_caller(self, branches: list[Leg]) -> None:
        caller = self._call.caller_leg
        if caller is None or caller.answered or caller.over:
            return
        if caller.bridge is None:
            for leg in branches:
                if leg.early_media and (answer := caller.early(leg)) is not None:
                    Pair.of(self._board, caller, leg, self._board.number())
                    self._call.rang = True
                    caller.ring(183 if leg.progress == 183 else 180, answer, self._call.callee)
                    return
        if not self._call.rang and any(leg.state == "alerting" for leg in branches):
            self._call.rang = True
            caller.ring(180, callee=self._call.callee)

    def stop(self, answered: Leg | None) -> None:
        """All phones but the one that has answered ring no longer."""
        for leg in self.branches:
            if leg is not answered:
                leg.hang_up(elsewhere=answered is not None)
                self._call.all_legs.remove(leg)
        self._call.ring_from, self._call.ring_until = 0, 0.0
