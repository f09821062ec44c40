"""To which port of its host a phone's answers go over UDP (RFC 3261 §18.2.2, RFC 3581). Pure.

Never to another host than the one the request came from: nobody can be made a target by what stands in Via. With rport to the port
it was sent from; without, to the port in Via, where a phone listens that sends from an ephemeral one. A row of SYMMETRIC says for whom
that cannot be right.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from appliance.sip.errors import PeerError
from appliance.sip.text.message import Request

_PRIVATE = tuple(
    ipaddress.ip_network(each)
    for each in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
LOWEST = 1024  # below are other services, to which no stranger shall have us send


@dataclass(frozen=True, slots=True)
class Quirk:
    why: str
    fits: Callable[[Request, str], bool]  # the request, and the host it came from


def _behind_nat(request: Request, host: str) -> bool:
    """Its own address is private, and not where the request came from: the port in Via is one behind the NAT."""
    try:
        own = ipaddress.ip_address(request.via.host.strip("[]"))
    except ValueError:
        return False
    return request.via.host != host and any(own in network for network in _PRIVATE)


SYMMETRIC: tuple[Quirk, ...] = (Quirk("a NAT passes only what comes back to the port it has opened", _behind_nat),)


def answer_port(request: Request, remote: tuple[str, int]) -> int:
    """For a request that came over UDP from `remote`; its own port when answers go back the way it came."""
    host, port = remote
    try:
        via = request.via
    except PeerError:  # the refusal of what cannot be read goes back the way it came
        return port
    if "rport" in via.params or any(quirk.fits(request, host) for quirk in SYMMETRIC):
        return port
    wanted = via.sent_by[1]
    return wanted if LOWEST <= wanted < 65536 else port
