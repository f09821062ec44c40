"""After a death of the process: go on with what the last committed turn has left, in the slots, in the rings and in the media core.

Each leg repeats its last unanswered message (Stack.restore), each bridge is connected again where the media core differs, each script runs
again with its kept state. A slot that cannot be read, or was written in the shape of before, ends politely: BYE on each leg, a record, a
sentence. Media legs that nobody owns are closed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from appliance.calls import bridge, call
from appliance.calls.api import Cause
from appliance.calls.call import Call
from appliance.calls.history.facts import Kind
from appliance.calls.history.record import CallRecord
from appliance.calls.history.story import Story
from appliance.calls.history.summary import record as record_of
from appliance.calls.legs import leg
from appliance.calls.legs.leg import Leg
from appliance.calls.survival.before import Before
from appliance.calls.switchboard import Switchboard
from appliance.calls.turns import slots
from appliance.words import Said

log = logging.getLogger(__name__)

Board = Switchboard[Leg, Call]
DIALOG = slots.LegSlot.__struct_fields__.index("dialog")


def recover(board: Board, before: Iterable[Before] = ()) -> int:
    """To be called once, in a turn, before the first event; how many calls go on. `before`: calls in the shape of before."""
    alive = set(board.media.legs())
    calls = _calls(board)
    kept, broken = _legs(board, calls)
    bridge.restored(board, kept)
    for found in calls.values():
        for each in found.all_legs:
            each.describe(anew=False)
    for one in {id(each.bridge): each.bridge for each in board.ports.values()}.values():
        if one is not None:
            one.resumed()
            one.connect(anew=False)
    for each in board.ports.values():
        if each.bridge is None:
            _part(board, each)
    for number in alive - set(board.ports):
        board.turn.later(lambda number=number: board.media.close(number), None)  # type: ignore[misc]
    for found in calls.values():
        found.begin()
        for each in found.legs:
            each.answer_offer()
            each.relay_next()
    for found in broken:
        found.cannot_go_on(Said.of("call.another-version"))
    for old in before:
        _say_goodbye(board, old)
    return len(calls)


def _part(board: Board, alone: Leg) -> None:
    """It hears nobody; where the media core has it otherwise, the process died before it could say so."""
    board.turn.later(lambda: board.media.disconnect(alone.stream.port.id), None)


def _calls(board: Board) -> dict[str, Call]:
    """Those that go on; of those that were over, their records go on their way."""
    found: dict[str, Call] = {}
    stories: dict[str, Story] = {}
    for slot, payload in list(board.turn.slots.calls):
        try:
            kept = slots.call(payload)
            if kept.record:
                board.finish(slot, msgspec.msgpack.decode(kept.record, type=CallRecord))
                continue
            story = Story.unpack(kept.story)
            known = stories.get(story.id)
            if known is not None and len(known.facts) + known.left_out >= len(story.facts) + story.left_out:
                story = known
            elif known is not None:
                for other in found.values():
                    if other.story is known:
                        other.story = story
            stories[story.id] = story
            found[kept.id] = call.restored(board, slot, kept, story)
            if known is not None:
                for other in found.values():
                    other.shares = other.shares or other.story is story
        except Exception:  # a slot that cannot be read costs its call, not the start
            log.exception("a call could not be taken over")
            _lost_call(board, slot, payload)
    return found


def _legs(board: Board, calls: dict[str, Call]) -> tuple[list[tuple[Leg, tuple[str, int, bool]]], list[Call]]:
    """Each to its call; which bridges they were in, and which calls have lost one."""
    kept_bridges = []
    broken: set[str] = set()
    for slot, payload in list(board.turn.slots.legs):
        try:
            kept = slots.leg(payload)
            owner = calls.get(kept.call)
            found = leg.restored(board, slot, kept, owner)
        except Exception:
            log.exception("a leg could not be taken over")
            broken.add(_lost_leg(board, slot, payload))
            continue
        if owner is None:
            found.hang_up(Cause.TEMPORARY_FAILURE)  # its call cannot be read, or is over
            board.turn.changed(found)
            continue
        owner.all_legs.append(found)
        if kept.incoming and owner.caller_leg is None:
            owner.caller_leg = found
        if kept.bridge is not None and not found.over:
            kept_bridges.append((found, kept.bridge))
    for each in calls.values():
        each.all_legs.sort(key=lambda one: one.who)
    return kept_bridges, [calls[id] for id in broken if id in calls]


def _lost_call(board: Board, slot: int, payload: bytes) -> None:
    """Of a call that this version cannot go on with, for another one wrote it, what can be read is written down."""
    try:
        values = msgspec.msgpack.decode(payload)
        story = next(Story.unpack(each) for each in values if isinstance(each, bytes) and _is_story(each))
    except Exception:
        story = Story(board.tokens()[:16])
        story.add(board.unix(), Kind.BEGAN, 0, "", "", False)
    _write_down(board, slot, story)


def _is_story(data: bytes) -> bool:
    try:
        Story.unpack(data)
    except ValueError:
        return False
    return True


def _write_down(board: Board, slot: int | None, story: Story) -> None:
    story.add(board.unix(), Kind.OVER, 0, int(Cause.TEMPORARY_FAILURE), "system")
    record = record_of(story)
    record = msgspec.structs.replace(record, said=Said.of("call.another-version"))
    if slot is not None:
        payload = slots.pack(slots.CallSlot(record.id, record=msgspec.msgpack.encode(record)))
        board.turn.slots.calls.write(slot, payload)
    board.finish(slot, record)


def _lost_leg(board: Board, slot: int, payload: bytes) -> str:
    """Its session is all that is looked for, so that the phone hears a BYE; which call it belonged to, as far as that can be read."""
    board.turn.slots.legs.free(slot)
    try:
        values = msgspec.msgpack.decode(payload)
        session = board.sip(lambda stack, now: stack.restore(values[DIALOG], now))
        board.quietly(lambda stack, now: stack.hang_up(session, now))
        return str(values[0])
    except Exception:
        log.exception("nothing could be said to its phone")
    return ""


def _say_goodbye(board: Board, old: Before) -> None:
    """A call of which a version of before has left its slot: its phones are told, and it is written down."""
    log.warning("call %s: ended, for what is known of it is of another version", old.id)
    driver = board.turn.driver
    for way in old.ways:
        try:
            flow = driver.flow(way.flow)
            if flow is not None and flow.remote != (way.host, way.port):  # its number means another one by now
                flow = None
            if flow is None and way.transport == "UDP":
                flow = driver.dial_udp(way.host, way.port)
            if flow is not None:
                number: int = flow.id
                board.sip(lambda stack, now, way=way, number=number: stack.farewell(number, way.dialog(), now))  # type: ignore[misc]
        except Exception:  # the others shall be told all the same
            log.exception("call %s: %s could not be told that it is over", old.id, way.host)
    driver.outbox.extend(old.partings)
    slot: Any = board.turn.slots.calls.claim()
    _write_down(board, slot, old.story())
