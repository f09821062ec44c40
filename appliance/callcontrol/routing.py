"""Where a dialled number goes. Pure: number, who calls and a snapshot in, a target out.

A target is one of three rows: ring an extension, serve by a service, refuse with a cause. Default deny: what no rule takes is
refused as unallocated. Digits are filtered before anything looks at them (only what a telephone can dial reaches a rule).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.callcontrol.api import Cause
from appliance.model import Extension, Snapshot

_DIALLABLE = re.compile(r"[0-9*#+A-Za-z._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Ring:
    extension: Extension


@dataclass(frozen=True, slots=True)
class Serve:
    service: str


@dataclass(frozen=True, slots=True)
class Refuse:
    cause: Cause
    status: int = 0  # 0: what the cause maps to
    warning: str = ""


Target = Ring | Serve | Refuse


def services_by_number(snapshot: Snapshot, settings_of: Mapping[str, str]) -> dict[str, str]:
    """Number → service name; `settings_of` is service name → field of Settings that holds its number."""
    numbers = {name: str(getattr(snapshot.settings, field)) for name, field in settings_of.items()}
    return {number: name for name, number in numbers.items() if number}


def route(dialled: str, caller: Extension, snapshot: Snapshot, settings_of: Mapping[str, str]) -> Target:
    """The target of a number dialled by an extension. Whether its phones are reachable is seen when they are rung."""
    if not _DIALLABLE.fullmatch(dialled):
        return Refuse(Cause.INVALID_NUMBER)
    if dialled in snapshot.emergency_numbers and not snapshot.reaches_emergency:
        return Refuse(Cause.NO_ROUTE, warning="No line to the outside: use another telephone")
    service = services_by_number(snapshot, settings_of).get(dialled)
    if service is not None:
        return Serve(service)
    extension = snapshot.extension_by_number.get(dialled)
    if extension is None:
        return Refuse(Cause.UNALLOCATED)
    if extension.id == caller.id:  # one's own number: the person is on this very phone
        return Refuse(Cause.BUSY)
    return Ring(extension)
