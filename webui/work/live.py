"""What happens now: calls, phones, who was turned away, the processes; and ending a call."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.config.rights.acting import Acting
from appliance.cti import (
    Calls,
    GetCalls,
    GetPhones,
    GetRefusals,
    GetRegistrations,
    GetStatus,
    HangUp,
    Phones,
    Refusals,
    RefusalView,
    Registrations,
    Status,
    Unavailable,
)
from appliance.words import Said
from webui.desk import Desk

REFUSALS_SHOWN = 10


def live_calls(here: Desk) -> Calls | None:
    """None when the telephone process does not answer."""
    try:
        reply = here.box.ask("calls", GetCalls())
    except Unavailable:
        return None
    return reply if isinstance(reply, Calls) else None


def phones(here: Desk) -> Phones | None:
    """Which lines have a phone, and which phones dropped; None when the telephone process does not answer."""
    try:
        reply = here.box.ask("calls", GetPhones())
    except Unavailable:
        return None
    return reply if isinstance(reply, Phones) else None


def registrations(here: Desk, lines: Sequence[str] = ()) -> Registrations | None:
    """Of these lines (ids), or all."""
    try:
        reply = here.box.ask("calls", GetRegistrations(list(lines)))
    except Unavailable:
        return None
    return reply if isinstance(reply, Registrations) else None


def refusals(here: Desk) -> list[RefusalView]:
    """Who was turned away last, newest first; none when nobody can tell."""
    try:
        reply = here.box.ask("calls", GetRefusals())
    except Unavailable:
        return []
    return reply.refusals if isinstance(reply, Refusals) else []


def pending_refusals(here: Desk) -> list[RefusalView]:
    """Those whose phone has not registered since, a line of ours before what belongs to none."""
    pending = [one for one in refusals(here) if one.over is None]
    return sorted(pending, key=lambda one: not one.line)[:REFUSALS_SHOWN]


def system(here: Desk) -> Status | None:
    try:
        reply = here.box.ask("supervisor", GetStatus())
    except Unavailable:
        return None
    return reply if isinstance(reply, Status) else None


def end_call(here: Desk, acting: Acting, call: str, who: str) -> None:
    """Hang up for both sides. `who` stands in the call record, the actor in the journal. cti.Unavailable when it cannot be asked for, or
    there is no such call any more."""
    acting.actor.demand("do", "call")
    calls = live_calls(here)
    view = next((one for one in calls.calls if one.id == call), None) if calls else None
    here.box.ask("calls", HangUp(call, who))
    between = Said.of("journal.hung-up-between", caller=view.caller.number, dialled=view.dialled) if view else None
    acting.note("settings", "settings", between or Said("journal.hung-up"))
