"""A telephone in a box whose every octet is the test's: for messages that no proper user agent writes."""

from __future__ import annotations

import asyncio

from appliance.sip.text.message import Malformed, Request, Response, parse
from tests.box import HOST, Box
from tests.box_phone import Phone


def read(data: bytes) -> Request | Response:
    """What came; of an answer that had to echo something malformed only the status."""
    try:
        return parse(data)
    except Malformed:
        return Response(int(data.split()[1]))


class Wire:
    """A phone that sends what the test wrote: with the answer to one challenge, and with ACK and BYE for a call."""

    def __init__(self, box: Box, phone: Phone) -> None:
        self._box, self._phone = box, phone
        self._number = 100
        self.received: asyncio.Queue[Request | Response] = asyncio.Queue()
        phone.receive = lambda flow, data: self.received.put_nowait(read(data))  # type: ignore[method-assign]

    async def send(self, text: str) -> Response:
        """The final answer."""
        answer = await self._send(text)
        if answer.status in (401, 407):
            self._acknowledge(text, answer)
            method, uri, _ = text.split("\n")[0].split(" ", 2)
            name, value = self._phone.credentials(answer, method, uri)
            text = text.replace("\nContact:", f"\n{name}: {value}\nContact:", 1)
            answer = await self._send(text)
        self._acknowledge(text, answer)
        return answer

    async def hang_up(self, text: str, answer: Response) -> None:
        self._number += 1
        lines = [self._via, *self._dialog(text, answer), f"CSeq: {self._number} BYE"]
        self._put(f"BYE sip:*60@{HOST} SIP/2.0", lines)
        assert (await self._final()).status == 200

    async def _send(self, text: str) -> Response:
        self._number += 1
        host, port = self._phone.flow.remote
        head, _, body = text.replace("{host}", host).replace("{port}", str(port)).replace("{number}", str(self._number)).partition("\n\n")
        self._put(head, [], body)
        return await self._final()

    async def _final(self) -> Response:
        while True:
            async with asyncio.timeout(40):
                message = await self.received.get()
            if isinstance(message, Response) and message.status >= 200:
                return message

    def _acknowledge(self, text: str, answer: Response) -> None:
        if (answer.get("CSeq") or "").rpartition(" ")[2] != "INVITE":
            return
        branch = str(answer.via) if answer.status >= 300 else self._via.removeprefix("Via: ").replace("branch=", "branch=z9hG4bKack")
        self._put(f"ACK {text.split(' ')[1]} SIP/2.0", [f"Via: {branch}", *self._dialog(text, answer), f"CSeq: {answer.cseq[0]} ACK"])

    @property
    def _via(self) -> str:
        host, port = self._phone.flow.remote
        return f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{self._number};rport"

    @staticmethod
    def _dialog(text: str, answer: Response) -> list[str]:
        names = ("From", "To", "Call-ID")
        return [*(f"{name}: {answer.get(name)}" for name in names), "Max-Forwards: 70"]

    def _put(self, head: str, lines: list[str], body: str = "") -> None:
        data = body.replace("\n", "\r\n").encode()
        text = "\r\n".join([*head.split("\n"), *lines, f"Content-Length: {len(data)}", "", ""])
        self._box.from_phone(self._phone.flow, text.encode() + data)
