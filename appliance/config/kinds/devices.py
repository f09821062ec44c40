"""Telephones: lines, each one SIP registration of an extension with its own credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from appliance.config.declare import Kind, Problem, Record, Records, Reference, Secret, Text, all_of
from appliance.config.kinds.numbers import Extension
from appliance.words import Said

SHORTEST_SIP_PASSWORD = 12
SIP_PASSWORD = re.compile(r"[!-~]*")  # what every phone's keypad, page and provisioning file can carry
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # for what stands in SIP addresses


class Line(Record):
    extension: Annotated[str, Reference("extension", gone="take along", required=True, hidden=True)] = ""
    sip_username: Annotated[str, Text(64, SAFE_NAME.fullmatch)] = ""
    sip_password: Annotated[str, Secret(128, SIP_PASSWORD.fullmatch)] = ""
    label: Annotated[str, Text(40, personal=True)] = ""


def _check(line: Line, rest: Records) -> Iterable[Problem]:
    extensions = all_of(rest, Extension)
    for other in all_of(rest, Line).values():
        if other.sip_username == line.sip_username:
            number = extensions[other.extension].number if other.extension in extensions else "?"
            yield Problem("sip_username", Said.of("line.sip-username-taken", name=line.sip_username, number=number))
            break
    extension = extensions.get(line.extension)
    names = (line.sip_username, extension.number if extension else "")
    if len(line.sip_password) < SHORTEST_SIP_PASSWORD or any(
        name and not line.sip_password.replace(name, "") for name in names
    ):
        yield Problem("sip_password", Said.of("line.sip-password-weak", least=SHORTEST_SIP_PASSWORD))
    elif len(set(line.sip_password)) < 4:
        yield Problem("sip_password", Said.of("line.sip-password-few"))


LINES = Kind(Line, named_by="sip_username", owned_by="extension", check=_check)
