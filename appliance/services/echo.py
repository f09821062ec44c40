"""Echo test: a short rising tone prompt, then whatever is said comes back. For checking a phone, its network and its SRTP."""

from __future__ import annotations

from appliance.callcontrol.api import Call, Service, Tone

PROMPT: tuple[Tone, ...] = ((523.25, 0, 150), (0, 0, 50), (659.25, 0, 150), (0, 0, 50), (783.99, 0, 300), (0, 0, 200))


async def script(call: Call) -> None:
    if not call.step:
        await call.answer()
        call.reached("prompt")
    if call.step == "prompt":
        await call.play(call.caller, PROMPT)
        call.connect(call.caller, call.caller)
        call.reached("echo")
    await call.talk()


SERVICE = Service(name="echo", title="Echo test", script=script)
