"""Telephones: lines, each one SIP registration of an extension with its own credentials."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated

from appliance.config.declare import Kind, Problem, Record, Records, Reference, Secret, Text, all_of
from appliance.config.kinds.numbers import Extension
from appliance.words import Said

SHORTEST_SIP_PASSWORD = 12
MOST_LINES = 10  # of an extension
SIP_PASSWORD = re.compile(r"[!-~]*")  # what every phone's keypad, page and provisioning file can carry
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # for what stands in SIP addresses


class Line(Record):
    extension: Annotated[str, Reference("extension", gone="take along", required=True, hidden=True)] = ""
    sip_username: Annotated[str, Text(64, SAFE_NAME.fullmatch, examples=("100", "desk.2"))] = ""
    sip_password: Annotated[str, Secret(128, SIP_PASSWORD.fullmatch, made=True, examples=("hT7wq2-MnB4x", "k9!Vd3_sYp27xQ"))] = ""
    label: Annotated[str, Text(40, personal=True)] = ""


def _check(line: Line, rest: Records) -> Iterable[Problem]:
    extensions = all_of(rest, Extension)
    for other in rest.having("line", "sip_username", line.sip_username):
        owner = extensions.get(getattr(other, "extension", ""))
        number = owner.number if owner else "?"
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


def _rule(before: Line | None, after: Line | None, records: Records) -> Iterable[Problem]:
    """An extension has one line at least, and not too many."""
    extension = (after or before or Line()).extension
    if extension not in records.of("extension"):
        return  # it goes along, or the reference is told already
    count = sum(1 for _ in records.having("line", "extension", extension))
    if after is None and not count:
        yield Problem("", Said.of("extension.lines-least"))
    elif before is None and count > MOST_LINES:
        yield Problem("", Said.of("extension.lines-most", most=MOST_LINES))


def _first(extension: Extension, records: Records, secret: Callable[[], str]) -> Iterable[Line]:
    name = free_username(extension.number, records)
    yield Line(extension=extension.id, sip_username=name, sip_password=secret())


def free_username(number: str, records: Records) -> str:
    """The first SIP username made of a number that no line has: 100, 100-2, 100-3."""
    name, count = number, 1
    while any(True for _ in records.having("line", "sip_username", name)):
        count += 1
        name = f"{number}-{count}"
    return name


LINES = Kind(
    Line,
    named_by="sip_username",
    owned_by="extension",
    icon="device-landline-phone",
    parent="extension",
    place=22,
    columns=("sip_username", "label"),
    searched=("sip_username", "label"),
    check=_check,
    rule=_rule,
    with_new={"extension": _first},
)
