"""The torture messages of RFC 4475 and RFC 5118 sent to the whole system: what comes back to who has no password, and to a phone
that has signed this very message."""

from __future__ import annotations

import pytest

from appliance.config.model import Line, Snapshot
from tests.box import Box, office
from tests.clock import run
from tests.sip import torture, torture_ipv6
from tests.sip.torture import Torture

MESSAGES = [*torture.MESSAGES, *torture_ipv6.MESSAGES]

# An extension whose phone has the username that most of the messages name in To.
_OFFICE = office("101", "102")
_LINE = Line(id="l", extension="e101", sip_username="user", sip_password="secret-user")
OFFICE = Snapshot(1, {**_OFFICE.records, "line": {**_OFFICE.records["line"], "l": _LINE}})

# message -> final status without and with credentials, 0: nothing comes back. A row with 404 or 488 got as far as the number or the
# media, as any well-formed INVITE to nobody; 401 and 407 are the challenges.
VERDICTS: dict[str, tuple[int, int]] = {
    "wsinv": (481, 481), "intmeth": (400, 400), "intmeth without NUL": (405, 405), "esc01": (407, 484),
    "escnull": (400, 400), "esc02": (405, 405), "lwsdisp": (200, 200), "longreq": (407, 404), "dblreq": (401, 403),
    "semiuri": (200, 200), "transports": (200, 200), "mpart01": (405, 405), "unreason": (0, 0), "noreason": (0, 0),
    "badinv01": (400, 400), "clerr": (400, 400), "ncl": (400, 400), "scalar02": (400, 400), "scalarlg": (0, 0),
    "quotbal": (407, 404), "ltgtruri": (400, 400), "lwsruri": (400, 400), "lwsstart": (400, 400), "trws": (400, 400),
    "escruri": (407, 404), "baddate": (407, 404), "regbadct": (401, 400), "badaspec": (200, 200), "baddn": (200, 200),
    "badvers": (505, 505), "mismatch01": (400, 400), "mismatch02": (400, 400), "bigcode": (0, 0),
    "badbranch": (200, 200), "insuf": (400, 400), "unkscm": (416, 416), "novelsc": (416, 416), "unksm2": (416, 416),
    "bext01": (420, 420), "invut": (415, 415), "regaut01": (401, 200), "multi01": (400, 400), "mcl01": (400, 400),
    "bcast": (0, 0), "zeromf": (200, 200), "zeromf INVITE": (483, 483), "cparam01": (401, 200),
    "cparam02": (401, 200), "regescrt": (401, 200), "sdp01": (407, 404), "inv2543": (407, 404),
    "reference": (401, 200), "reference without brackets": (400, 400), "port within the brackets": (401, 200),
    "port behind the brackets": (401, 200), "received with brackets": (200, 200),
    "received without brackets": (200, 200), "description with IPv6": (407, 488), "Vias of both families": (481, 481),
    "descriptions of both families": (407, 488), "IPv4-mapped": (407, 404), "three colons": (200, 200),
    "two colons": (200, 200), "a zone": (200, 200), "an open bracket": (400, 400),
    "an open bracket in Via": (400, 400),
}  # fmt: skip


async def final(box: Box, data: bytes, *, signed: bool) -> int:
    """The final status that a phone gets for these bytes, 0 for silence."""
    phone = await box.phone("user", register=False)
    if signed:
        method, uri = (*data.decode("utf-8", "replace").split("\r\n")[0].split(" "), "")[:2]
        challenge = await phone.request("REGISTER", "sip:192.0.2.1")
        assert challenge.status == 401
        name, value = phone.credentials(challenge, method, uri)
        name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
        head, _, rest = data.partition(b"\r\n")
        data = head + b"\r\n" + f"{name}: {value}\r\n".encode() + rest
    answers: list[bytes] = []
    box.engine._send = lambda info, data: answers.append(data)  # at whatever port: many of them have a Via without rport
    box.from_phone(phone.flow, data)
    await box.seconds(40)
    statuses = {status for answer in answers if (status := int(answer.split()[1])) >= 200}
    assert len(statuses) <= 1, statuses
    return statuses.pop() if statuses else 0


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_without_and_with_credentials(message: Torture) -> None:
    async def scene() -> None:
        async with Box(OFFICE) as box:
            assert await final(box, message.data, signed=False) == VERDICTS[message.name][0]
        async with Box(OFFICE) as box:
            assert await final(box, message.data, signed=True) == VERDICTS[message.name][1]

    run(scene())
