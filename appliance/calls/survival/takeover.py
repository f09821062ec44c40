"""Puts the parts of call control together on an engine and its slots: in the process, and in the box of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import media_core
from appliance import cti
from appliance.calls.api import Service
from appliance.calls.arriving import Arriving
from appliance.calls.call import Call
from appliance.calls.history.record import CallRecord
from appliance.calls.legs.abilities import SWITCHROOM
from appliance.calls.legs.leg import Leg
from appliance.calls.registrar.authentication import Authenticator
from appliance.calls.registrar.registrar import Registrar
from appliance.calls.requests import Requests
from appliance.calls.survival import before
from appliance.calls.survival.recovery import recover
from appliance.calls.switchboard import Media, Switchboard
from appliance.calls.turns.turn import Engine, Turn
from appliance.config.model import Snapshot
from appliance.flows.driver import Driver, Flows

Board = Switchboard[Leg, Call]


class WholeEngine(Engine, Flows, Media, Protocol):
    """`media_core.MediaEngine`."""

    def resume(self, positions: Sequence[int]) -> None: ...


def open_slots(fd: int, calls: int) -> tuple[media_core.Slots, list[before.Before]]:
    """The slots in this memory. Smaller ones than there shall be are moved into larger ones as they are. What another shape has left is
    read for whom to tell goodbye, and stays until those goodbyes count (`begin`): a process that dies before leaves them to the next."""
    try:
        slots = media_core.Slots(fd)
    except media_core.SlotsMissing:
        old = list(before.read(os.pread(fd, os.fstat(fd).st_size, 0)))
        return media_core.Slots.beside(fd, calls), old
    return (slots if slots.suffice(calls) else _enlarged(fd, slots, calls)), []


def _enlarged(fd: int, slots: media_core.Slots, calls: int) -> media_core.Slots:
    larger = media_core.Slots.beside(fd, calls, slots)
    for held, into in ((slots.legs, larger.legs), (slots.calls, larger.calls)):
        for _, payload in held:
            slot = into.claim()
            assert slot is not None, "there are at least as many of them"
            into.write(slot, payload)
    larger.commit(slots.positions, slots.unsent)
    larger.take_place()
    slots.close()
    return larger


def assemble(
    engine: WholeEngine,
    slots: media_core.Slots,
    registrar: Registrar,
    snapshot: Snapshot,
    services: Mapping[str, Service],
    authenticator: Authenticator,
    *,
    calls: int,
    host: str,
    tokens: Callable[[], str],
    secrets: Callable[[int], bytes],
    unix: Callable[[], float],
    user_agent: str = "Switchroom",
) -> tuple[Board, Requests]:
    driver = Driver(engine, user_agent=user_agent, tokens=tokens, can=SWITCHROOM)
    board: Board = Switchboard(
        turn=Turn(engine, driver, slots),
        media=engine,
        registrar=registrar,
        services=services,
        snapshot=snapshot,
        most_calls=calls,
        host=host,
        unix=unix,
        tokens=tokens,
        secrets=secrets,
    )
    requests = Requests(board, authenticator)
    Arriving(board, requests)
    return board, requests


def begin(board: Board, engine: WholeEngine, old: Iterable[before.Before] = ()) -> int:
    """Take up what the last process has left, then turn; how many calls go on."""
    turn = board.turn
    if turn.slots.positions:
        engine.resume(turn.slots.positions)
    turn.driver.outbox.extend(turn.slots.unsent)
    turn.later(
        turn.slots.take_place, None
    )  # first of all that is done once the goodbyes to calls of another shape count
    resumed = turn.run(lambda: recover(board, old))
    turn.begin()
    return resumed


def end(board: Board) -> None:
    """The process ends, its calls do not."""
    board.turn.close()
    for call in list(board.calls.values()):
        call.close()


def written(board: Board, finished: Iterable[tuple[int | None, CallRecord]]) -> None:
    """These records are on the disk: their slots are free."""
    for slot, record in finished:
        if slot is not None:
            board.turn.slots.calls.free(slot)
        board.news.put_nowait(cti.CallEnded(record.id))
