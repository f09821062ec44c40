"""What happened in a call, in one plain sentence. Pure: a call record in, key and facts out.

Rules are tried in order, the first that has something to say wins; each names who or what, and what to do when somebody can do
something. Nothing is guessed: a rule speaks only of what was signalled or counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from appliance.calls.history import causes
from appliance.calls.history.causes import Cause
from appliance.calls.history.record import CallRecord, LegRecord, is_somebody
from appliance.words import Duration, Fact, Listed, Person, PhoneNumber, Said

_MUTE_AFTER = 3.0  # seconds of talking after which "no packet at all" is a fault and not haste
_LOSS = 0.03  # of the packets of one direction: audible
_JITTER_MS = 60.0  # more than a usual jitter buffer of a desk phone takes


def diagnose(record: CallRecord) -> Said:
    return next(said for rule in _RULES if (said := rule(record)) is not None)


def _caller(record: CallRecord) -> Person:
    return Person(record.caller_name, record.caller_number)


def _callee(record: CallRecord) -> Person | Said:
    if record.service:
        return Said.of("call.service", title=Said(f"{record.service}.title"), number=PhoneNumber(record.dialled))
    return Person(record.callee_name, record.callee_number or record.dialled)


def _who(leg: LegRecord) -> Person:
    return Person(leg.name, leg.number)


def _talked(record: CallRecord) -> Duration:
    return Duration(record.seconds)


def _unanswered(record: CallRecord) -> Said | None:
    if record.answered is not None:
        return None
    caller, callee, number = _caller(record), _callee(record), PhoneNumber(record.dialled)
    if is_somebody(record.hung_up_by):
        return Said.of("call.ended-before", who=record.hung_up_by, caller=caller, callee=callee)
    if record.outcome == "cancelled":
        return Said.of("call.given-up", caller=caller, callee=callee)
    answers = sorted({leg.status for leg in record.legs if leg.side == "callee" and leg.status >= 300})
    match record.cause:
        case Cause.UNALLOCATED if not answers:
            return Said.of("call.nobody", number=number)
        case Cause.NO_ROUTE:
            return Said.of("call.no-line", number=number)
        case Cause.INVALID_NUMBER if not answers:
            return Said.of("call.not-dialable", number=number) if record.dialled else Said.of("call.empty-number")
        case Cause.ABSENT:
            return Said.of("call.absent", callee=callee)
        case Cause.BUSY:
            return Said.of("call.busy", callee=callee)
        case Cause.NO_ANSWER:
            return Said.of("call.no-answer", callee=callee)
        case Cause.NO_RESPONSE if not answers or 408 in answers:
            return Said.of("call.no-response", callee=callee)
        case Cause.REJECTED:
            return Said.of("call.refused", callee=callee)
        case Cause.INCOMPATIBLE:
            return _incompatible(record)
        case Cause.CONGESTION | Cause.NO_CHANNEL:
            return Said.of("call.congestion")
        case Cause.TEMPORARY_FAILURE if record.hung_up_by == "system" and not answers:
            return Said.of("call.fault")
    cause = causes.said(Cause(record.cause))
    if answers:
        listed = Listed(tuple(answers))
        return Said.of("call.failed-answered", caller=caller, callee=callee, cause=cause, answers=listed)
    return Said.of("call.failed", caller=caller, callee=callee, cause=cause)


def _incompatible(record: CallRecord) -> Said:
    for leg in record.legs:
        if leg.side == "callee" and leg.status in (415, 488, 606):
            return Said.of("call.offer-refused", who=_who(leg), status=leg.status)
    return Said.of("call.offer-useless", who=_caller(record))


def _audio(record: CallRecord) -> Said | None:
    """One-way or no audio."""
    if record.seconds < _MUTE_AFTER:
        return None
    for leg in record.legs:
        if leg.packets_received or not leg.receives:
            continue
        if leg.dropped_auth:
            return Said.of("call.mute-key", who=_who(leg))
        if leg.dropped_source:
            return Said.of("call.mute-source", who=_who(leg))
        return Said.of("call.mute", who=_who(leg), address=leg.address or Said.of("call.unknown-address"))
    return None


def _quality(record: CallRecord) -> Said | None:
    for leg in record.legs:
        expected = leg.packets_received + leg.lost
        if expected >= 100 and leg.lost / expected >= _LOSS:
            share = leg.lost * 100 // expected
            if 2 * leg.burst_lost > leg.lost:
                return Said.of("call.lost-in-bursts", who=_who(leg), share=share)
            return Said.of("call.lost", who=_who(leg), share=share)
        if leg.packets_received >= 100 and leg.jitter_ms >= _JITTER_MS:
            return Said.of("call.uneven", who=_who(leg), jitter=round(leg.jitter_ms))
    for leg in record.legs:
        if leg.poor_seconds:
            poor, talked = Duration(leg.poor_seconds), _talked(record)
            if leg.worst_lost < _LOSS:
                jitter = round(leg.worst_jitter_ms)
                return Said.of("call.spell-uneven", who=_who(leg), poor=poor, talked=talked, jitter=jitter)
            share = round(100 * leg.worst_lost)
            return Said.of("call.spell-lost", who=_who(leg), poor=poor, talked=talked, share=share)
        if leg.packets_sent >= 100 and leg.far_lost / leg.packets_sent >= _LOSS:
            share = min(100, leg.far_lost * 100 // leg.packets_sent)
            return Said.of("call.far-lost", who=_who(leg), share=share)
    return None


def _ended_by_fault(record: CallRecord) -> Said | None:
    if record.hung_up_by != "system" or record.cause == Cause.NORMAL:
        return None
    if record.cause in (Cause.TIMER, Cause.NO_RESPONSE):
        return Said.of("call.phone-gone", talked=_talked(record))
    return Said.of("call.broken-off", talked=_talked(record), cause=causes.said(Cause(record.cause)))


def _good(record: CallRecord) -> Said | None:
    caller, callee = _caller(record), _callee(record)
    sides: dict[str, Fact] = {"caller": caller, "callee": callee, "system": Said.of("call.system")}
    who = sides.get(record.hung_up_by, record.hung_up_by)
    return Said.of("call.connected", caller=caller, callee=callee, talked=_talked(record), who=who)


_RULES: Iterable[Callable[[CallRecord], Said | None]] = (_unanswered, _audio, _ended_by_fault, _quality, _good)
