"""After a death of the process: go on with the calls found in the slots, clear what cannot go on, close what nobody owns.

A call goes on when it was answered and its media is still there: sessions come back by Stack.restore, media legs never went away.
A call whose slot this version cannot read ends: the slot's head, which every version can read, says whom to tell and what to write down.
A call that was ringing is cleared with cause 41 (the caller's phone says so and may dial again), and both get their record.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from appliance.callcontrol.api import Cause, Clear, Party, Script, Service
from appliance.callcontrol.call import Call
from appliance.callcontrol.exchange import Exchange
from appliance.callcontrol.leg import PhoneLeg
from appliance.callcontrol.slot import CallSlot, Head, Way
from appliance.config.model import Snapshot
from appliance.sip.stack import Stack

log = logging.getLogger(__name__)


def recover(exchange: Exchange, services: Mapping[str, Service], snapshot: Snapshot) -> int:
    """To be called once, before the first event; returns how many calls go on."""
    alive = set(exchange.media.legs())
    owned: set[int] = set()
    resumed = 0
    for slot, payload in list(exchange.journal):
        found = CallSlot.read(payload)
        if found is None:
            _clear(slot, payload, exchange)
        elif found.record is not None:
            exchange.finished.append((slot, found.record))
            exchange.changed.set()
        else:
            try:
                resumed += _restore(slot, found, exchange, services, snapshot, alive, owned)
            except Exception:  # a slot that cannot be read costs its call, not the start
                log.exception("call %s: could not be restored", found.id)
                _clear(slot, payload, exchange)
    for leg in alive - owned:
        exchange.media.close(leg)
    return resumed


def _clear(slot: int, payload: bytes, exchange: Exchange) -> None:
    """A call that this version cannot go on with, perhaps for another one wrote it: its phones are told, and it is written down."""
    head = Head.read(payload)
    if head is None:
        exchange.journal.free(slot)
        return
    log.warning("call %s: ended, for what is known of it is of another version", head.id)
    for way in head.ways:
        try:
            flow = exchange.transport.flow(way.flow)
            if flow is not None and flow.remote != (way.host, way.port):  # its number means another one by now
                flow = None
            if flow is None and way.transport == "UDP":
                flow = exchange.transport.dial_udp(way.host, way.port)
            if flow is not None:
                exchange.sip(functools.partial(_say_goodbye, flow.id, way))
        except Exception:  # the others shall be told all the same
            log.exception("call %s: %s could not be told that it is over", head.id, way.host)
    exchange.finished.append((slot, head.record(exchange.unix())))
    exchange.changed.set()


def _say_goodbye(flow: int, way: Way, stack: Stack, now: float) -> None:
    stack.farewell(flow, way.dialog(), now)


def _restore(
    slot: int,
    found: CallSlot,
    exchange: Exchange,
    services: Mapping[str, Service],
    snapshot: Snapshot,
    alive: set[int],
    owned: set[int],
) -> bool:
    legs = [PhoneLeg.restored(exchange, each) for each in (*found.legs, *found.ringing)]
    owned.update(leg.port.id for leg in legs)
    call = Call(exchange, found.id, legs[0], found.dialled, found.script, snapshot, started=found.started, slot=slot)
    call.legs = legs
    call.step = found.step
    call.answered = found.answered
    call.selftest = found.selftest
    call.refusals = list(found.refusals)
    call.callee = Party(*found.callee) if found.callee is not None else None
    if found.bridge is not None:
        call.bridge = legs[found.bridge[0]], legs[found.bridge[1]]
    script = _script(found, services) if all(leg.port.id in alive for leg in legs) and not found.ringing else None
    call.start(script or _lost)
    return script is not None


def _script(found: CallSlot, services: Mapping[str, Service]) -> Script | None:
    if found.answered is None or not found.step:
        return None
    if found.script in services:
        return services[found.script].script
    return _talk if found.step == "talking" else None


async def _talk(call) -> None:  # type: ignore[no-untyped-def]
    await call.talk()


async def _lost(call) -> None:  # type: ignore[no-untyped-def]
    raise Clear(Cause.TEMPORARY_FAILURE)
