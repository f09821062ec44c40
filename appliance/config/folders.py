"""What the service folders say without their scripts: name, number, argument. Read once, by whoever needs to know which services there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

SERVICES = Path(__file__).parents[1] / "services"
ROW = "service.toml"
_NAME = re.compile(r"[a-z][a-z0-9]{0,19}")
_NUMBER = re.compile(r"[*#0-9]{1,12}")


class BrokenFolder(Exception):
    """A service folder cannot be used as it is: a bug of ours, told with the file."""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """service.toml. The folder's name is the service's for ever: it is kept in call slots, and the claim of its number names it."""

    number: str  # until the office gives it another one
    argument: Literal["", "number", "extension"] = ""  # what is dialled behind it (`claims.Claim.argument`)


def read(folder: Path = SERVICES) -> dict[str, Row]:
    """Service name to its row, in the order of names."""
    found = {}
    for file in sorted(folder.glob(f"*/{ROW}")):
        name = file.parent.name
        if not _NAME.fullmatch(name):
            raise BrokenFolder(f"{file.parent}: a service's name has small letters and digits, at most 20.")
        try:
            found[name] = msgspec.toml.decode(file.read_bytes(), type=Row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BrokenFolder(f"{file}: {error}") from None
        if not _NUMBER.fullmatch(found[name].number):
            raise BrokenFolder(f"{file}: a service's number has digits, * and #, at most 12.")
    return found


ROWS: Mapping[str, Row] = read()
