"""A session in a few hundred bytes, so that a call outlives the process that drives it.

What is kept: the dialogs, the head of the INVITE (its answer may still be due), flow, session timer. What is not: a 2xx
that waits for its ACK and an offer under way; the far end repeats what it needs, and a 2xx that nobody remembers is
acknowledged from the dialog.
"""

from __future__ import annotations

import json

from appliance.sip.agent import Agent
from appliance.sip.dialog import Dialog
from appliance.sip.message import Request, parse
from appliance.sip.session import Session

# phases that cannot be taken up in the middle -> where to go on
_RESUMED = {"answered": "confirmed", "owing": "confirmed", "cancelling": "calling", "ending": "confirmed"}


def dump(session: Session) -> bytes:
    invite = Request("INVITE", session.invite.uri_text, session.invite.headers)  # its SDP is its user's to remember
    record = {
        "id": session.id,
        "flow": session.flow,
        "phase": session.phase,
        "tag": session.local_tag,
        "called": session.is_called,
        "had_offer": bool(session.invite.body),
        "invite": invite.to_bytes().decode("utf-8", "surrogateescape"),
        "dialog": session.dialog.dump() if session.dialog else None,
        "forks": [dialog.dump() for dialog in session.forks.values()],
        "allows": session.peer_allows,
        "timer": session.exchange.session_timer.dump(),
    }
    return json.dumps(record, separators=(",", ":")).encode()


def restore(agent: Agent, data: bytes, now: float) -> Session:
    """The session of a dump; what was being ended is ended again."""
    record = json.loads(data)
    invite = parse(record["invite"].encode("utf-8", "surrogateescape"))
    assert isinstance(invite, Request)
    facts = agent.facts(record["flow"])
    if record["called"] and facts is not None:
        invite.stamped(*facts.remote)
    if record["had_offer"]:
        invite.body = b"-"
    phase = record["phase"]
    session = Session(agent, record["id"], record["flow"], invite, _RESUMED.get(phase, phase))
    session.local_tag = record["tag"]
    session.dialog = Dialog.restore(record["dialog"]) if record["dialog"] else None
    session.forks = {dialog.remote_tag: dialog for dialog in map(Dialog.restore, record["forks"])}
    session.peer_allows = record["allows"]
    adopt = agent.layer.adopt_received if record["called"] else agent.layer.adopt
    session.transaction = adopt(invite, session.flow, reliable=agent.is_reliable(session.flow), user=session)
    if session.phase == "confirmed":
        agent.layer.drop(session.transaction)
        session.exchange.session_timer.restore(record["timer"], now)
    if phase in ("cancelling", "ending"):
        session.hang_up(now, ())
    return session
