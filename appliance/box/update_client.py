"""How the admin page and `switchroom update` reach the box's helper (appliance/box/privileged.py). On a machine that is not the appliance
there is none: `available` says so."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from appliance.words import Explained, Said

SOCKET = Path("/run/switchroom-helper.sock")
FOUND_AT_START = Path("/run/switchroom-boot")  # the start writes here what it found (image/initrd/init)
BLOCK = 1 << 18
PATIENCE = 600.0  # seconds; the other slot is read back before the answer


class HelperFailed(Explained):
    """What the helper says."""


def available() -> bool:
    return SOCKET.exists()


def damaged() -> tuple[str, ...]:
    """The data partitions that could not be mounted, of state and media: the box runs without what is on them."""
    return tuple(part for part in ("state", "media") if _found(part) == "broken")


def _found(part: str) -> str:
    with contextlib.suppress(OSError):
        return (FOUND_AT_START / part).read_text().strip()
    return ""


def ask(do: str, **words: Any) -> Any:
    """One request; HelperFailed with a sentence."""
    return _last(_converse({"do": do, **words}, ()), lambda row: None)


def send_update(blocks: Iterable[bytes], progress: Callable[[dict[str, Any]], None] = lambda row: None) -> str:
    """Stream a bundle into the other slot; returns its version. `progress` gets rows with what, done, total."""
    return str(_last(_converse({"do": "update"}, blocks), progress))


def _last(rows: Iterator[dict[str, Any]], progress: Callable[[dict[str, Any]], None]) -> Any:
    for row in rows:
        if "failed" in row:
            raise HelperFailed(msgspec.convert(row["failed"], Said))
        if "ok" in row:
            return row["ok"]
        progress(row)
    raise HelperFailed(Said("box.no-answer"))


def _converse(request: dict[str, Any], blocks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(SOCKET))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused: the reason is in the answer
                for block in blocks:
                    connection.sendall(block)
                connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise HelperFailed(Said.of("box.no-helper", error=error.strerror or str(error))) from None
        with connection.makefile("rb") as answers:
            for line in answers:
                yield json.loads(line)
