"""What is dialled inside: extensions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from appliance.config.claims import EXTENSION, Claim, Destination
from appliance.config.declare import Choice, Duration, Kind, NumberPattern, Record, Reference, Text

Encrypt = Literal["required", "preferred", "off"]


class Extension(Record):
    number: Annotated[str, NumberPattern(12, re.compile(r"[0-9]{1,12}").fullmatch)] = ""
    name: Annotated[str, Text(80)] = ""
    user: Annotated[str, Reference("user", gone="clear")] = ""
    encrypt: Annotated[Encrypt, Choice(Encrypt)] = "preferred"
    ring_seconds: Annotated[int, Duration(5, 600)] = 60


def _claims(extension: Extension) -> Iterable[tuple[str, Claim]]:
    return (("number", Claim(extension.number, Destination(EXTENSION, extension.id))),)


EXTENSIONS = Kind(Extension, named_by="number", owned_by="user", claims=_claims)
