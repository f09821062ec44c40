"""Who was refused last, why, and what to do about it. Pure: time is an argument.

Each kind of refusal has two sentences in the catalogue; `Refusals.add` is the only way in, for registrations and calls that are turned away and for
handshakes that fail. What names a line is kept for that line (its last one) and says later whether a phone has registered since;
a handshake names nobody, so it counts for the line that was last registered from that address, when there is exactly one. What
belongs to no line is kept per kind and address, so that one scanner is one entry with a count.

Bounds: one per line of the configuration, OTHERS besides; what a stranger sends is cut to NAME characters. No secret comes here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from appliance.words import Fact, Said

OTHERS = 50
NAME = 64
COALESCE = 300.0  # seconds in which the same refusal again is one with a count


KINDS = frozenset({
    "wrong password", "unknown user", "held back", "must use TLS", "no password", "another request", "another line", "too many phones",
    # what a TLS handshake fails for: media_core.HandshakeFailed says what the fact `detail` is
    "no common cipher", "old version", "certificate refused", "not TLS", "broken off",
})  # fmt: skip


def said(kind: str, facts: Mapping[str, Fact]) -> tuple[Said, Said]:
    """What happened; whose turn it is, and what to do. `account` is the SIP username tried, `number` the extension."""
    key = f"refused.{kind.lower().replace(' ', '-')}"
    return Said(key, dict(facts)), Said(f"{key}-repair")


@dataclass(frozen=True, slots=True)
class Refusal:
    time: float  # unix, of the last occurrence
    kind: str  # of KINDS
    address: tuple[str, int]  # where it came from
    line: str  # line id, "" when it belongs to none
    account: str  # SIP username, "" when none was said
    message: Said
    repair: Said
    count: int = 1
    over: float | None = None  # unix time at which a phone has registered for the line since


class Refusals:
    def __init__(self) -> None:
        self._of_line: dict[str, Refusal] = {}
        self._others: OrderedDict[tuple[str, str], Refusal] = OrderedDict()  # (kind, host)
        self._host_of: dict[str, str] = {}  # line -> where it was last registered from
        self._lines_at: dict[str, set[str]] = {}  # the same the other way round

    def add(
        self, kind: str, address: tuple[str, int], time: float, *, line: str = "", account: str = "", **facts: Fact
    ) -> bool:
        """`facts` are what the kind's sentence names. True when it is news and worth a line in the log."""
        account = account[:NAME]
        line = line or self._only_line_at(address[0])
        shown = {name: fact[:NAME] if isinstance(fact, str) else fact for name, fact in facts.items()}
        refusal = Refusal(time, kind, address, line, account, *said(kind, {"account": account, **shown}))
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
