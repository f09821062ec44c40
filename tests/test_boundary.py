"""One message, one exception boundary: whatever raises while a message, a timer or an event is worked on costs at most one call.

The first part has the answers of phones that no dialog can be made of. The second raises at every function of the SIP stack, the driver
and call control in turn: the list is taken from the source, and one that no scene reaches fails its test unless a row says why.
Other phones send at the same time, their messages are in the same batches, and they are answered.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import sys
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from appliance import cti
from appliance.calls.history.faults import Faults
from appliance.calls.process import CallsProcess
from appliance.sip import events
from appliance.sip.media import address
from appliance.sip.text import sdp
from appliance.words import english
from tests.box import Box, office
from tests.box_phone import Phone
from tests.box_scenes import SCENES
from tests.clock import run
from tests.written import as_written

pytestmark = as_written("raises at every function")
ROOT = Path(__file__).parents[1]


# ---- answers that no dialog can be made of ---------------------------------------------------------------------------
def rewriting(status: int, line: bytes) -> Callable[[bytes], bytes]:
    """A phone that puts `line` into its answers with this status to an INVITE."""

    def rewrite(data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        if head.startswith(b"SIP/2.0 %d " % status) and b" INVITE\r\n" in head + b"\r\n":
            head = b"\r\n".join(each for each in head.split(b"\r\n") if not each.startswith(line.partition(b":")[0] + b":")) + b"\r\n" + line
        return head + end + body

    return rewrite


@pytest.mark.parametrize("status", [180, 200])
@pytest.mark.parametrize(
    "line",
    [
        b"Record-Route: <sip:a;lr>;",
        b"Record-Route: " + b", ".join([b"<sip:a;lr>"] * 20),
        b"Record-Route: <sip:a;lr",
        b"Record-Route: <sip:a:x;lr>",
        b'Allow: INVITE, "ACK',
    ],
    ids=["semicolon", "many", "bracket", "port", "Allow"],
)
@pytest.mark.parametrize("others", [0, 1], ids=["alone", "another phone rings"])
def test_an_answer_no_dialog_can_be_made_of(status: int, line: bytes, others: int) -> None:
    """Seen from a phone behind a proxy: the exception left the loop that reads from the core, and 17 of 20 other phones whose messages lay
    in the same batch stayed deaf for minutes."""

    async def scene() -> None:
        async with Box(office("101", "102", *(str(200 + n) for n in range(20)), lines=2)) as box:
            a, b = await box.phone("101"), await box.phone("102")
            rest = [await box.phone(str(200 + n), register=False) for n in range(20)]
            other = [await box.phone("102-2") for _ in range(others)]
            b.rewrite = rewriting(status, line)
            call = a.dial("102")
            await box.seconds(0.0651 if status == 180 else 1.0651)  # the answer is on the wire
            registered = await asyncio.wait_for(asyncio.gather(*(phone.register() for phone in rest)), 0.2)
            assert registered == [200] * 20
            there = await b.incoming.get()
            harmless = line.endswith(b";") or line.startswith(b"Allow")  # an empty parameter and a broken Allow are read over today
            if harmless:
                await call.final
                call.hang_up()
            elif others:
                (winner,) = other
                assert await call.final == 200
                assert not (await winner.incoming.get()).ended
                call.hang_up()
            else:
                assert await call.final >= 500
            await box.seconds(1)
            assert there.ended, "the phone was told by CANCEL or BYE"
            faults = list(box.exchange.faults)
            assert len(faults) == (0 if harmless else 1)
            assert all(b.host in english().say(fault.message) for fault in faults)
            box.exchange.faults = Faults()

    run(scene())


# ---- what is raised at -----------------------------------------------------------------------------------------------
FILES = (
    *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "appliance/sip").rglob("*.py")),
    "appliance/flows/driver.py",
    *sorted(
        str(file.relative_to(ROOT))
        for file in (ROOT / "appliance/calls").rglob("*.py")
        if file.name not in ("process.py", "__main__.py") and not {"history", "survival"} & set(file.parts)
    ),
)
# Functions that no scene reaches, by what they have in common.
ROWS = {
    "works at the start and the end of the process only, where a slot that cannot be read costs its call (tests/callcontrol/test_recovery.py)": """
        sip/stack.py:Stack.__init__ sip/agent.py:Agent.__init__
        sip/boundary.py:Boundary.__init__ sip/timers.py:Timers.__init__ sip/transaction.py:Transactions.__init__ sip/dialog.py:Dialog.restore
        sip/usage/refresh.py:SessionTimer.restore sip/media/negotiation.py:LegMedia.restore sip/stack.py:Stack.restore sip/survival.py:restore
        sip/dialog.py:text sip/survival.py:_known sip/survival.py:_headers sip/survival.py:_Back.__init__ sip/survival.py:_Back.adopt
        sip/survival.py:_Back.first sip/survival.py:_Back.unacked sip/survival.py:_Back.offers sip/survival.py:_Back.early
        sip/survival.py:_Back.refused sip/survival.py:_Back._adopt
        sip/usage/acks.py:Acks.keep sip/stack.py:Stack.farewell sip/transaction.py:Transactions.adopt flows/driver.py:Driver.__init__
        calls/arriving.py:Arriving.__init__ calls/bridge.py:restored calls/bridge.py:Bridge.resumed calls/bridge.py:Pair.resumed calls/call.py:restored calls/call.py:Call.close calls/call.py:Call.cannot_go_on
        calls/legs/leg.py:restored calls/legs/stream.py:Stream.restored calls/registrar/authentication.py:Authenticator.__init__
        calls/registrar/refusals.py:Refusals.__init__ calls/registrar/drops.py:Drops.__init__ calls/registrar/registrar.py:Registrar.__init__ calls/registrar/security.py:Throttle.__init__
        calls/registrar/security.py:SecurityLog.__init__ calls/requests.py:Requests.__init__ calls/turns/slots.py:leg calls/turns/slots.py:call
        calls/turns/turn.py:Turn.__init__ calls/turns/turn.py:Turn.begin calls/turns/turn.py:Turn.close calls/switchboard.py:Switchboard.__init__ calls/switchboard.py:Switchboard.numbered""",
    "works behind a fault only, so it would be a second one at the same time": """
        sip/boundary.py:Boundary._bury sip/boundary.py:Boundary._drop sip/boundary.py:Boundary._end sip/boundary.py:Boundary.fault
        sip/usage/ending.py:Ending.abort sip/usage/ending.py:Ending.forget sip/stack.py:Stack.failed sip/transaction.py:Transactions.of
        flows/driver.py:Driver._fault calls/arriving.py:Arriving._fault calls/arriving.py:Arriving._fault_of calls/call.py:Call.failed
        calls/turns/turn.py:end_process calls/call.py:Call._whose calls/call.py:Call.__repr__ calls/legs/standing.py:Standing.__repr__ calls/switchboard.py:Switchboard.fault""",
    "is asked for by the control socket, whose requests have their own boundary (the last test here)": """
        sip/stack.py:Stack.counters sip/timers.py:Timers.__len__ sip/transaction.py:Transactions.__len__ calls/plan/plan.py:asked
        calls/plan/plan.py:explained calls/registrar/refusals.py:Refusals.last calls/registrar/drops.py:Drops.__iter__ calls/registrar/refusals.py:Refusals.last_of
        calls/registrar/registrar.py:Registrar.__len__ calls/registrar/security.py:SecurityLog.__iter__ flows/driver.py:Driver.dropped""",
    "is a client's usage, which phones drive": """
        sip/usage/registration.py:Registration.__init__ sip/usage/registration.py:Registration.register sip/usage/registration.py:Registration.lost
        sip/usage/registration.py:Registration.deadline sip/usage/registration.py:Registration.wake
        sip/usage/registration.py:Registration.next_output sip/usage/registration.py:Registration.answered
        sip/usage/registration.py:Registration._wants sip/usage/registration.py:Registration._wanted sip/usage/registration.py:Registration._begin
        sip/usage/registration.py:Registration._ask sip/usage/registration.py:Registration._credentials
        sip/usage/registration.py:Registration._take_challenge sip/usage/registration.py:Registration._take_minimum
        sip/usage/registration.py:Registration._bound sip/usage/registration.py:Registration._refused sip/usage/registration.py:Registration._pause
        sip/usage/registration.py:Registration._unbound sip/usage/registration.py:_number sip/usage/registration.py:_granted""",
    "is used by phones and scripts, not by the system itself": """
        sip/abilities.py:Abilities.supported_without sip/text/digest.py:Challenge.parse
        sip/text/digest.py:Credentials.__str__ sip/text/digest.py:answer sip/text/digest.py:strongest sip/usage/offers.py:Offers.acknowledge
        sip/usage/invite.py:Invite.acknowledge sip/stack.py:Stack.acknowledge sip/stack.py:Stack._tag sip/text/message.py:Message.dialog_id
        sip/text/sdp.py:CryptoLine.__repr__ sip/text/message.py:Request.__repr__ sip/text/message.py:Response.__repr__
        sip/text/via.py:Via.received sip/text/via.py:Via.rport sip/text/uri.py:Uri.bare sip/text/uri.py:Uri.transport flows/driver.py:token""",
    "goes on when messages of strangers have waited (tests/calls/test_turn.py)": """
        flows/driver.py:Driver._late""",
    "is what the classes below it have instead": """
        calls/bridge.py:Bridge.partner calls/bridge.py:Bridge.offered calls/bridge.py:Bridge.settled calls/bridge.py:Bridge.pressed
        calls/bridge.py:Bridge.connect calls/legs/standing.py:Standing.pack calls/legs/standing.py:Standing.timer calls/verbs.py:Verbs.open_leg
        calls/verbs.py:Verbs.woken calls/verbs.py:Verbs.failed calls/verbs.py:Verbs._changed""",
    "is used by scripts of services that are not there yet (tests/calls/test_verbs.py); a fault in a step of a script costs its call": """
        calls/bridge.py:Mix.__init__ calls/bridge.py:Mix.enter calls/bridge.py:Mix.mute calls/bridge.py:Mix.muted calls/bridge.py:Mix.connect
        calls/bridge.py:Mix.renegotiated calls/bridge.py:Mix._mix calls/bridge.py:Mix._mix_one calls/bridge.py:Mix.left calls/bridge.py:room
        calls/call.py:_Go.__init__ calls/call.py:Call._go calls/call.py:Call.hang_up calls/call.py:Call.adopt calls/call.py:Call._share_story
        calls/call.py:Call._renumber calls/call.py:Call.transfer calls/call.py:Call.go calls/call.py:Call._sent_on calls/legs/standing.py:Standing.sent_on calls/legs/endpoint.py:Endpoint.next_way
        calls/legs/sound.py:Sounding.stop_playing calls/legs/sound.py:Sounding.record calls/legs/sound.py:Sounding.listen
        calls/legs/sound.py:Sounding.collected calls/legs/standing.py:Standing.belongs
        calls/plan/party.py:AccountExceeded.__init__ calls/plan/party.py:Party.sent_on
        calls/switchboard.py:no_prompts calls/verbs.py:Verbs.keep calls/verbs.py:Verbs._forget_verbs calls/verbs.py:Verbs.mixed
        calls/verbs.py:Verbs.hold calls/verbs.py:Verbs.retrieve calls/verbs.py:Verbs._held calls/verbs.py:Verbs.record calls/verbs.py:Verbs.collect
        calls/verbs.py:Verbs.send_digits""",
}
NOT_REACHED = {f"appliance/{name}": reason for reason, names in ROWS.items() for name in names.split()}


def functions() -> list[str]:
    """file:qualified name of every function."""

    def within(node: ast.AST, prefix: str) -> list[str]:
        found = []
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef) and not any("Protocol" in ast.dump(base) for base in child.bases):
                found += within(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append(f"{prefix}{child.name}")
        return found

    return [f"{file}:{name}" for file in FILES for name in within(ast.parse((ROOT / file).read_text()), "")]


@functools.cache
def name_of(code: CodeType) -> str:
    """As in functions(); "" for what is not ours."""
    return f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_qualname}" if code.co_filename.startswith(str(ROOT / "appliance")) else ""


def is_the_systems(frame: FrameType | None) -> bool:
    """Whether the event loop called it for the system, not for one of the simulated phones nor for the scene."""
    while frame is not None:
        if frame.f_code.co_filename.endswith("asyncio/events.py"):
            return True
        if "/tests/" in frame.f_code.co_filename:
            return False
        frame = frame.f_back
    return False


class Injected(Exception):
    pass


class Watch:
    """Sees every call of a function of the system; raises at the first one of `target`."""

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.seen: set[str] = set()
        self.raised = False

    def __call__(self, frame: FrameType, what: str, argument: Any) -> None:
        if what != "call" or self.raised:
            return
        name = name_of(frame.f_code)
        if self.target:
            if name == self.target and is_the_systems(frame):
                self.raised = True
                raise Injected(name)
        elif name and name not in self.seen and is_the_systems(frame):
            self.seen.add(name)


async def play(scene: Callable[[Box, Phone, Phone], Awaitable[None]], watch: Watch) -> None:
    snapshot = office("101", "102", "301", "302", "303", lines=2, ring_seconds=100)
    address._known.cache_clear()  # what is remembered of other scenes
    sdp._rtpmap.cache_clear()
    async with Box(snapshot) as box:
        a, b = await box.phone("101"), await box.phone("102")
        c, d, e = [await box.phone(number) for number in ("301", "302", "303")]
        innocent = await c.call("302")
        there = await d.incoming.get()
        for leg in box.engine.media.values():
            leg.last_seen_ms = 20
        waits: list[float] = []
        done = asyncio.Event()
        asking = asyncio.get_running_loop().create_task(ask(e, waits, done))
        sys.setprofile(watch)
        try:
            async with asyncio.timeout(3000):
                await scene(box, a, b)
        except Exception:  # the scene meets what the fault has left of its call
            if not watch.raised:
                raise
        finally:
            sys.setprofile(None)
        await box.seconds(2)
        done.set()
        await asking
        assert sum(wait > 0.3 for wait in waits) <= 1, f"others waited: {waits}"
        ended = [record for record in box.records if record.cause in (41, 102)]
        if not watch.raised:
            assert not list(box.exchange.faults)
        else:
            hurt = [record for record in ended if record.caller_number == "301"]
            assert hurt or not (innocent.ended or there.ended), "the call of others has ended"
        for phone in list(box.phones.values()):
            phone.on = True
            for call in phone.calls.values():
                if not call.ended or phone.stack.counters()["sessions"]:
                    call.hang_up()
        box.exchange.faults = Faults()


async def ask(phone: Phone, waits: list[float], done: asyncio.Event) -> None:
    """Somebody else, all the time: how long each question waits for its answer."""
    loop = asyncio.get_running_loop()
    while not done.is_set():
        begun = loop.time()
        response = await phone.request("REGISTER" if len(waits) % 2 else "OPTIONS", "sip:192.0.2.1")
        assert response.status in (200, 401, 500)
        waits.append(loop.time() - begun)
        await asyncio.sleep(0.25 if len(waits) < 40 else 5)


@functools.cache
def reached() -> dict[str, int]:
    """Function -> the first scene that reaches it."""
    found: dict[str, int] = {}
    for number, scene in enumerate(SCENES):
        watch = Watch()
        run(play(scene, watch))
        for name in watch.seen:
            found.setdefault(name, number)
    return found


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # what raises instead of taking it
@pytest.mark.parametrize("function", functions())
def test_a_fault_costs_one_call(function: str) -> None:
    if function in NOT_REACHED:
        assert function not in reached(), "the row is not needed any more"
        return
    assert function in reached(), "no scene reaches this function: add one, or a row that says why"
    watch = Watch(function)
    run(play(SCENES[reached()[function]], watch))
    assert watch.raised


def test_the_rows_name_functions_that_exist() -> None:
    assert set(NOT_REACHED) - set(functions()) == set()
    assert all(NOT_REACHED.values())
    assert events.Fault.__doc__


@pytest.mark.parametrize("request_", [cti.GetCalls(), cti.GetCounters(), cti.GetRegistrations(), cti.Applied(1), cti.GetSecurityEvents()])
def test_a_request_of_the_control_socket_that_meets_a_fault(request_: cti.Message) -> None:
    """It is answered and counted, and the next one is read."""

    async def scene() -> None:
        async with Box(office("101")) as box:
            process = object.__new__(CallsProcess)  # nothing of it is there
            with pytest.raises(AttributeError):
                await process._answer(request_, cti.Connection())
            process._board = types.SimpleNamespace(fault=box.exchange.fault)  # type: ignore[assignment]
            assert isinstance(await process._handle(request_, cti.Connection()), cti.Failed)
            assert box.exchange.faults.total == 1
            assert type(request_).__name__ in english().say(next(iter(box.exchange.faults)).message)
            box.exchange.faults = Faults()

    run(scene())
