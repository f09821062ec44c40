"""The PBX services as the office has them: one record per service folder, there from the start. Which there are, only the folders know."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from appliance.config.claims import SERVICE, Claim, Destination
from appliance.config.declare import Kind, NumberPattern, Record, TickBox
from appliance.config.folders import ROWS
from appliance.words import Said


class Service(Record):
    """`id` is the service's name."""

    on: Annotated[bool, TickBox()] = True
    number: Annotated[str, NumberPattern(12, re.compile(r"[*#0-9]{1,12}").fullmatch, examples=("*61", "700"))] = ""


def _claims(service: Service) -> Iterable[tuple[str, Claim]]:
    if service.on and service.number and service.id in ROWS:  # a stored one may be of a version that had more
        yield "number", Claim(service.number, Destination(SERVICE, service.id), ROWS[service.id].argument)


SERVICES = Kind(
    Service,
    always={name: Service(id=name, number=row.number) for name, row in ROWS.items()},
    named_by="number",
    words=lambda service: Said.of(f"{service.id}.title"),
    group="services",
    place=30,
    icon="apps",
    columns=("number", "on"),
    searched=("number",),
    claims=_claims,
)
