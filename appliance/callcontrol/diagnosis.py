"""What happened in a call, in one plain sentence. Pure: a call record in, words out.

Rules are tried in order, the first that has something to say wins; each names who or what, and what to do when somebody can do
something. Nothing is guessed: a rule speaks only of what was signalled or counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from appliance.callcontrol.api import Cause, Party
from appliance.calls.causes import WORDS
from appliance.calls.history.record import CallRecord, LegRecord, is_somebody
from appliance.words import english

_MUTE_AFTER = 3.0  # seconds of talking after which "no packet at all" is a fault and not haste
_LOSS = 0.03  # of the packets of one direction: audible
_JITTER_MS = 60.0  # more than a usual jitter buffer of a desk phone takes

_span = english().duration


def sentence(record: CallRecord) -> str:
    """One sentence, never empty."""
    return next(words for rule in _RULES if (words := rule(record)))


def _caller(record: CallRecord) -> str:
    return str(Party(record.caller_number, record.caller_name))


def _callee(record: CallRecord) -> str:
    return str(Party(record.callee_number or record.dialled, record.callee_name))


def _who(leg: LegRecord) -> str:
    return str(Party(leg.number, leg.name))


def _unanswered(record: CallRecord) -> str:
    if record.answered is not None:
        return ""
    callee, dialled = _callee(record), record.dialled
    if is_somebody(record.hung_up_by):
        return f"{record.hung_up_by} ended the call from {_caller(record)} before {callee} answered."
    if record.outcome == "cancelled":
        return f"{_caller(record)} hung up before {callee} answered."
    rejections = sorted({leg.status for leg in record.legs if leg.side == "callee" and leg.status >= 300})
    answers = " and ".join(str(status) for status in rejections)
    match record.cause:
        case Cause.UNALLOCATED if not rejections:
            return f"Nobody has the number {dialled}."
        case Cause.NO_ROUTE:
            return f"{dialled} could not be reached: this telephone system has no line to the outside."
        case Cause.INVALID_NUMBER if not rejections:
            return f"{dialled or 'An empty number'} cannot be dialled."
        case Cause.ABSENT:
            return f"No phone of {callee} is registered: check that it is switched on, connected and has the right password."
        case Cause.BUSY:
            return f"{callee} was busy."
        case Cause.NO_ANSWER:
            return f"{callee} did not answer in time."
        case Cause.NO_RESPONSE if not rejections or 408 in rejections:
            return f"The phone of {callee} is registered but did not respond: it was probably switched off or lost its network."
        case Cause.REJECTED:
            return f"{callee} refused the call."
        case Cause.INCOMPATIBLE:
            return _incompatible(record)
        case Cause.CONGESTION | Cause.NO_CHANNEL:
            return "The system had no capacity left for another call; try again in a moment."
        case Cause.TEMPORARY_FAILURE if record.hung_up_by == "system" and not rejections:
            return "An internal fault ended the call; it has been written to the log as an alarm."
    said = f" (its phone answered {answers})" if answers else ""
    return (
        f"The call from {_caller(record)} to {callee} failed: {WORDS.get(Cause(record.cause), 'unknown cause')}{said}."
    )


def _incompatible(record: CallRecord) -> str:
    refused = [leg for leg in record.legs if leg.side == "callee" and leg.status in (415, 488, 606)]
    if refused:
        leg = refused[0]
        return f"The phone of {_who(leg)} refused the offered codecs or encryption (it answered {leg.status}): compare its audio and SRTP settings."
    return (
        f"The phone of {_caller(record)} offered no codec or encryption that fits: "
        "compare its audio settings, and turn SRTP on if the extension requires encryption."
    )


def _audio(record: CallRecord) -> str:
    """One-way or no audio."""
    if record.seconds < _MUTE_AFTER:
        return ""
    for leg in record.legs:
        if leg.packets_received or not leg.receives:
            continue
        if leg.dropped_auth:
            return (
                f"Nobody heard {_who(leg)}: audio arrived from the phone but its encryption did not fit the agreed key."
            )
        if leg.dropped_source:
            return f"Nobody heard {_who(leg)}: audio arrived only from an address that the phone had not announced; check for a NAT in between."
        return (
            f"Nobody heard {_who(leg)}: no audio arrived from the phone at {leg.address or 'an unknown address'}; "
            "a firewall or the phone's network holds it back."
        )
    return ""


def _quality(record: CallRecord) -> str:
    for leg in record.legs:
        expected = leg.packets_received + leg.lost
        if expected >= 100 and leg.lost / expected >= _LOSS:
            bursts = ", mostly in bursts" if 2 * leg.burst_lost > leg.lost else ""
            return f"The connection of {_who(leg)} was bad: {leg.lost * 100 // expected} % of the audio from the phone was lost on the way{bursts}."
        if leg.packets_received >= 100 and leg.jitter_ms >= _JITTER_MS:
            return f"The connection of {_who(leg)} was uneven: audio from the phone came with {leg.jitter_ms:.0f} ms of jitter."
    for leg in record.legs:
        if leg.poor_seconds:
            worst = f"up to {100 * leg.worst_lost:.0f} % of the audio from the phone was lost"
            if leg.worst_lost < _LOSS:
                worst = f"audio from the phone came with up to {leg.worst_jitter_ms:.0f} ms of jitter"
            return f"The connection of {_who(leg)} was bad for {_span(leg.poor_seconds)} of {_span(record.seconds)}: {worst}."
        if leg.packets_sent >= 100 and leg.far_lost / leg.packets_sent >= _LOSS:
            share = min(100, leg.far_lost * 100 // leg.packets_sent)
            return f"{_who(leg)} heard gaps: its phone says that {share} % of the audio to it was lost on the way."
    return ""


def _ended_by_fault(record: CallRecord) -> str:
    if record.hung_up_by != "system" or record.cause == Cause.NORMAL:
        return ""
    if record.cause in (Cause.TIMER, Cause.NO_RESPONSE):
        return f"The call ended after {_span(record.seconds)} because a phone stopped answering: it was probably switched off or lost its network."
    return f"The call ended after {_span(record.seconds)} by a fault: {WORDS.get(Cause(record.cause), 'unknown cause')}."


def _good(record: CallRecord) -> str:
    sides = {"caller": _caller(record), "callee": _callee(record), "system": "the system"}
    ended = sides.get(record.hung_up_by, record.hung_up_by)
    return f"{_caller(record)} and {_callee(record)} were connected for {_span(record.seconds)}; {ended} hung up."


_RULES: Iterable[Callable[[CallRecord], str]] = (_unanswered, _audio, _ended_by_fault, _quality, _good)
