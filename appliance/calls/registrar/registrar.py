"""Which phones are there: the bindings of lines to contacts and flows (RFC 3261 §10.3, RFC 5626 §6). Pure.

A binding is a contact URI on a flow. Requests go to the flow the phone registered over, never to an address read from its
Contact (NAT, and nobody can be made a target by a forged Contact); the contact URI is only the Request-URI. A binding whose
connection is gone is `away` until the phone comes back: by +sip.instance and reg-id, by contact URI, or by the
Call-ID of its registration, whichever it keeps. A UDP binding is never away: its address can be dialled.

`now` is monotonic seconds; the store keeps unix times and `calls` converts, so a jump of the wall clock ends no registration.
Bounds: CONTACTS per line, expiry between EXPIRES_MIN and EXPIRES_MAX. A phone too many is not refused: the binding that is away,
else the one refreshed longest ago makes room, for it is what a phone left behind whose router gave it another port. One in a call
stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from appliance.config.model import Line, Snapshot
from appliance.sip.errors import PeerError
from appliance.sip.text.message import Request
from appliance.sip.text.uri import NameAddr, Uri
from media_core import FlowInfo, Transport

CONTACTS = 10
EXPIRES_MIN = 60
EXPIRES_MAX = 3600
EXPIRES_DEFAULT = 3600
FLOW_TIMER = (
    120  # RFC 5626 §4.4.1: how often a phone behind a connection should ping; over UDP it asks by STUN every 24 to 29 s
)


@dataclass(frozen=True, slots=True)
class Binding:
    line: str  # line id
    contact: str  # URI as the phone wrote it
    flow: int  # also of an away binding: the one its calls still name
    transport: str
    host: str  # where the flow comes from
    port: int
    user_agent: str
    instance: str  # +sip.instance, "" without
    reg_id: int
    call_id: str
    cseq: int
    since: float
    expires: float
    away: bool = False
    refreshed: float = 0.0

    @property
    def secure(self) -> bool:
        return self.transport == "TLS"

    @property
    def reachable(self) -> bool:
        return not self.away or self.transport == "UDP"

    @property
    def key(self) -> tuple[str, str]:
        """What names the binding in the store."""
        return (self.line, self.contact)


@dataclass(frozen=True, slots=True)
class Registered:
    """What a REGISTER has changed, and the header fields of the 200."""

    headers: list[tuple[str, str]]
    stored: list[Binding]
    removed: list[Binding]
    moved: list[tuple[int, int]]  # old flow -> new flow of the same phone


class TooMany(PeerError):
    def __init__(self, why: str) -> None:
        super().__init__(403, "Too Many Contacts", (("Reason", f'SIP;cause=403;text="{why}"'),))


class Registrar:
    def __init__(self, bindings: Iterable[Binding] = ()) -> None:
        self._bindings: dict[str, list[Binding]] = {}
        for binding in bindings:
            self._bindings.setdefault(binding.line, []).append(binding)

    def __iter__(self) -> Iterator[Binding]:
        for bindings in self._bindings.values():
            yield from bindings

    def __len__(self) -> int:
        return sum(len(bindings) for bindings in self._bindings.values())

    def bindings(self, line: str) -> tuple[Binding, ...]:
        return tuple(self._bindings.get(line, ()))

    def on_flow(self, flow: int) -> list[Binding]:
        return [binding for binding in self if binding.flow == flow and not binding.away]

    def knows(self, line: str, request: Request, flow: FlowInfo) -> bool:
        """Whether the phone that sends this has registered for the line before: from this very address, or as this instance."""
        try:
            instances = {contact.params.get("+sip.instance", "") for contact in request.contacts} - {""}
        except PeerError:
            instances = set()
        source = (Transport(flow.transport).name, *flow.remote)
        return any(
            (binding.transport, binding.host, binding.port) == source or binding.instance in instances
            for binding in self._bindings.get(line, ())
        )

    def register(
        self,
        request: Request,
        line: Line,
        flow: FlowInfo,
        now: float,
        *,
        asked: float,
        busy: Callable[[Binding], bool] = lambda binding: False,
    ) -> Registered:
        """An authenticated REGISTER of this line. PeerError carries the refusal; nothing is changed then. `asked`: when the
        question was asked that its password answered. `busy` tells whether a phone is in a call."""
        old = self._bindings.get(line.id, [])
        if request.contact_star:
            if request.expires != 0:
                raise PeerError(400, "Contact * needs Expires 0")
            self._in_order(request, old, asked)
            self._bindings.pop(line.id, None)
            return Registered([], [], old, [])
        wanted = self._wanted(request, line, flow, now)
        kept, stored, removed, moved = list(old), [], [], []
        for binding in wanted:
            same = [other for other in kept if _same_phone(other, binding)]
            self._in_order(request, (other for other in same if other in old), asked)
            kept = [other for other in kept if other not in same]
            ends = binding.expires <= now
            removed += [other for other in same if ends or other.key != binding.key]
            if ends:
                continue
            moved += [(other.flow, binding.flow) for other in same if other.flow != binding.flow]
            since = min((other.since for other in same if other.flow == binding.flow), default=now)
            kept.append(replace(binding, since=since))
            stored.append(kept[-1])
        surplus = self._surplus(kept, stored, busy)
        kept = [binding for binding in kept if binding not in surplus]
        removed += surplus
        self._put(line.id, kept)
        return Registered(self._answer(kept, request, flow, now), stored, removed, moved)

    def expire(self, now: float) -> list[Binding]:
        """Take out what has run out."""
        gone = [binding for binding in self if binding.expires <= now]
        self._remove(gone)
        return gone

    def deadline(self) -> float | None:
        return min((binding.expires for binding in self), default=None)

    def closed(self, flow: int) -> list[Binding]:
        """The flow is gone; returns the bindings that are away now, as they were before."""
        hit = self.on_flow(flow)
        for binding in hit:
            bindings = self._bindings[binding.line]
            bindings[bindings.index(binding)] = replace(binding, away=True)
        return hit

    def reattach(self, binding: Binding, flow: int) -> Binding:
        """A UDP address was dialled again."""
        bindings = self._bindings[binding.line]
        bindings[bindings.index(binding)] = fresh = replace(binding, flow=flow, away=False)
        return fresh

    def reconcile(self, old: Snapshot, new: Snapshot) -> list[Binding]:
        """Take out what the new configuration does not allow: lines that are gone, have another password or need TLS now."""
        gone = []
        for binding in self:
            line = new.lines.get(binding.line)
            before = old.lines.get(binding.line)
            extension = new.extensions.get(line.extension) if line is not None else None
            if (
                line is None
                or extension is None
                or (
                    before is not None
                    and (before.sip_password, before.sip_username) != (line.sip_password, line.sip_username)
                )
                or (extension.encrypt == "required" and not binding.secure)
            ):
                gone.append(binding)
        self._remove(gone)
        return gone

    # ---- pieces
    @staticmethod
    def _surplus(kept: list[Binding], new: list[Binding], busy: Callable[[Binding], bool]) -> list[Binding]:
        """Who makes room. PeerError when nobody can."""
        count = len(kept) - CONTACTS
        if count <= 0:
            return []
        old = [binding for binding in kept if binding not in new and not busy(binding)]
        if len(old) < count:
            raise TooMany("All contacts are in calls")
        return sorted(old, key=lambda binding: (not binding.away, binding.refreshed))[:count]

    def _wanted(self, request: Request, line: Line, flow: FlowInfo, now: float) -> list[Binding]:
        if len(request.contacts) > CONTACTS:
            raise TooMany(f"At most {CONTACTS} contacts are kept for one line")
        return [self._binding(contact, request, line, flow, now) for contact in request.contacts]

    def _binding(self, contact: NameAddr, request: Request, line: Line, flow: FlowInfo, now: float) -> Binding:
        if contact.uri.scheme not in ("sip", "sips"):
            raise PeerError(400, "Contact is no SIP URI")
        expires = _seconds(contact.params.get("expires"))
        if expires is None:
            expires = request.expires if request.expires is not None else EXPIRES_DEFAULT
        if 0 < expires < EXPIRES_MIN:
            raise PeerError(423, "Interval Too Brief", (("Min-Expires", str(EXPIRES_MIN)),))
        instance = contact.params.get("+sip.instance", "")[:200]
        return Binding(
            line=line.id,
            contact=str(contact.uri),
            flow=flow.id,
            transport=Transport(flow.transport).name,
            host=flow.remote[0],
            port=flow.remote[1],
            user_agent=request.user_agent[:200],
            instance=instance,
            reg_id=(_seconds(contact.params.get("reg-id")) or 0) if instance else 0,
            call_id=request.call_id,
            cseq=request.cseq[0],
            since=now,
            expires=now + min(expires, EXPIRES_MAX),
            refreshed=now,
        )

    @staticmethod
    def _in_order(request: Request, bindings: Iterable[Binding], asked: float) -> None:
        """RFC 3261 §10.3 step 7: a late older request of the same registration changes nothing. But a phone that has started
        again may count from 1: who answers a question that was asked after the last change cannot be late."""
        for binding in bindings:
            if binding.call_id == request.call_id and request.cseq[0] <= binding.cseq and asked <= binding.refreshed:
                raise PeerError(500, "Older than the binding")

    @staticmethod
    def _answer(bindings: Iterable[Binding], request: Request, flow: FlowInfo, now: float) -> list[tuple[str, str]]:
        headers = []
        outbound = False
        for binding in bindings:
            params = {"expires": str(max(1, round(binding.expires - now)))}
            if binding.instance:
                params["+sip.instance"] = binding.instance
            if binding.reg_id:
                params["reg-id"] = str(binding.reg_id)
                outbound = True
            headers.append(("Contact", str(NameAddr(Uri.parse(binding.contact), "", params))))
        if outbound and "outbound" in request.supported:  # RFC 5626 §6
            headers.append(("Require", "outbound"))
            if flow.transport != Transport.UDP:
                headers.append(("Flow-Timer", str(FLOW_TIMER)))
        return headers

    def _put(self, line: str, bindings: list[Binding]) -> None:
        if bindings:
            self._bindings[line] = bindings
        else:
            self._bindings.pop(line, None)

    def _remove(self, gone: Iterable[Binding]) -> None:
        for binding in gone:
            self._put(binding.line, [other for other in self._bindings.get(binding.line, ()) if other != binding])


def _seconds(text: str | None) -> int | None:
    return int(text[:10]) if text and text.isascii() and text.isdigit() else None


def _same_phone(old: Binding, new: Binding) -> bool:
    """Whether the new binding of the same line takes the place of the old one."""
    if old.instance and new.instance:
        return (old.instance, old.reg_id) == (new.instance, new.reg_id)
    if old.contact == new.contact or Uri.parse(old.contact).same_as(Uri.parse(new.contact)):
        return True
    # a phone that reconnects has another port in its Contact; one REGISTER may name several contacts, so only across flows
    return old.call_id == new.call_id and old.flow != new.flow


def may_register(request: Request, line: Line, number: str) -> bool:
    """The address of record must be the authenticated line's own (S-05: nobody registers another's)."""
    return not {request.to.uri.user, request.to.uri.dialled}.isdisjoint({line.sip_username, number})
