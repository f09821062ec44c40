"""Whose fault it is: the peer's (answered with a status and counted) or ours (a bug or a race of the caller)."""

from __future__ import annotations


class PeerError(Exception):
    """The peer sent something that cannot be taken; `status` and `reason` are the answer (RFC 3261 §21).

    `headers` are what the answer must carry (Unsupported, Allow, Min-SE, Warning).
    """

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.headers = headers


class UnusableAddress(PeerError):
    """A description names an address that media must not or cannot be sent to: 488."""

    def __init__(self, reason: str) -> None:
        super().__init__(488, reason)


class WrongState(Exception):
    """A command that does not fit: the session or transaction is over, or is not where this command makes sense."""
