"""One Via entry of a SIP message (RFC 3261 §20.42)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

from appliance.sip.errors import PeerError
from appliance.sip.text.uri import host_port, join_host, parse_params, write_params
from media_core import sip_plain

VIA = re.compile(r"SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*([A-Za-z0-9\-.!%*_+`'~]+)[ \t]+([^;]+)(?:;(.*))?", re.I | re.S)


class Via(Struct, frozen=True, gc=False):
    """One Via entry. `port` is 0 when sent-by has none; `rport` is None when absent, "" when asked for."""

    transport: str
    host: str
    port: int = 0
    params: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Via:
        if (plain := sip_plain.split_via(text)) is not None:
            return cls(*plain)
        match = VIA.fullmatch(text.strip(" \t"))
        if match is None:
            raise PeerError(400, "Malformed Via")
        host, port = host_port(match[2].strip(" \t"))
        return cls(match[1].upper(), host, port, parse_params(match[3]) if match[3] is not None else {})

    @property
    def branch(self) -> str:
        return self.params.get("branch", "")

    @property
    def sent_by(self) -> tuple[str, int]:
        return self.host, self.port or (5061 if self.transport == "TLS" else 5060)

    @property
    def received(self) -> str:
        return self.params.get("received", "")

    @property
    def rport(self) -> str | None:
        return self.params.get("rport")

    def __str__(self) -> str:
        return f"SIP/2.0/{self.transport} {join_host(self.host, self.port)}{write_params(self.params)}"
