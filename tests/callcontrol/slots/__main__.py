"""Writes down what a killed `calls` of the code at hand leaves: `python -m tests.callcontrol.slots NAME` makes
NAME.xz and NAME.json beside this file. To be run once for each released shape of the slots, and kept for ever:
`test_released_slots` has today's code find it.

NAME.xz is the whole memory, compressed. NAME.json is the rest of what outlives the process (connections, media legs)
and what the phones know: per call who dialled what, and per phone its dialog, as far as it has come: "confirmed",
"calling" (no final answer yet) or "ringing".
"""

from __future__ import annotations

import json
import lzma
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from appliance.sip.text.message import Request, Response, parse
from tests.box import Box, office
from tests.box_phone import EVENT, G722, PCMA, Phone, PhoneCall
from tests.clock import run

HERE = Path(__file__).parent
SENT: dict[Phone, list[Request | Response]] = defaultdict(list)  # by each phone
SECURE: dict[str, Any] = {"transport": "TLS", "srtp": "offer"}


async def phones(box: Box) -> dict[str, tuple[PhoneCall, list[PhoneCall]]]:
    """Calls of every kind, by name: the caller's side, and those of all phones that were rung."""

    async def there(user: str, **how: Any) -> Phone:
        phone = await box.phone(user, **how)

        def keep(data: bytes) -> bytes:
            SENT[phone].append(parse(data))
            return data

        phone.rewrite = keep
        return phone

    async def pair(
        a: str, b: str, caller: dict[str, Any], callee: dict[str, Any], lines: int = 1
    ) -> tuple[PhoneCall, list[PhoneCall]]:
        one = await there(a, **caller)
        others = [await there(b if line == 1 else f"{b}-{line}", **callee) for line in range(1, lines + 1)]
        call = one.dial(b)
        await box.seconds(4)
        return call, [await other.incoming.get() for other in others]

    calls = {
        "talking": await pair("101", "102", {}, {}),
        "talking, encrypted": await pair("103", "104", SECURE, SECURE),
        "echo": ((await (await there("105")).call("*60")), []),
        "transcoded": await pair("106", "107", {"codecs": (G722, EVENT)}, {"codecs": (PCMA, EVENT)}),
        "on hold": await pair("108", "109", {}, {}),
        "ringing": await pair("110", "111", {}, {"answer": "ring"}),
        "ringing three, encrypted": await pair("112", "113", SECURE, SECURE | {"answer": "ring"}, lines=3),
        "early media": await pair("114", "115", {}, {"answer": "ring", "early": True}),
        "over": await pair("116", "117", {}, {}),
    }
    for name in ("talking", "talking, encrypted", "on hold"):
        assert await calls[name][0].offer("sendonly") == 200
    await box.seconds(1)
    for name in ("talking", "talking, encrypted"):
        assert await calls[name][0].offer("sendrecv") == 200
    calls["echo, prompt"] = await (await there("118")).call("*60"), []
    return calls


def known(phone: Phone, call: PhoneCall) -> dict[str, Any]:
    """What this phone knows of its dialog with us, by what it has sent, and how far it has come."""
    facts: dict[str, Any] = {"user": phone.user, "flow": phone.flow.id}
    requests = [message for message in SENT[phone] if isinstance(message, Request)]
    responses = [message for message in SENT[phone] if isinstance(message, Response)]
    if call.final.done():
        last = requests[-1] if call.request is None else responses[-1]  # the caller's is an ACK
        mine, ours = (last.from_.tag, last.to.tag) if call.request is None else (last.to.tag, last.from_.tag)
        contact = next(each.contacts[0] for each in reversed(SENT[phone]) if each.contacts)
        seen = max((each.cseq[0] for each in responses), default=-1)
        facts |= {"state": "confirmed", "contact": str(contact.uri), "call_id": last.call_id}
        return facts | {"tag": mine, "our_tag": ours, "our_seq": seen}
    if call.request is not None:
        invite = call.request
        facts |= {"state": "ringing", "contact": invite.uri_text, "call_id": invite.call_id}
        return facts | {"our_tag": invite.from_.tag, "our_seq": invite.cseq[0], "branch": invite.via.branch}
    invite = next(each for each in reversed(requests) if each.method == "INVITE")
    facts |= {"state": "calling", "call_id": invite.call_id, "tag": invite.from_.tag}
    return facts | {"seq": invite.cseq[0], "branch": invite.via.branch}


async def write(name: str) -> None:
    box = Box(office(*(str(number) for number in range(101, 119)), lines=3))
    box.start()
    calls = await phones(box)
    over, _ = calls["over"]
    box._tasks[0].cancel()  # nobody writes call records any more
    over.hang_up()
    await box.seconds(0.5)
    assert box.records == []
    facts = {
        "unix": box.unix(),
        "flows": [[flow.id, flow.transport.name, flow.local, flow.remote, flow.cipher] for flow in box.engine.flows()],
        "media": [[leg.id, leg.port] for leg in box.engine.media.values()],
        "calls": {
            name: {
                "caller": call.phone.user, "dialled": call.number, "answered": call.final.done(),
                "phones": [known(each.phone, each) for each in (call, *others) if not each.ended],
            }
            for name, (call, others) in calls.items()
        },
    }  # fmt: skip
    for phone in box.phones.values():
        phone.stop()
    box.kill()
    memory = os.pread(box._fd, os.fstat(box._fd).st_size, 0)
    await box.seconds(0)
    box.engine.dispose()
    (HERE / f"{name}.xz").write_bytes(lzma.compress(memory, preset=9))
    (HERE / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    run(write(sys.argv[1]))
