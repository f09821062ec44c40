"""Who was refused last, why, and what to do about it. Pure: time is an argument.

One row per kind of refusal in KINDS; `Refusals.add` is the only way in, for registrations and calls that are turned away and for
handshakes that fail. What names a line is kept for that line (its last one) and says later whether a phone has registered since;
a handshake names nobody, so it counts for the line that was last registered from that address, when there is exactly one. What
belongs to no line is kept per kind and address, so that one scanner is one entry with a count.

Bounds: one per line of the configuration, OTHERS besides; what a stranger sends is cut to NAME characters. No secret comes here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

OTHERS = 50
NAME = 64
COALESCE = 300.0  # seconds in which the same refusal again is one with a count


@dataclass(frozen=True, slots=True)
class Kind:
    said: str  # what happened: format fields are the facts given to `add`
    repair: str  # whose turn it is, and what to do


# The page, `switchroom status` and the log say these words. {account} is the SIP username tried, {number} the extension.
KINDS: Mapping[str, Kind] = {
    "wrong password": Kind(
        "The phone tried to {doing} as {account!r} with a wrong SIP password.",
        "Enter the line's SIP password in the phone, as its key icon shows it.",
    ),
    "unknown user": Kind(
        "A phone tried to {doing} as {account!r}, but no line has this SIP username.",
        "Compare the user name and login name in the phone with the line's SIP username.",
    ),
    "held back": Kind(
        "After several wrong passwords for {account!r} from this phone it has to wait {seconds} s before the next one is looked at.",
        "Correct the SIP password in the phone; it gets in with its next attempt after that.",
    ),
    "must use TLS": Kind(
        "The phone of extension {number} came over {transport}, but the extension requires encryption.",
        "Set the phone to TLS, or the extension's encryption to preferred.",
    ),
    "no password": Kind(
        "The phone tried to {doing} as {account!r} again and again, but never answers the question for its password.",
        "Enter the line's SIP password in the phone, and check that digest authentication (MD5 or SHA-256) is not switched off there.",
    ),
    "another request": Kind(
        "The phone tried to {doing} as {account!r} with the right SIP password, but answered for another address than it asked.",
        "Enter one and the same server, and no proxy besides, in the phone.",
    ),
    "another line": Kind(
        "The phone has the password of {account!r}, but tried to register as {wanted!r}.",
        "Enter the line's SIP username as user name and as login name in the phone.",
    ),
    "too many phones": Kind(
        "The line {account!r} cannot take more phones: as many as it can have are in calls, or this one names too many contacts.",
        "Give this phone a line of its own.",
    ),
    # what a TLS handshake fails for: media_core.HandshakeFailed says what {detail} is
    "no common cipher": Kind(
        "The phone and this system have no cipher in common for TLS ({detail}).",
        "Update the phone's firmware: TLS 1.2 with ECDHE and AES-GCM is needed.",
    ),
    "old version": Kind(
        "The phone offers {detail} at most, which is no longer safe.",
        "Update the phone's firmware, or switch TLS 1.2 on in it.",
    ),
    "certificate refused": Kind(
        "The phone does not accept this system's certificate ({detail}).",
        "Install the authority from the page Encryption in the phone, and have it call the system by a name or address in the certificate.",
    ),
    "not TLS": Kind(
        "What came to the port for TLS is no TLS.",
        "Set the phone's transport to TLS, or its port to the one for UDP and TCP.",
    ),
    "broken off": Kind(
        "The phone broke the TLS handshake off ({detail}).",
        "Install the authority from the page Encryption in the phone, and check its clock.",
    ),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    time: float  # unix, of the last occurrence
    kind: str  # of KINDS
    address: tuple[str, int]  # where it came from
    line: str  # line id, "" when it belongs to none
    account: str  # SIP username, "" when none was said
    message: str
    repair: str
    count: int = 1
    over: float | None = None  # unix time at which a phone has registered for the line since


class Refusals:
    def __init__(self) -> None:
        self._of_line: dict[str, Refusal] = {}
        self._others: OrderedDict[tuple[str, str], Refusal] = OrderedDict()  # (kind, host)
        self._host_of: dict[str, str] = {}  # line -> where it was last registered from
        self._lines_at: dict[str, set[str]] = {}  # the same the other way round

    def add(
        self, kind: str, address: tuple[str, int], time: float, *, line: str = "", account: str = "", **facts: object
    ) -> bool:
        """`facts` are what the row's sentence names. True when it is news and worth a line in the log."""
        row = KINDS[kind]
        account = account[:NAME]
        line = line or self._only_line_at(address[0])
        shown = {name: fact[:NAME] if isinstance(fact, str) else fact for name, fact in facts.items()}
        message = row.said.format(account=account, **shown)
        refusal = Refusal(time, kind, address, line, account, message, row.repair)
        key = (kind, address[0])
        old = self._of_line.get(line) if line else self._others.pop(key, None)
        again = old is not None and (old.kind, old.address[0], old.over) == (kind, address[0], None)
        if old is not None and again:
            refusal = replace(refusal, count=old.count + 1)
        if line:
            self._of_line[line] = refusal
        else:
            self._others[key] = refusal
            if len(self._others) > OTHERS:
                self._others.popitem(last=False)
        return old is None or not again or time - old.time > COALESCE

    def registered(self, line: str, host: str, time: float) -> None:
        """A phone has registered for the line: what was refused before is over."""
        self._move(line, host)
        refusal = self._of_line.get(line)
        if refusal is not None and refusal.over is None:
            self._of_line[line] = replace(refusal, over=time)

    def last_of(self, line: str) -> Refusal | None:
        return self._of_line.get(line)

    def last(self) -> list[Refusal]:
        """All, newest first."""
        return sorted((*self._of_line.values(), *self._others.values()), key=lambda one: -one.time)

    def keep(self, lines: Collection[str]) -> None:
        """Forget the lines that are no longer there."""
        for line in [line for line in self._of_line if line not in lines]:
            del self._of_line[line]
        for line in [line for line in self._host_of if line not in lines]:
            self._move(line, "")

    def _only_line_at(self, host: str) -> str:
        lines = self._lines_at.get(host, ())
        return next(iter(lines)) if len(lines) == 1 else ""

    def _move(self, line: str, host: str) -> None:
        before = self._host_of.pop(line, "")
        if before:
            self._lines_at[before].discard(line)
            if not self._lines_at[before]:
                del self._lines_at[before]
        if host:
            self._host_of[line] = host
            self._lines_at.setdefault(host, set()).add(line)
