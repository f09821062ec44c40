"""What the telephone system can do over SIP: the row that the stack is told, and the digits of SIP INFO."""

from __future__ import annotations

from appliance.sip.abilities import Abilities
from appliance.sip.text.message import Request

DIGITS = ("application/dtmf-relay", "application/dtmf")
SWITCHROOM = Abilities(
    methods=("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO", "UPDATE", "PRACK"),
    registration=("outbound",),
    info=DIGITS,
)


def info_digit(request: Request) -> str:
    """The digit of a SIP INFO of the old kind, "" when it is none."""
    text = request.body[:200].decode("ascii", "replace")
    if request.content_type == "application/dtmf":
        digit = text.strip()
    else:
        fields = dict(line.partition("=")[::2] for line in text.splitlines())
        digit = next((value.strip() for name, value in fields.items() if name.strip().lower() == "signal"), "")
    return digit.upper() if len(digit) == 1 and digit.upper() in "0123456789*#ABCD" else ""


def info_answer(request: Request, digit: str) -> tuple[int, list[tuple[str, str]]]:
    """Status and headers: an INFO without a body asks whether the call is still there; one that says something else is not understood."""
    return (200, []) if digit or not request.body else (415, [("Accept", ", ".join(DIGITS))])
