"""Where media may be sent: to one host's port that is not ours (RFC 5735, RFC 6890; S-16). Pure.

Decided where a description is read, so that a phone is told 488 and no call begins that could only be silent, or that would
make us shoot at a group, at everybody or at ourselves. The address 0.0.0.0 means "nowhere" (hold of RFC 2543) and is not asked here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

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
    found = _known(address)
    if not found.text:
        raise UnusableAddress("The media address is no IP address")
    if found.no_host:
        raise UnusableAddress(f"The media address {found.text} is {found.no_host}")
    if found.is_loopback and not _known(signalling).is_loopback:
        raise UnusableAddress(f"The media address {found.text} is only for a phone on this machine")
    if owns(port) and (found.is_loopback or found.text == ours):
        raise UnusableAddress("The media address is one of this system's own")
    if found.version != (6 if ":" in ours else 4):
        raise UnusableAddress(f"This system reaches no IPv{found.version} address")
    return found.text


class _Known(NamedTuple):
    text: str = ""  # "": it is no IP address
    version: int = 0
    is_loopback: bool = False
    no_host: str = ""  # whose it is instead


@lru_cache(4096)
def _known(address: str) -> _Known:
    """The same phones call again and again."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return _Known()
    found = getattr(found, "ipv4_mapped", None) or found
    no_host = next((words for network, words in _NO_HOST if found in network), "")
    return _Known(str(found), found.version, found.is_loopback, no_host)
