"""A simulated telephone: a user agent on the product's own SIP stack, with just enough behaviour to be scripted by a test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.sip import events
from appliance.sip.stack import FlowFacts, Stack
from appliance.sip.text import digest, sdp
from appliance.sip.text.message import Request, Response
from appliance.sip.text.sdp import CryptoLine, Format, Media, Session
from appliance.sip.usage.registration import Ask, Login, Registration

if TYPE_CHECKING:
    from tests.box import Box

T = TypeVar("T")

PCMA, PCMU = Format(8, "PCMA", 8000), Format(0, "PCMU", 8000)
G722, OPUS = Format(9, "G722", 8000), Format(111, "OPUS", 48000, 2)
EVENT = Format(101, "TELEPHONE-EVENT", 8000, 1, "0-16")


def _tell(waiting: asyncio.Future[T], answer: T) -> None:
    """Whoever asked may have stopped to wait."""
    if not waiting.done():
        waiting.set_result(answer)


class Phone:
    """`answer`: "auto" (ring, answer after a second), "ring" (only ring), or a status to refuse with.
    `srtp`: "off", "offer" (RTP/SAVP), "optional" (RTP/AVP with keys); a phone with "off" refuses RTP/SAVP with 488, one with
    `suites` also an offer whose first key line has none of them."""

    def __init__(
        self,
        box: Box,
        user: str,
        host: str,
        transport: str,
        *,
        password: str | None = None,
        answer: str | int = "auto",
        srtp: str = "off",
        codecs: Sequence[Format] = (PCMA, PCMU, EVENT),
        instance: str = "",
        early: bool = False,
        suites: Sequence[str] = (),
    ) -> None:
        self.box = box
        self.user = user
        self.password = password if password is not None else f"secret-{user}"
        self.host = host
        self.transport = transport
        self.answer = answer
        self.srtp = srtp
        self.codecs = tuple(codecs)
        self.instance = instance
        self.early = early
        self.suites = tuple(suites)
        self.rtp_port = 40000
        self.flow = box.connect(self, transport)
        tokens = box.tokens(f"phone{user}at{host.rpartition('.')[2]}")
        self.stack = Stack(tokens=lambda: next(tokens), user_agent="Phone/1", facts=self._facts)
        self._tokens = tokens
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[str, asyncio.Future[Response]] = {}
        self._cseq = itertools.count(1)
        self.call_id = f"reg-{user}-{host}"
        self.calls: dict[str, PhoneCall] = {}
        self.incoming: asyncio.Queue[PhoneCall] = asyncio.Queue()
        self.log: list[Any] = []  # every event
        self.contact = ""
        self.on = True
        self.rewrite: Callable[[bytes], bytes] = lambda data: data  # what it sends, for phones that send what no stack of ours would

    # ---- wire
    def _facts(self, flow: int) -> FlowFacts | None:
        if flow != self.flow.id:
            return None
        return FlowFacts(self.transport, self.flow.remote, self.flow.local)

    def receive(self, flow: int, data: bytes) -> None:
        if self.transport == "UDP" and flow in self.box.engine.open_flows:
            self.flow = self.box.engine.open_flows[flow]  # a datagram is a datagram
        if self.on and flow == self.flow.id:
            self.stack.receive(flow, data, self.now)
            self.drain()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def drain(self) -> None:
        while (output := self.stack.next_output()) is not None:
            if isinstance(output, events.Send):
                if self.on:
                    self.box.from_phone(self.flow, self.rewrite(output.data))
            else:
                self._handle(output)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.stack.deadline()
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._wake)

    def _wake(self) -> None:
        self.stack.wake(self.now)
        self.drain()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def send(self, text: str) -> None:
        """Raw bytes, for what no proper phone sends."""
        self.box.from_phone(self.flow, text.replace("\n", "\r\n").encode())

    def reconnect(self, *, close: bool = True) -> None:
        """Another connection (or another NAT port)."""
        old = self.flow
        self.flow = self.box.connect(self, self.transport)
        if close:
            self.box.engine.close_flow(old.id)
        for call in self.calls.values():
            if not call.ended:
                self.stack.rebind(call.session, self.flow.id, self.now)

    def count_from(self, number: int) -> None:
        """The CSeq of its registrations: it has started again."""
        self._cseq = itertools.count(number)

    # ---- requests
    async def request(
        self,
        method: str,
        target: str,
        *,
        to: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
        session: str | None = None,
    ) -> Response:
        identity = f"<sip:{self.user}@192.0.2.1>"
        transaction = self.stack.request(
            method, self.now, flow=None if session else self.flow.id, target=target, from_="" if session else identity, to=to or f"<{target}>",
            headers=headers, body=body, content_type=content_type, session=session,
        )  # fmt: skip
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = future
        self.drain()
        return await future

    async def register(
        self,
        *,
        expires: int = 600,
        contacts: Sequence[str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        to_user: str = "",
    ) -> int:
        """REGISTER with digest; the final status."""
        return (await self.registered(expires=expires, contacts=contacts, headers=headers, to_user=to_user)).status

    async def registered(
        self,
        *,
        expires: int = 600,
        contacts: Sequence[str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        to_user: str = "",
    ) -> Response:
        self.contact = (
            f"<sip:{self.user}@{self.flow.remote[0]}:{self.flow.remote[1]};transport={self.transport.lower()}>"
        )
        if self.instance:
            self.contact += f';+sip.instance="{self.instance}";reg-id=1'
        fields = [("User-Agent", "Phone/1"), ("Supported", "outbound"), *headers]

        registration = Registration(
            Login(self.user, self.password, "sip:192.0.2.1"), self.call_id, tokens=lambda: next(self._tokens),
            fraction=lambda: 0.0, numbers=self._cseq,
        )  # fmt: skip
        registration.register(tuple([self.contact] if contacts is None else contacts), expires, self.now, fields)
        response = Response(408)
        while isinstance(ask := registration.next_output(), Ask):
            to = f"<sip:{to_user or self.user}@192.0.2.1>"
            response = await self.request("REGISTER", "sip:192.0.2.1", to=to, headers=ask.headers)
            if response.status == 423:  # the test wants to see it
                break
            registration.answered(response.status, response, self.now)
        return response

    def credentials(self, response: Response, method: str, uri: str, nc: int = 1) -> tuple[str, str]:
        ask, answer_in = digest.FIELDS[response.status == 407]
        challenge = digest.strongest(response.get_all(ask))
        assert challenge is not None
        found = digest.answer(
            challenge,
            method=method,
            uri=uri,
            username=self.user,
            password=self.password,
            cnonce=next(self._tokens),
            nc=nc,
        )
        return answer_in, str(found)

    # ---- calls
    async def call(
        self, number: str, *, late: bool = False, headers: Sequence[tuple[str, str]] = (), from_: str = ""
    ) -> PhoneCall:
        """INVITE, answering one challenge; returns when there is a final answer or after `ringing` with wait=False."""
        call = self.dial(number, late=late, headers=headers, from_=from_)
        await call.final
        return call

    def dial(
        self, number: str, *, late: bool = False, headers: Sequence[tuple[str, str]] = (), from_: str = ""
    ) -> PhoneCall:
        call = PhoneCall(
            self,
            number,
            late=late,
            from_=from_ or f'"Somebody Else" <sip:{self.user}@192.0.2.1>',
            headers=list(headers),
        )
        call.invite([])
        return call

    # ---- what comes in
    def _handle(self, event: events.Event) -> None:
        self.log.append(event)
        match event:
            case events.Answered(transaction=transaction, status=status, response=response):
                _tell(self._waiting.pop(transaction), response or Response(status))
            case events.Invited(session=session, request=request):
                call = PhoneCall(self, "", late=not request.body)
                call.session, call.request = session, request
                self.calls[session] = call
                if call.invited():
                    self.incoming.put_nowait(call)
            case events.Requested(transaction=transaction):
                self.stack.respond(transaction, 200, self.now)
            case events.InDialog(transaction=transaction, request=request):
                self.calls[event.session].requests.append(request)
                self.stack.respond(transaction, 200, self.now)
            case _:
                call = self.calls.get(event.session)
                if call is not None:
                    call.handle(event)


class PhoneCall:
    def __init__(
        self, phone: Phone, number: str, *, late: bool, from_: str = "", headers: list[tuple[str, str]] | None = None
    ) -> None:
        self.phone = phone
        self.number = number
        self.late = late
        self.session = ""
        self.request: Request | None = None
        self.final: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.rejection: Response | None = None
        self.progress: list[Response] = []
        self.began = phone.now
        self.accepted_at = self.ended_at = 0.0  # 0: not yet
        self.cancelled = ""
        self.reason = ""
        self.local = b""
        self.remote: Session | None = None
        self.requests: list[Request] = []
        self.offers: list[Session] = []  # of the far end, after the first
        self.offer_status: asyncio.Future[int] | None = None
        self.refuse_offers = 0
        self._from, self._headers = from_, headers or []
        self._tried = False
        self._version = 0
        self._keys: dict[str, CryptoLine] = {}

    @property
    def ended(self) -> bool:
        return self.ended_at > 0

    def end(self) -> None:
        self.ended_at = self.ended_at or self.phone.now

    # ---- SDP
    def describe(
        self,
        direction: str = "sendrecv",
        *,
        codecs: Sequence[Format] | None = None,
        crypto: tuple[CryptoLine, ...] | None = None,
        protocol: str = "",
    ) -> bytes:
        phone = self.phone
        self._version += 1
        if crypto is None:
            crypto = (self.key("AES_CM_128_HMAC_SHA1_80"),) if phone.srtp != "off" else ()
        protocol = protocol or ("RTP/SAVP" if phone.srtp == "offer" else "RTP/AVP")
        media = Media(
            "audio", phone.rtp_port, protocol, tuple(codecs or phone.codecs), (), phone.host, direction, crypto=crypto
        )
        self.local = Session(("-", 1, self._version, phone.host), "-", phone.host, (media,)).to_bytes()
        return self.local

    def key(self, suite: str, seed: int = 1) -> CryptoLine:
        size, salt = sdp.SUITES[suite]
        return CryptoLine(
            1,
            suite,
            bytes([seed, self._version % 256]) + self.phone.host.encode().ljust(size, b"k")[: size - 2],
            b"s" * salt,
        )

    def respond_to(self, offer: bytes) -> bytes | None:
        """An answer, None when this phone cannot (488)."""
        theirs = sdp.parse(offer)
        self.remote = theirs
        media = theirs.media[0]
        common = [each for each in media.formats if any(each.same_codec(ours) for ours in self.phone.codecs)]
        if (media.protocol == "RTP/SAVP" and self.phone.srtp == "off") or all(each.is_event for each in common):
            return None
        if media.crypto and self.phone.suites and media.crypto[0].suite not in self.phone.suites:
            return None
        crypto: tuple[CryptoLine, ...] = ()
        if media.crypto and self.phone.srtp != "off":
            line = media.crypto[0]
            ours = self.key(line.suite)
            crypto = (CryptoLine(line.tag, ours.suite, ours.key, ours.salt),)
        return self.describe(sdp.REVERSED[media.direction], codecs=common, crypto=crypto, protocol=media.protocol)

    # ---- caller
    def invite(self, credentials: list[tuple[str, str]]) -> None:
        phone = self.phone
        if self.ended:  # hung up between the challenge and this
            self.final.set_result(487)
            return
        target = f"sip:{self.number}@192.0.2.1"
        offer = b"" if self.late else self.describe()
        self.session = phone.stack.invite(
            phone.flow.id,
            target,
            phone.now,
            from_=self._from,
            to=f"<{target}>",
            offer=offer,
            headers=[*self._headers, *credentials],
        )
        phone.calls[self.session] = self
        phone.drain()

    # ---- callee
    def invited(self) -> bool:
        """Ring, or refuse at once (False)."""
        phone = self.phone
        assert self.request is not None
        if isinstance(phone.answer, int):
            phone.stack.reject(self.session, phone.answer, phone.now)
            self.end()
            return False
        if self.request.body and self.respond_to(self.request.body) is None:
            phone.stack.reject(self.session, 488, phone.now)
            self.end()
            return False
        if phone.early:
            phone.stack.ring(self.session, phone.now, status=183, body=self.local)
        else:
            phone.stack.ring(self.session, phone.now)
        if phone.answer == "auto":
            asyncio.get_running_loop().call_later(1.0, self._auto)
        return True

    def _auto(self) -> None:
        if not self.ended and not self.accepted_at:
            self.accept()

    def accept(self) -> None:
        assert self.request is not None
        if not self.request.body:
            self.describe()
        self.phone.stack.accept(self.session, self.local, self.phone.now)
        self.accepted_at = self.phone.now
        self.phone.drain()

    def refuse(self, status: int) -> None:
        self.phone.stack.reject(self.session, status, self.phone.now)
        self.phone.drain()
        self.end()

    # ---- both
    def hang_up(self) -> None:
        self.phone.stack.hang_up(self.session, self.phone.now)
        self.phone.drain()
        self.end()

    async def offer(self, direction: str, **how: Any) -> int:
        """re-INVITE; the status of the answer."""
        self.offer_status = asyncio.get_running_loop().create_future()
        self.phone.stack.offer(self.session, self.describe(direction, **how), self.phone.now)
        self.phone.drain()
        return await self.offer_status

    async def ask_for_offer(self) -> int:
        """re-INVITE without SDP; the answer goes into the ACK."""
        self.offer_status = asyncio.get_running_loop().create_future()
        self.local = b""
        self.phone.stack.offer(self.session, b"", self.phone.now)
        self.phone.drain()
        return await self.offer_status

    @property
    def direction(self) -> str:
        """What the far end has said last."""
        assert self.remote is not None
        return self.remote.media[0].direction

    def handle(self, event: events.Event) -> None:
        phone, stack = self.phone, self.phone.stack
        match event:
            case events.Progress(response=response):
                self.progress.append(response)
            case events.Accepted(response=response):
                if self.late:
                    answer = self.respond_to(response.body)
                    stack.acknowledge(self.session, answer or b"", phone.now)
                elif response.body:  # else it has come in a reliable provisional response
                    self.remote = sdp.parse(response.body)
                self.final.set_result(200)
            case events.Rejected(status=407, response=response) if not self._tried and response is not None:
                self._tried = True
                asyncio.get_running_loop().call_soon(
                    self.invite, [phone.credentials(response, "INVITE", f"sip:{self.number}@192.0.2.1")]
                )
            case events.Rejected(status=status, response=response):
                self.end()
                self.rejection = response
                if not self.final.done():
                    self.final.set_result(status)
            case events.Cancelled(reason=reason):
                self.end()
                self.cancelled = reason or "yes"
            case events.Confirmed(body=body):
                if body:
                    self.remote = sdp.parse(body)
                if not self.final.done():
                    self.final.set_result(200)
            case events.Offered(request=request):
                self._offered(request)
            case events.OfferAnswered(status=status, response=response):
                if status == 200 and response is not None:
                    late = self.local == b""
                    self.remote = sdp.parse(response.body)
                    if late:
                        answer = self.respond_to(response.body)
                        stack.acknowledge(self.session, answer or b"", phone.now)
                assert self.offer_status is not None
                _tell(self.offer_status, status)
            case events.Ended(reason=reason):
                self.end()
                self.reason = reason

    def _offered(self, request: Request) -> None:
        phone = self.phone
        if self.refuse_offers:
            self.refuse_offers -= 1
            phone.stack.reject(self.session, 488, phone.now)
            return
        if request.body:
            self.offers.append(sdp.parse(request.body))
            answer = self.respond_to(request.body)
        else:
            answer = self.describe()
        if answer is None:
            phone.stack.reject(self.session, 488, phone.now)
        else:
            phone.stack.accept(self.session, answer, phone.now)
