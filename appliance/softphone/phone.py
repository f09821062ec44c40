"""A small phone on the product's own SIP stack: registers, calls, is called, holds, plays a tone and listens for one.

It is what the self-test and the end-to-end tests telephone with, so it sees the box as any phone does: through its sockets.
One Softphone is one SIP account on one flow (UDP, TCP or TLS); a PhoneCall is one call of it with its own RTP socket. Audio
is G.711; what it sends is one tone, what it hears is kept for the last second and judged by the Goertzel algorithm.
Every wait has a limit and ends in PhoneError with a sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

from appliance.sip import events
from appliance.sip.errors import PeerError, WrongState
from appliance.sip.media.agreed import Encrypt
from appliance.sip.media.negotiation import EVENT, LegMedia
from appliance.sip.stack import FlowFacts, Stack
from appliance.sip.text import digest
from appliance.sip.text.message import Response
from appliance.sip.text.sdp import Format
from appliance.sip.usage.registration import Ask, Login, Refused, Registered, Registration
from appliance.softphone.call import PhoneCall, PhoneError
from appliance.softphone.sound import RATE, Audio, Route, direct

T = TypeVar("T")

FORMATS = (Format(8, "PCMA", RATE), Format(0, "PCMU", RATE), EVENT)
LARGEST = 65535
FLOW = 1  # a phone has one
GOODBYE = 3.0  # seconds the other end of a connection has to close it too


@dataclass(frozen=True, slots=True)
class Account:
    host: str
    port: int
    transport: Literal["UDP", "TCP", "TLS"]
    number: str
    username: str
    password: str
    ca_file: str = ""  # TLS: the authority to trust
    encrypt: Encrypt = "preferred"
    address: str = "127.0.0.1"  # where media is wanted
    listen: str = ""  # where it is received, when that is another address (behind a forwarding)
    route: Route = direct  # where media is sent
    source: str = ""  # the address of this machine it signals from; "" leaves that to the kernel
    formats: tuple[Format, ...] = FORMATS  # offered and taken, the first choice first


class Softphone:
    """One account. Use as an asynchronous context manager: it registers at its beginning and unregisters at its end."""

    audio: type[Audio] = Audio  # what a call of it says and hears with

    def __init__(self, account: Account, *, frequency: float = 440.0, user_agent: str = "Switchroom softphone") -> None:
        self.account = account
        self.frequency = frequency
        self._facts: FlowFacts | None = None
        self._stack = Stack(tokens=lambda: secrets.token_hex(14), user_agent=user_agent, facts=lambda _: self._facts)
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None
        self._write: Callable[[bytes], None] = lambda data: None
        self._close: Callable[[], None] = lambda: None
        self._writer: asyncio.StreamWriter | None = None
        self._registration = Registration(
            Login(account.username, account.password, f"sip:{account.host}"), secrets.token_hex(14),
            tokens=lambda: secrets.token_hex(8), fraction=random.random,
        )  # fmt: skip
        self._asked = ""  # transaction of the last REGISTER
        self._answer: Response | None = None  # to it
        self._outcome: asyncio.Future[Registered | Refused] | None = None
        self._calls: dict[str, PhoneCall] = {}
        self._incoming: asyncio.Queue[PhoneCall] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._registered = False
        self.cipher = ""  # of the TLS connection

    @property
    def connected(self) -> bool:
        return self._facts is not None

    # ---- the wire
    async def connect(self, seconds: float = 8.0) -> None:
        """Also after the connection was lost: calls stay, `register` again and they go on."""
        account = self.account
        try:
            async with asyncio.timeout(seconds):
                await (self._connect_udp() if account.transport == "UDP" else self._connect_stream())
        except ssl.SSLCertVerificationError as error:
            raise PhoneError(f"The certificate of {account.host} is not accepted: {error.verify_message}.") from None
        except (OSError, TimeoutError) as error:
            words = getattr(error, "strerror", None) or "no answer"
            raise PhoneError(f"{account.transport} {account.host}:{account.port} cannot be reached: {words}.") from None

    async def _connect_udp(self) -> None:
        phone = self

        class Datagrams(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                phone._receive(data)

        remote = (self.account.host, self.account.port)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Datagrams, local_addr=self._from, remote_addr=remote
        )
        self._facts = FlowFacts("UDP", transport.get_extra_info("sockname")[:2], remote)
        self._write, self._close = transport.sendto, transport.close

    async def _connect_stream(self) -> None:
        account = self.account
        context = ssl.create_default_context(cafile=account.ca_file or None) if account.transport == "TLS" else None
        reader, writer = await asyncio.open_connection(
            account.host, account.port, ssl=context, server_hostname=account.host if context else None,
            local_addr=self._from,
        )  # fmt: skip
        cipher = writer.get_extra_info("cipher")
        self.cipher = f"{cipher[1]} {cipher[0]}" if cipher else ""
        self._facts = FlowFacts(account.transport, writer.get_extra_info("sockname")[:2], (account.host, account.port))
        self._write, self._close, self._writer = writer.write, writer.close, writer
        self._reader = asyncio.get_running_loop().create_task(self._read(reader))

    @property
    def _from(self) -> tuple[str, int] | None:
        return (self.account.source, 0) if self.account.source else None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Messages of a stream, cut by Content-Length."""
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n")
                if head == b"\r\n":
                    continue  # keepalive
                head += await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    name, _, value = line.partition(b":")
                    if name.strip().lower() in (b"content-length", b"l") and value.strip().isdigit():
                        length = min(int(value), LARGEST)
                self._receive(head + await reader.readexactly(length))
        self._facts = None
        now = asyncio.get_running_loop().time()
        self._stack.closed(FLOW, now)
        self._registration.lost(now)
        self._drain()

    def _receive(self, data: bytes) -> None:
        self._stack.receive(FLOW, data, asyncio.get_running_loop().time())
        self._drain()

    def run(self, command: Callable[[Stack, float], T]) -> T:
        result = command(self._stack, asyncio.get_running_loop().time())
        self._drain()
        return result

    def _drain(self) -> None:
        while (told := self._registration.next_output()) is not None:
            self._take(told)
        while (output := self._stack.next_output()) is not None:
            if isinstance(output, events.Send):
                self._write(output.data)
            else:
                asyncio.get_running_loop().call_soon(self._tell, output)
        if self._timer is not None:
            self._timer.cancel()
        deadlines = (self._stack.deadline(), self._registration.deadline())
        deadline = min((at for at in deadlines if at is not None), default=None)
        self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._wake)

    def _wake(self) -> None:
        now = asyncio.get_running_loop().time()
        self._stack.wake(now)
        self._registration.wake(now)
        self._drain()

    # ---- what the stack tells
    def _tell(self, event: events.Event) -> None:
        match event:
            case events.Answered(transaction=transaction, status=status, response=response):
                if transaction == self._asked:
                    self._answered(status, response)
            case events.Invited():
                self._spawn(self._invited(event))
            case events.Requested(transaction=transaction) | events.InDialog(transaction=transaction):
                with contextlib.suppress(WrongState):
                    self.run(lambda stack, now: stack.respond(transaction, 200, now))
            case _:
                call = self._calls.get(event.session)
                if call is not None:
                    self._tell_call(call, event)

    def _tell_call(self, call: PhoneCall, event: Any) -> None:
        match event:
            case events.Progress(response=response):
                call.begun.set()
                call.ringing.set()
                if response.body:
                    call.take_answer(response.body)
            case events.Accepted(response=response):
                self._accepted(call, response)
            case events.Rejected(status=401 | 407, response=response) if self._authorise(call, response):
                pass
            case events.Rejected(status=status, reason=reason):
                call.over(status, reason)
            case events.Cancelled(reason=reason):
                call.over(487, reason or "cancelled")
            case events.Ended(reason=reason):
                call.over(0, reason or "hung up there")
            case events.Confirmed():
                call.answered.set()
            case events.Offered(request=request):
                call.take_offer(request)
            case events.OfferAnswered():
                call.offer_answered(event)

    def _accepted(self, call: PhoneCall, response: Response) -> None:
        try:
            if response.sdp or call.leg.agreed is None:  # else it has come in a reliable provisional response
                call.take_answer(response.sdp)
        except PeerError as error:
            call.hang_up()
            call.reason = error.reason
            return
        call.begun.set()
        call.answered.set()

    async def _invited(self, event: events.Invited) -> None:
        call = await self._new_call()
        call.session, call.invite = event.session, event.request
        self._calls[event.session] = call
        try:
            call.leg.take_offer(event.request.body)
            call.leg.make_answer(
                self.account.formats
            )  # whether there is one: nobody rings for a call that cannot be taken
            self.run(lambda stack, now: stack.ring(event.session, now))
        except PeerError as error:
            status, reason = error.status, error.reason
            self.run(lambda stack, now: stack.reject(event.session, status, now, reason=reason))
            call.over(status, reason)
            return
        except WrongState:
            call.over(487, "cancelled")
            return
        self._incoming.put_nowait(call)

    async def _new_call(self) -> PhoneCall:
        audio = self.audio(self.frequency, self.account.route)
        port = await audio.open(self.account.listen or self.account.address)
        leg = LegMedia(
            self.account.address,
            port,
            session_id=secrets.randbelow(1 << 31),
            keys=secrets.token_bytes,
            encrypt=self.account.encrypt,
            signalling_secure=self.account.transport == "TLS",
            signalling=self.account.host,
        )
        return PhoneCall(self.run, self.account.formats, leg, audio)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- what a person does
    @property
    def address(self) -> str:
        return f"sip:{self.account.username}@{self.account.host}"

    async def register(self, expires: int = 120, seconds: float = 8.0) -> None:
        """Registered when this returns, and kept so; PhoneError otherwise. `expires` 0 takes it back."""
        facts = self._facts
        if facts is None:
            raise PhoneError("The connection to the box is gone.")
        contact = f"<sip:{self.account.username}@{facts.local[0]}:{facts.local[1]};transport={facts.transport.lower()}>"
        loop = asyncio.get_running_loop()
        self._outcome = loop.create_future()
        self._registration.register((contact,), expires, loop.time())
        self._drain()
        try:
            async with asyncio.timeout(seconds):
                outcome = await self._outcome
        except TimeoutError:
            self._asked, self._outcome = "", None
            self._answered(408, None)
            raise PhoneError(f"The box did not answer within {seconds:g} s.") from None
        if isinstance(outcome, Refused):
            warning = (self._answer.get("Warning") or "") if self._answer is not None else ""
            raise PhoneError(
                f"Registration was refused: {outcome.status} {outcome.reason or 'no answer'} {warning}".strip() + "."
            )

    def _take(self, told: Any) -> None:
        """What the registration wants, or has come to."""
        match told:
            case Ask(headers=headers):
                own = f"<{self.address}>"
                target = f"sip:{self.account.host}"
                self._asked = self._stack.request(
                    "REGISTER", asyncio.get_running_loop().time(), flow=FLOW, target=target, from_=own, to=own,
                    headers=headers,
                )  # fmt: skip
            case Registered(expires=expires):
                self._registered = expires > 0
                self._come_to(told)
            case Refused():
                self._come_to(told)

    def _come_to(self, outcome: Registered | Refused) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(outcome)

    def _answered(self, status: int, response: Response | None) -> None:
        self._answer = response
        self._registration.answered(status, response, asyncio.get_running_loop().time())
        self._drain()

    def _authorise(self, call: PhoneCall, response: Response | None) -> bool:
        """Dial once more with the password. A second challenge is answered when its nonce is new only because the other one was too old."""
        if response is None or call.ended.is_set():
            return False
        ask, answer_in = digest.FIELDS[response.status == 407]
        challenge = digest.strongest(response.get_all(ask))
        if challenge is None or call.challenges >= (2 if challenge.stale else 1):
            return False
        call.challenges += 1
        credentials = digest.answer(
            challenge, method="INVITE", uri=call.target, username=self.account.username,
            password=self.account.password, cnonce=secrets.token_hex(8),
        )  # fmt: skip
        self._invite(call, [(answer_in, str(credentials))])
        return True

    async def dial(self, number: str) -> PhoneCall:
        """The call, as soon as it is on its way."""
        call = await self._new_call()
        call.target = f"sip:{number}@{self.account.host}"
        call.offer = call.leg.make_offer(self.account.formats)
        self._invite(call, [])
        return call

    async def call(self, number: str, seconds: float = 10.0) -> PhoneCall:
        """Dial; returns when it rings, early media comes or it is answered."""
        call = await self.dial(number)
        try:
            async with asyncio.timeout(seconds):
                await call.begun.wait()
        except TimeoutError:
            call.hang_up()
            raise PhoneError(f"The box did not answer the call within {seconds:g} s.") from None
        if call.ended.is_set():
            raise PhoneError(f"The call was refused: {call.status} {call.reason}.")
        return call

    def _invite(self, call: PhoneCall, headers: list[tuple[str, str]]) -> None:
        self._calls.pop(call.session, None)
        call.session = self.run(
            lambda stack, now: stack.invite(
                FLOW,
                call.target,
                now,
                from_=f"<{self.address}>",
                to=f"<{call.target}>",
                offer=call.offer,
                headers=headers,
            )
        )
        self._calls[call.session] = call

    async def incoming(self, seconds: float = 10.0) -> PhoneCall:
        """The next call that comes in; it rings until `answer` or `hang_up`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._incoming.get()
        except TimeoutError:
            raise PhoneError(f"No call came in within {seconds:g} s.") from None

    async def close(self) -> None:
        """Hang up what there is, take the registration back, let go of the sockets. Never raises."""
        for call in self._calls.values():
            if not call.ended.is_set():
                call.hang_up()
        if self._registered and self._facts is not None:
            with contextlib.suppress(PhoneError):
                await self.register(0, 3.0)
        for task in (*self._tasks, *([self._reader] if self._reader else [])):
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._close()
        if self._writer is not None:
            gone = asyncio.ensure_future(self._writer.wait_closed())
            if not (await asyncio.wait({gone}, timeout=GOODBYE))[0]:
                self._writer.transport.abort()
            with contextlib.suppress(OSError):
                await gone

    async def __aenter__(self) -> Self:
        await self.connect()
        try:
            await self.register()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
