"""`switchroom selftest`: a real encrypted call through the running system, seen from outside.

Two phones of our own register over TLS with extensions that exist only as long as this test's control connection, call each
other, and listen whether the other's tone arrives: at first, not while on hold, and again afterwards. Then the call record
must be there and nothing else left. Every step has a limit; the first one that fails ends the test, with a sentence for the
person who has to repair it. Works on a box that is not set up yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from appliance import cti
from appliance.softphone import Account, PhoneCall, PhoneError, Softphone

TONES = (697.0, 1209.0)  # Hz, of the caller and of the called; no harmonic of each other
HOLD_TONE = 425.0  # Hz; what the box plays to who is on hold
WHOLE_TEST = 50.0  # seconds
SOUND = 4.0  # seconds in which sound must arrive


class Step(msgspec.Struct, frozen=True):
    name: str
    ok: bool
    message: str
    ms: int


class Report(msgspec.Struct):
    ok: bool
    steps: list[Step]
    problem: str = ""


class Failure(Exception):
    """A step has failed, in a sentence."""


class Selftest:
    def __init__(self, run: Path) -> None:
        self._run = run
        self.steps: list[Step] = []
        self._client: cti.Client | None = None
        self._ready: cti.SelftestReady | None = None
        self._phones: list[Softphone] = []
        self._calls: list[PhoneCall] = []

    # ---- the steps
    async def control(self) -> str:
        try:
            self._client = await asyncio.to_thread(cti.Client, str(self._run / "calls.sock"))
            reply = await self._ask(cti.SelftestBegin())
        except cti.Unavailable as error:
            raise Failure(f"Call control does not answer: {error}") from None
        if not isinstance(reply, cti.SelftestReady) or len(reply.phones) != 2:
            raise Failure("Call control did not make the two test extensions.")
        self._ready = reply
        return f"extensions {reply.phones[0].number} and {reply.phones[1].number}"

    async def register(self) -> str:
        ready = self._ready
        assert ready is not None
        for phone, frequency in zip(ready.phones, TONES, strict=True):
            account = Account(
                ready.host, ready.tls_port, "TLS", phone.number, phone.sip_username, phone.sip_password, ready.ca_file,
                "required", ready.host,  # the phones stand on the box, so that is where they want their sound
            )  # fmt: skip
            made = Softphone(account, frequency=frequency, user_agent="Switchroom self-test")
            self._phones.append(made)
            await made.connect()
            await made.register()
        return f"two phones over {self._phones[0].cipher}"

    async def call(self) -> str:
        ready = self._ready
        assert ready is not None
        caller, called = self._phones
        incoming = asyncio.create_task(called.incoming())
        try:
            made = await caller.call(ready.phones[1].number)
            self._calls.append(made)
            taken = await incoming
        finally:
            incoming.cancel()
        self._calls.append(taken)
        await made.wait(made.ringing, 5.0, "The caller was never told that it rings")
        taken.answer()
        await made.wait(made.answered, 5.0, "The called phone answered but the caller was not told")
        await taken.wait(taken.answered, 5.0, "The caller's confirmation did not reach the called phone")
        shown = taken.invite.from_.uri.user if taken.invite is not None else ""
        if shown != ready.phones[0].number:
            raise Failure(f"The called phone was shown the number {shown} instead of {ready.phones[0].number}.")
        return "rang and was answered"

    async def encryption(self) -> str:
        suites = []
        for call in self._calls:
            agreed = call.leg.agreed
            if agreed is None or agreed.crypto_in is None or not agreed.secure:
                raise Failure("The phones could not agree on encryption (SRTP) with the box.")
            suites.append(agreed.crypto_in.suite)
        return "SRTP " + " and ".join(dict.fromkeys(suites))

    async def cipher(self) -> str:
        """What the media core found when it held its cipher code against another one."""
        try:
            status = await cti.ask(str(self._run / "supervisor.sock"), cti.GetStatus())
        except cti.Unavailable as error:
            raise Failure(f"The supervisor does not answer: {error}") from None
        if not isinstance(status, cti.Status) or not status.cipher:
            raise Failure("The media core did not test its cipher code at its start.")
        return status.cipher

    async def sound(self) -> str:
        await self._both_hear("The call was set up")
        return "each phone hears the other's tone"

    async def hold(self) -> str:
        caller, called = self._calls
        told = asyncio.ensure_future(called.hears(HOLD_TONE, SOUND))
        try:
            await caller.hold()
            if not await caller.hears_nothing(0.4, 4.0):
                raise Failure("The caller put the call on hold but still hears the other phone.")
            if not await told:
                raise Failure("The called phone does not hear that it is on hold.")
        finally:
            told.cancel()
        return "silent, and the other phone hears that it is on hold"

    async def resume(self) -> str:
        await self._calls[0].resume()
        await self._both_hear("The call was taken back from hold")
        return "each phone hears the other again"

    async def hang_up(self) -> str:
        caller, called = self._calls
        caller.hang_up()
        await called.wait(called.ended, 5.0, "The caller hung up but the called phone was not told")
        return "both phones are free"

    async def record(self) -> str:
        ready = self._ready
        assert ready is not None
        wanted = (ready.phones[0].number, ready.phones[1].number)
        found: dict[str, object] = {}
        for _ in range(30):
            reply = await self._ask(cti.GetRecord())
            found = reply.record if isinstance(reply, cti.Record) else {}
            if (found.get("caller_number"), found.get("dialled")) == wanted:
                break
            await asyncio.sleep(0.1)
        else:
            raise Failure("The call was not written into the call history.")
        if not found.get("answered"):
            raise Failure("The call history says that the call was not answered.")
        return "written into the call history"

    async def clean_up(self) -> str:
        ready = self._ready
        assert ready is not None
        for phone in self._phones:
            await phone.close()
        ours = {phone.number for phone in ready.phones}
        registrations = await self._ask(cti.GetRegistrations())
        if isinstance(registrations, cti.Registrations) and ours & {
            each.number for each in registrations.registrations
        }:
            raise Failure("The test phones are still registered after they left.")
        calls = await self._ask(cti.GetCalls())
        if isinstance(calls, cti.Calls) and any(each.caller.number in ours for each in calls.calls):
            raise Failure("The test call is still there after it was hung up.")
        return "nothing of the test is left"

    # ---- pieces
    async def _ask(self, message: cti.Message) -> cti.Message:
        assert self._client is not None
        return await asyncio.to_thread(self._client.ask, message)

    async def _both_hear(self, after: str) -> None:
        """Each call hears the tone of the other phone; else the sentence that tells why probably not."""
        caller, called = self._calls
        heard = await asyncio.gather(caller.hears(TONES[1], SOUND), called.hears(TONES[0], SOUND))
        if all(heard):
            return
        for call in self._calls:
            if call.ended.is_set():
                raise Failure(f"{after} but ended by itself: {call.status} {call.reason}.")
        deaf = [call for call, good in zip(self._calls, heard, strict=True) if not good]
        ports = await self._ports()
        if any(call.audio.refused for call in deaf) and not any(call.audio.packets for call in deaf):
            raise Failure(
                f"{after} and sound arrived, but it could not be decrypted: the encryption keys do not match."
            )
        if any(call.audio.packets for call in deaf):
            raise Failure(f"{after} and sound arrived, but it is not what the other phone sent.")
        if len(deaf) == 2:
            raise Failure(f"{after} but no sound arrived: UDP ports {ports} between phone and box seem to be blocked.")
        who = "called phone hears the caller" if heard[1] else "caller hears the called phone"
        raise Failure(f"{after} but only one way: the {who}, not the other way round. Check UDP ports {ports}.")

    async def _ports(self) -> str:
        """The range the box uses for sound, as the supervisor tells it."""
        with contextlib.suppress(cti.Unavailable):
            status = await cti.ask(str(self._run / "supervisor.sock"), cti.GetStatus())
            found = (
                re.search(r"(\d+)\D(\d+)", status.addresses.get("rtp", "")) if isinstance(status, cti.Status) else None
            )
            if found is not None:
                return f"{found[1]}–{found[2]}"
        agreed = self._calls[0].leg.agreed
        return str(agreed.port) if agreed is not None else "for sound"

    async def step(self, name: str, work: Callable[[], Awaitable[str]], seconds: float) -> None:
        begun = time.monotonic()

        def done(ok: bool, message: str) -> None:
            self.steps.append(Step(name, ok, message, round((time.monotonic() - begun) * 1000)))

        try:
            async with asyncio.timeout(seconds):
                done(True, await work())
        except (Failure, PhoneError, cti.Unavailable) as error:
            done(False, str(error))
            raise Failure(str(error)) from None
        except TimeoutError:
            message = f"The step “{name}” was not done within {seconds:g} s."
            done(False, message)
            raise Failure(message) from None

    async def close(self) -> None:
        for phone in self._phones:
            await phone.close()
        if self._client is not None:
            self._client.close()


@contextlib.asynccontextmanager
async def _closing(test: Selftest) -> AsyncIterator[Selftest]:
    try:
        yield test
    finally:
        await test.close()


async def run_selftest(run: Path) -> Report:
    """The whole test against the system whose control sockets are in `run`."""
    problem = ""
    async with _closing(Selftest(run)) as test:
        plan = (
            ("call control", test.control, 6.0), ("register over TLS", test.register, 16.0), ("call", test.call, 16.0),
            ("encryption", test.encryption, 1.0), ("cipher code", test.cipher, 2.0),
            ("sound both ways", test.sound, 8.0), ("hold", test.hold, 12.0), ("resume", test.resume, 12.0),
            ("hang up", test.hang_up, 6.0), ("call record", test.record, 6.0), ("clean up", test.clean_up, 8.0),
        )  # fmt: skip
        try:
            async with asyncio.timeout(WHOLE_TEST):
                for name, work, seconds in plan:
                    await test.step(name, work, seconds)
        except Failure as error:
            problem = str(error)
        except TimeoutError:
            problem = f"The test was not done within {WHOLE_TEST:g} s."
    return Report(not problem, test.steps, problem)


def selftest(run: Path) -> Report:
    return asyncio.run(run_selftest(Path(run)))
