"""Echo test: a short rising tone prompt, then whatever is said comes back. For checking a phone, its network and its SRTP."""

from __future__ import annotations

from appliance.calls.api import Call, NoState, Tone

PROMPT: tuple[Tone, ...] = ((523.25, 0, 150), (0, 0, 50), (659.25, 0, 150), (0, 0, 50), (783.99, 0, 300), (0, 0, 200))


async def script(call: Call, state: NoState) -> None:
    await call.answered(call.caller)
    await call.play(call.caller, PROMPT)
    await call.looped(call.caller)
