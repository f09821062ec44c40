"""What holds for the whole system: the one record of settings."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable
from functools import cache
from typing import Annotated

from appliance.config import countries
from appliance.config.claims import EMERGENCY, Claim, Destination
from appliance.config.declare import Kind, Language, NumberPattern, Record, Text, TickBox


def _is_country(code: str) -> bool:
    return not code or code in countries.COUNTRIES


_zones = cache(zoneinfo.available_timezones)  # it looks through the whole folder of them


def _is_zone(name: str) -> bool:
    return not name or name in _zones()


class Settings(Record):
    completed: Annotated[bool, TickBox(hidden=True)] = False  # the first-run wizard has ended
    name: Annotated[str, Text(40)] = ""
    country: Annotated[str, Text(2, _is_country, examples=("", "DE"))] = ""
    language: Annotated[str, Language(none="browser")] = ""
    time_zone: Annotated[str, Text(64, _is_zone, examples=("", "Europe/Prague"))] = ""
    first_extension: Annotated[str, NumberPattern(6, re.compile(r"[0-9]{2,6}").fullmatch, examples=("100", "10"))] = "100"
    second_factor: Annotated[bool, TickBox()] = False
    realm: Annotated[str, Text(64, re.compile(r"[A-Za-z0-9.-]{1,64}").fullmatch, examples=("switchroom", "pbx.example.com"))] = "switchroom"


def _claims(settings: Settings) -> Iterable[tuple[str, Claim]]:
    for number in countries.emergency_numbers(settings.country):
        yield "country", Claim(number, Destination(EMERGENCY, number))


SETTINGS = Kind(
    Settings,
    plural="settings",
    always={"settings": Settings(id="settings")},
    group="system",
    place=5,
    icon="settings",
    claims=_claims,
)
