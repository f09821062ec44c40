"""The verbs of a call script (calls/api.py) about sound, used by a script in the box; each also when the process is killed in the middle of it."""

from __future__ import annotations

import pytest

from appliance.calls import api
from appliance.calls.api import Cause, Files, NoState
from tests.box import Box
from tests.box_phone import Phone, PhoneCall
from tests.calls.scripted import TONES, Kept, press, restart, scene


@pytest.mark.parametrize("kills", [False, True])
def test_play_and_its_serial(kills: bool) -> None:
    heard: list[str] = []

    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        await call.play(call.caller, TONES)
        heard.append("tones")
        await call.play(call.caller, Files(("/music/one.wav", "/music/two.wav")))
        heard.append("files")

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        if kills:
            for _ in range(3):
                await restart(box)
        await box.seconds(10)
        assert call.ended, "a script that returns ends its call"
        assert call.final.result() == 200

    (record,) = scene(script, then)
    assert heard == ["tones", "files"] if not kills else heard[-1] == "files"
    assert (record.cause, record.hung_up_by) == (Cause.NORMAL, "system")


def test_what_has_been_played_is_not_played_again_after_a_restart() -> None:
    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        await call.play(call.caller, TONES)
        await call.play(call.caller, Files(("/a.wav",), loop=True))
        await call.looped(call.caller)

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        await box.seconds(3)
        assert box.leg_of(a).played == [*TONES, "/a.wav"]
        await restart(box)
        await box.seconds(3)
        assert box.leg_of(a).played == [*TONES, "/a.wav"]
        assert box.leg_of(a).peer == box.leg_of(a).id

    scene(script, then)


@pytest.mark.parametrize("kills", [False, True])
@pytest.mark.parametrize(("pressed", "found"), [("123", "123"), ("12#", "12"), ("1", "1"), ("", ""), ("12345", "123")])
def test_collect(kills: bool, pressed: str, found: str) -> None:
    collected: list[str] = []

    async def script(call: api.Call, state: Kept) -> None:
        await call.answered(call.caller)
        if not state.step:
            collected.append(await call.collect(call.caller, prompt=TONES, most=3, seconds=4, until="#"))
            state.step = 1
            call.keep(state)
        await call.looped(call.caller)

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        for digit in pressed:
            press(box, a, digit)
            if kills:
                await restart(box)
            await box.seconds(0.2)
        await box.seconds(6)
        assert box.engine.media, "it goes on"

    scene(script, then, state=Kept)
    assert collected[-1] == found
    assert set(collected) == {found}


def test_digits_by_info_and_in_the_sound_are_collected() -> None:
    collected: list[str] = []

    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        collected.append(await call.collect(call.caller, most=2))

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        info = {"session": call.session, "content_type": "application/dtmf-relay"}
        assert (await a.request("INFO", "", body=b"Signal=7", **info)).status == 200  # type: ignore[arg-type]
        press(box, a, "8")
        await box.seconds(1)
        assert call.ended

    scene(script, then)
    assert collected == ["78"]


@pytest.mark.parametrize("stop", ["digit", "time", "caller"])
@pytest.mark.parametrize("kills", [False, True])
def test_record(kills: bool, stop: str) -> None:
    lengths: list[float] = []

    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        lengths.append(await call.record(call.caller, "/recordings/one.wav", seconds=10, until="#"))

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        await box.seconds(2)
        leg = box.leg_of(a)
        assert leg.recording
        if kills:
            await restart(box)
            await box.seconds(1)
            assert leg.recording, "it is the same recording, which goes on"
        if stop == "digit":
            press(box, a, "#")
        elif stop == "caller":
            call.hang_up()
        await box.seconds(15)
        assert call.ended

    scene(script, then)
    if stop == "time":
        assert lengths[-1] == pytest.approx(10, abs=0.1)
    elif stop == "digit":
        assert 2 <= lengths[-1] <= 5
    else:
        assert lengths == []


@pytest.mark.parametrize("kills", [False, True])
def test_send_digits(kills: bool) -> None:
    async def script(call: api.Call, state: NoState) -> None:
        await call.answered(call.caller)
        await call.send_digits(call.caller, "0123456789")
        await call.looped(call.caller)

    async def then(box: Box, a: Phone, call: PhoneCall) -> None:
        if kills:
            await restart(box)
        await box.seconds(4)
        assert box.leg_of(a).digits == "0123456789"
        assert box.leg_of(a).peer == box.leg_of(a).id

    scene(script, then)
