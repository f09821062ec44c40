"""Finding phones that have vanished: a lost phone sends no BYE.

A leg from which no audio has come for a while is asked by OPTIONS inside its dialog. 481 means the phone has forgotten the call;
no answer twice means it is gone. A phone that answers is left alone, however long it is silent: it may be held or muted.
"""

from __future__ import annotations

from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.leg import PhoneLeg
from appliance.sip.errors import WrongState

EVERY = 30.0  # seconds
SILENT_MS = 20_000
MISSES = 2


class Audit:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._probes: dict[str, PhoneLeg] = {}
        self._missed: dict[PhoneLeg, int] = {}

    def look(self, legs: list[PhoneLeg]) -> None:
        for leg in legs:
            if leg.over or not leg.answered or leg in self._probes.values():
                continue
            age = self._exchange.media.stats(leg.port.id).received.last_seen_ms
            if 0 <= age < SILENT_MS:
                self._missed.pop(leg, None)
            else:
                self._ask(leg)

    def _ask(self, leg: PhoneLeg) -> None:
        try:
            transaction = self._exchange.sip(lambda stack, now: stack.request("OPTIONS", now, session=leg.session))
        except WrongState:
            return
        self._probes[transaction] = leg

    def answered(self, transaction: str, status: int) -> bool:
        """The answer to a question of ours, or of somebody else; True when the phone is lost."""
        leg = self._probes.pop(transaction, None)
        if leg is None:
            return False
        if status not in (408, 503):
            self._missed.pop(leg, None)
            return status == 481
        self._missed[leg] = self._missed.get(leg, 0) + 1
        return self._missed[leg] >= MISSES
