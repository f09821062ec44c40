"""What stands in a leg, and how it moves: one state, moved by one table. What happens to it is written down here, so whoever owns it is only
woken (`Owner.woken`) and looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from appliance.calls.api import State
from appliance.calls.history.facts import Kind
from appliance.calls.history.quality import Quality
from appliance.calls.history.story import Story
from appliance.calls.legs.endpoint import Endpoint
from appliance.calls.legs.stream import Stream
from appliance.calls.plan.party import Link, Party
from appliance.calls.switchboard import Switchboard
from appliance.sip.text.sdp import Format

MOVES: dict[State, frozenset[State]] = {
    "null": frozenset({"initiated", "ended"}),
    "initiated": frozenset({"alerting", "connected", "ended"}),
    "alerting": frozenset({"connected", "ended"}),
    "connected": frozenset({"ended"}),
    "ended": frozenset(),
}


class Owner(Protocol):
    """The call a leg belongs to."""

    id: str
    story: Story

    @property
    def caller_leg(self) -> Any: ...
    def woken(self, leg: Any) -> None:
        """Something stands in the leg that was not there before."""

    def failed(self, error: BaseException) -> None:
        """A bug of ours, met while working for this leg."""


class Company(Protocol):
    """The bridge a leg is in, as the leg sees it."""

    @property
    def kind(self) -> str: ...
    @property
    def number(self) -> int: ...
    def partner(self, leg: Any) -> Any:
        """The one it talks to, None for none, several, or itself."""

    def muted(self, leg: Any) -> bool: ...
    def offered(self, leg: Any) -> bool:
        """Its phone offers something new; False: the answer has to wait."""

    def renegotiated(self, leg: Any) -> None: ...
    def connect(self, *, anew: bool = True) -> None: ...
    def resumed(self) -> None: ...
    def settled(self, leg: Any) -> None:
        """What it was to offer has been taken, or has come to nothing."""

    def pressed(self, leg: Any, digit: str) -> None:
        """A digit that does not come as sound or event."""

    def left(self, leg: Any) -> None: ...


class Standing(ABC):
    def __init__(
        self, board: Switchboard[Any, Any], owner: Owner | None, *, side: str, party: Party, endpoint: Endpoint, stream: Stream, incoming: bool, who: int
    ) -> None:  # fmt: skip
        self._board = board
        self.owner = owner
        self.side = side
        self.party = party
        self.endpoint = endpoint
        self.stream = stream
        self.incoming = incoming
        self.who = who
        self.slot: int | None = None
        self.area = board.turn.slots.legs
        self.state: State = "null"
        self.early_media = False
        self.session = ""
        self.status = 0  # the phone's final refusal
        self.progress = 0  # the last 18x
        self.ended_by = ""  # "peer", "system", "timeout", "fault"
        self.digits = ""
        self.quality = Quality()
        self.bridge: Company | None = None
        self.played = self.sent = 0  # serials of the last play and the last digits that have ended
        self.recorded: tuple[int, int, bool] = (0, 0, False)  # serial, milliseconds, failed
        self._wish: tuple[Format, ...] | None = None  # codecs it shall have
        self._offering = False
        self._tries = 0
        self._due = False  # the answer to their offer waits for the other leg
        self._told = ("", False)  # codec and encryption, as the story has them
        self.relay = ""  # digits of the other leg that are still to be sent to this phone; the first one is on its way
        self.relayed = 0  # how many of them have been sent
        self._missed = 0  # questions whether it is still there that had no answer

    def __repr__(self) -> str:
        return f"the leg of {self.party} ({self.state})"

    # ---- what the layers above do
    @abstractmethod
    def pack(self) -> bytes: ...

    @abstractmethod
    def timer(self, name: str, now: float) -> None: ...

    # ---- what it is
    @property
    def over(self) -> bool:
        return self.state == "ended"

    @property
    def answered(self) -> bool:
        return self.state == "connected"

    @property
    def held_by_them(self) -> bool:
        return self.answered and self.stream.held_by_them

    @property
    def partner(self) -> Any:
        return self.bridge.partner(self) if self.bridge is not None else None

    def opened(self) -> None:
        """Its slot, and the index of ports: from here on it exists."""
        self.slot = self.area.claim()
        self._board.ports[self.stream.port.id] = self
        self.tells(Kind.LEG, self.side, self.party.number, self.party.name)
        self.tells(Kind.FLOW, self.endpoint.address, self.endpoint.transport, self.endpoint.secure)
        self.tells(Kind.AGENT, self.endpoint.user_agent)
        self.tells(Kind.LINE, self.endpoint.line)
        self._changed()

    def _move(self, state: State) -> None:
        assert state in MOVES[self.state], f"{self.state} -> {state}"
        self.state = state
        self._changed()

    def _changed(self) -> None:
        self._board.turn.changed(self)

    def _woken(self) -> None:
        if self.owner is not None:
            self.owner.woken(self)

    def tells(self, kind: Kind, *values: Any) -> None:
        if self.owner is not None:
            self.owner.story.add(self._board.unix(), kind, self.who, *values)
            self._board.turn.changed(self.owner)  # type: ignore[arg-type]

    def belongs(self, owner: Owner, who: int) -> None:
        """It is another call's from now on, under this number in its story."""
        self.owner, self.who = owner, who
        self._changed()

    def sent_on(self, kind: Link, number: str) -> None:
        """AccountExceeded when it was there before."""
        self.party = self.party.sent_on(kind, number)
        self._changed()

    def enters(self, bridge: Company) -> None:
        self.bridge = bridge
        self._changed()

    def leaves(self) -> None:
        self.bridge = None
        self._changed()

    def _enter(self, session: str) -> None:
        self.session = session
        self._board.sessions[session] = self
        self._board.turn.driver.occupy(self.endpoint.flow.id, session)

    def _leave(self) -> None:
        """Its session is over."""
        if self.session:
            self._board.sessions.pop(self.session, None)
            self._board.turn.driver.vacate(self.session)
            self.session = ""
