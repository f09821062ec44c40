"""Two telephones of the office: lines added on the admin page, reached through the emulator's forwarding, over TLS and SRTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from appliance.softphone import Account, PhoneCall, Softphone
from tests.image.browser import Browser
from tests.image.machine import Machine

LOW, HIGH = 697.0, 1209.0  # hertz; what the caller and the called phone play
NUMBERS = ("100", "101")
LIMIT = 120.0  # seconds


def phones_of(browser: Browser, box: Machine) -> list[Account]:
    """Add two extensions; their accounts."""
    logins = [browser.add_extension(number) for number in NUMBERS]
    return [account(box, browser, number, *login) for number, login in zip(NUMBERS, logins, strict=True)]


def account(box: Machine, browser: Browser, number: str, name: str, password: str) -> Account:
    def through(address: tuple[str, int]) -> tuple[str, int]:
        return "127.0.0.1", box.forward("udp", address[1])

    port = box.forward("tcp", 5061)
    return Account(
        "127.0.0.1", port, "TLS", number, name, password, str(browser.authority), "required", "10.0.2.2", "127.0.0.1", through
    )  # fmt: skip


@contextlib.asynccontextmanager
async def talking(accounts: list[Account]) -> AsyncIterator[tuple[PhoneCall, PhoneCall]]:
    """The first phone has called the second and each hears the other's tone: the calling and the called end."""
    async with contextlib.AsyncExitStack() as stack:
        phones = [
            Softphone(account, frequency=frequency) for account, frequency in zip(accounts, (LOW, HIGH), strict=True)
        ]
        for phone in phones:
            await phone.connect(LIMIT)
            stack.push_async_callback(phone.close)
            await phone.register(seconds=LIMIT)
        incoming = asyncio.create_task(phones[1].incoming(LIMIT))
        made = await phones[0].call(NUMBERS[1], LIMIT)
        taken = await incoming
        taken.answer()
        await made.wait(made.answered, LIMIT, "answered")
        assert await taken.hears(LOW, LIMIT), "the called phone hears the caller"
        assert await made.hears(HIGH, LIMIT), "the caller hears the called phone"
        yield made, taken
