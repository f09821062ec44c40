"""What the licence counts and allows, a new one; and the licences of what this product is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from appliance.box import notices
from appliance.config.admin import NotFound
from appliance.config.licensing import LARGEST_FILE, BadLicence
from appliance.config.model import Problem, Refused
from appliance.host import entitlement
from appliance.words import Said
from webui.api.operations import Asked, Operations

operations = Operations(Said.of("api.licence"))
ASSETS = Path(__file__).parents[2] / "static" / "vendor"


class Licence(msgspec.Struct):
    """Dates are ISO 8601, null where there is none."""

    box: str
    edition: str
    users: int
    users_allowed: int
    users_left: int
    extensions: int
    extensions_allowed: int
    extensions_left: int
    expires: str | None
    maintenance_until: str | None
    sentence: str
    note: str


class LicenceFile(msgspec.Struct, forbid_unknown_fields=True):
    """The text of the file."""

    file: Annotated[str, msgspec.Meta(min_length=1, max_length=LARGEST_FILE)]


class Part(msgspec.Struct):
    kind: str
    name: str
    version: str
    licences: str


class Parts(msgspec.Struct):
    items: list[Part]


class PartText(msgspec.Struct):
    kind: str
    name: str
    text: str


@operations.add("GET", "/licence", may="see licence", said=Said.of("api.licence-facts"), answer=Licence)
def facts(asked: Asked) -> Licence:
    usage = asked.caller.acting.licence_usage()
    limits = usage.limits
    return Licence(
        box=asked.here.box_id,
        edition=limits.edition,
        users=usage.users,
        users_allowed=limits.users,
        users_left=usage.users_left,
        extensions=usage.extensions,
        extensions_allowed=limits.extensions,
        extensions_left=usage.extensions_left,
        expires=limits.expires.isoformat() if limits.expires else None,
        maintenance_until=limits.maintenance_until.isoformat() if limits.maintenance_until else None,
        sentence=asked.say(usage.words),
        note=asked.say(limits.note),
    )


@operations.add(
    "POST", "/licence", may="change licence", said=Said.of("api.licence-install"), body=LicenceFile, answer=Licence
)
def install(asked: Asked) -> Licence:
    try:
        entitlement.install(Path(asked.here.boot.data), asked.body.file, asked.caller.acting)
    except BadLicence as error:
        raise Refused(Problem("file", error.said)) from None
    return facts(asked)


@operations.add("GET", "/licences", may="", said=Said.of("api.parts"), answer=Parts)
def parts(asked: Asked) -> Parts:
    return Parts([Part(one.kind, one.name, one.version, one.licences) for one in notices.parts(ASSETS)])


@operations.add("GET", "/licences/{kind}/{name}", may="", said=Said.of("api.part-text"), answer=PartText)
def part_text(asked: Asked) -> PartText:
    kind, name = asked.names["kind"], asked.names["name"]
    found = next((one for one in notices.parts(ASSETS) if (one.kind, one.name) == (kind, name)), None)
    if found is None:
        raise NotFound
    return PartText(kind, name, notices.text_of(found, ASSETS))
