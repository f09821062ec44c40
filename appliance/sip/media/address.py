"""Where media may be sent: to one host's port that is not ours (RFC 5735, RFC 6890; S-16). Pure.

Decided where a description is read, so that a phone is told 488 and no call begins that could only be silent, or that would
make us shoot at a group, at everybody or at ourselves. The address 0.0.0.0 means "nowhere" (hold of RFC 2543) and is not asked here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from appliance.sip.errors import UnusableAddress

_NO_HOST = tuple(
    (ipaddress.ip_network(network), words)
    for network, words in (
        ("0.0.0.0/8", "no host's"),
        ("224.0.0.0/4", "a group's"),
        ("240.0.0.0/4", "no host's"),
        ("::/128", "no host's"),
        ("ff00::/8", "a group's"),
    )
)


def media_address(address: str, port: int, *, ours: str, signalling: str, owns: Callable[[int], bool]) -> str:
    """The address to send to, an IPv4-mapped one as IPv4; UnusableAddress (488) when media must not or cannot go there.

    `ours` is the address that phones are told, `signalling` the host that the description came from ("" unknown), `owns` says
    of a port whether it is one of our media ports. Loopback is for a phone that signals from this machine."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise UnusableAddress("The media address is no IP address") from None
    found = getattr(found, "ipv4_mapped", None) or found
    for network, words in _NO_HOST:
        if found in network:
            raise UnusableAddress(f"The media address {found} is {words}")
    if found.is_loopback and not _is_loopback(signalling):
        raise UnusableAddress(f"The media address {found} is only for a phone on this machine")
    if owns(port) and (found.is_loopback or str(found) == ours):
        raise UnusableAddress("The media address is one of this system's own")
    if found.version != (6 if ":" in ours else 4):
        raise UnusableAddress(f"This system reaches no IPv{found.version} address")
    return str(found)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
