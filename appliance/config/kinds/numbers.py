"""What is dialled inside: extensions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, cast

from appliance.config.claims import EXTENSION, Claim, Destination
from appliance.config.declare import Choice, Duration, Kind, NumberPattern, Record, Records, Reference, Text
from appliance.config.kinds.system import Settings

Encrypt = Literal["required", "preferred", "off"]


class Extension(Record):
    number: Annotated[str, NumberPattern(12, re.compile(r"[0-9]{1,12}").fullmatch, examples=("100", "2345"))] = ""
    name: Annotated[str, Text(80)] = ""
    user: Annotated[str, Reference("user", gone="clear")] = ""
    encrypt: Annotated[Encrypt, Choice(Encrypt, tab="advanced")] = "preferred"
    ring_seconds: Annotated[int, Duration(5, 600, tab="advanced")] = 60


def _claims(extension: Extension) -> Iterable[tuple[str, Claim]]:
    return (("number", Claim(extension.number, Destination(EXTENSION, extension.id))),)


def next_number(records: Records) -> str:
    """The lowest unused extension number from the first one on."""
    first = cast(Settings, records.of("settings").get("settings", Settings())).first_extension
    number = int(first)
    while records.claims.find(str(number).zfill(len(first))) is not None:
        number += 1
    return str(number).zfill(len(first))


def _suggest(records: Records) -> Mapping[str, Any]:
    return {"number": next_number(records)}


EXTENSIONS = Kind(
    Extension,
    named_by="number",
    owned_by="user",
    group="telephones",
    place=20,
    icon="phone",
    columns=("number", "name", "user", "encrypt"),
    searched=("number", "name", "user"),
    claims=_claims,
    suggest=_suggest,
)
