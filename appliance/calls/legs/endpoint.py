"""How a leg can be reached: the line it belongs to, the ways to it, and what it may."""

from __future__ import annotations

from dataclasses import dataclass

import media_core
from appliance.config.model import Encrypt
from appliance.sip.text.uri import join_host


@dataclass(slots=True)
class Endpoint:
    """One phone of a line. `ways` are the flows to it in order: a leg tries the next one when the first says nothing."""

    line: str
    encrypt: Encrypt
    ways: list[media_core.FlowInfo]
    target: str = ""  # Request-URI of the phone, "" for one that calls us
    user_agent: str = ""

    @property
    def flow(self) -> media_core.FlowInfo:
        return self.ways[0]

    @property
    def secure(self) -> bool:
        return self.flow.transport == media_core.Transport.TLS

    @property
    def address(self) -> str:
        return join_host(*self.flow.remote)

    @property
    def transport(self) -> str:
        return media_core.Transport(self.flow.transport).name

    def moved(self, flow: media_core.FlowInfo) -> None:
        """The phone has come back on another flow."""
        self.ways[0] = flow

    def next_way(self) -> bool:
        """Go on with the next one; False: there is none."""
        if len(self.ways) < 2:
            return False
        del self.ways[0]
        return True
