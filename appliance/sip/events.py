"""What the SIP stack tells its user. A session is one INVITE usage (RFC 3261 §12-14), named by an opaque string that
stays the same over a restart of the process; a transaction id names a server transaction that waits for our answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from appliance.sip.text.message import Request, Response

FlowId = int
SessionId = str
TransactionId = str


class Send(Struct, frozen=True, gc=False):
    """Bytes for a flow."""

    flow: FlowId
    data: bytes


class Requested(Struct, frozen=True):
    """A request outside any INVITE usage (REGISTER, OPTIONS, SUBSCRIBE, …): answer with Stack.respond."""

    transaction: TransactionId
    flow: FlowId
    request: Request


class Invited(Struct, frozen=True):
    """A new INVITE: answer with Stack.ring / accept / reject (401 and 407 are rejects too). request.sdp is the offer
    or b""."""

    session: SessionId
    flow: FlowId
    request: Request


class Cancelled(Struct, frozen=True):
    """The caller gave up before our final answer; the stack has answered 487 already."""

    session: SessionId
    reason: str  # value of the Reason header or ""


class Confirmed(Struct, frozen=True):
    """ACK for our 2xx. body is the SDP answer if our 2xx carried the offer (late offer), else b""."""

    session: SessionId
    body: bytes


class Progress(Struct, frozen=True):
    """A 1xx other than 100 for our INVITE; the stack has acknowledged a reliable one (RFC 3262). early names the early dialog
    (to-tag): a forked INVITE has several."""

    session: SessionId
    early: str
    response: Response


class Accepted(Struct, frozen=True):
    """2xx for our INVITE. If we sent an offer the stack has sent the ACK; else call Stack.acknowledge with the
    answer. response.sdp is b"" when the answer has come in a reliable Progress of this dialog."""

    session: SessionId
    response: Response


class Rejected(Struct, frozen=True):
    """Final non-2xx for our INVITE (ACK sent), or 408/503 made by the stack on timeout or loss of the flow.
    401/407 arrive here too: the stack never answers a challenge by itself (CVE-2021-41158 class)."""

    session: SessionId
    status: int
    reason: str
    response: Response | None


class Offered(Struct, frozen=True):
    """re-INVITE or UPDATE in a dialog, an early one too, or a PRACK with an offer: answer with Stack.accept / reject. request.sdp is the offer, or b"" when we
    must offer."""

    session: SessionId
    request: Request


class OfferAnswered(Struct, frozen=True):
    """Final answer to our re-INVITE, or before the answer UPDATE. status 200: response.sdp is the answer; else the session is as before.
    Comes unasked when a refresh of the session was answered with another description."""

    session: SessionId
    status: int
    response: Response | None


class InDialog(Struct, frozen=True):
    """Another request inside a dialog (INFO, REFER, NOTIFY, MESSAGE): answer with Stack.respond."""

    session: SessionId
    transaction: TransactionId
    request: Request


class Elsewhere(Struct, frozen=True):
    """A request inside a dialog, by its tags, but from a host that is not the dialog's: it may be the far end that has moved, or
    somebody who has seen the tags. Stack.admit when it has proved who it is, else Stack.respond."""

    session: SessionId
    transaction: TransactionId
    flow: FlowId
    request: Request


class Ended(Struct, frozen=True):
    """The dialog is over: BYE of the far end (by="peer"), or it died (by="timeout": no ACK, no answer to BYE,
    408/481; by="fault": a Fault follows)."""

    session: SessionId
    by: str
    reason: str  # Reason header or our words


class Answered(Struct, frozen=True):
    """Final response to a non-INVITE request we sent with Stack.request; status 408 is made by the stack on timeout."""

    transaction: TransactionId
    status: int
    response: Response | None


class Fault(Struct, frozen=True):
    """Something could not be worked on and has cost at most this session, whose last event has been told. `cause` says why: a bug of
    ours, or an answer of the peer that no call can be made of."""

    session: SessionId  # "" for none
    source: str  # host it came from, "" when not known
    cause: str
    ours: bool


Event = (
    Requested
    | Invited
    | Cancelled
    | Confirmed
    | Progress
    | Accepted
    | Rejected
    | Offered
    | OfferAnswered
    | InDialog
    | Elsewhere
    | Ended
    | Answered
    | Fault
)
Output = Send | Event
