"""A call to an extension: its phones ring, and who answers first talks with the caller."""

from __future__ import annotations

from appliance.calls.api import Call, NoState


async def script(call: Call, state: NoState) -> None:
    leg = await call.ringing(call.target)
    await call.bridged(call.caller, leg)
