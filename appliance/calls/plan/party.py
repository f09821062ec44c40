"""Who stands at a leg, and on whose account. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

LINKS = 8  # of an account: a ninth ends the call

Link = Literal["forward", "transfer", "redirect"]


class AccountExceeded(Exception):
    """The same number for the second time, or one link too many: the call goes in a circle. `number` is where it stood."""

    def __init__(self, number: str) -> None:
        super().__init__(f"the account of the call has {number} twice, or more than {LINKS} links")
        self.number = number


@dataclass(frozen=True, slots=True)
class Party:
    """What is shown on phones, pages and call records, and who answers for it.

    `account` is who has sent the call here, in order: each forward, transfer and 302 adds (kind, number). The last one pays and is asked
    for rights; with none it is the party itself.
    """

    number: str
    name: str = ""
    account: tuple[tuple[Link, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.number})" if self.name else self.number

    def sent_on(self, kind: Link, number: str) -> Party:
        """This party, sent on by `number`. AccountExceeded when it was there before, or has come too far."""
        if len(self.account) >= LINKS or any(each == number for _, each in self.account):
            raise AccountExceeded(number)
        return replace(self, account=(*self.account, (kind, number)))
