"""Countries as rows: what an office there expects of its telephone; their names stand in the catalogue. Pure. Tones after ITU-T E.180 supplement 2."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from datetime import UTC, tzinfo
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple


class Country(NamedTuple):
    emergency: tuple[str, ...]
    ring: tuple[int, int, tuple[int, ...]]  # two frequencies (Hz, the second may be 0), cadence on/off in ms
    zone: str  # time zone (IANA) of most people there


SEVERAL_ZONES = frozenset({"AU", "BR", "CA", "ES", "NZ", "PT", "US"})  # where the country alone does not tell the time

_EUROPE = (425, 0, (1000, 4000))
_BRITISH = (400, 450, (400, 200, 400, 2000))

COUNTRIES: Mapping[str, Country] = MappingProxyType(
    {
        "AT": Country(("112", "122", "133", "144"), (420, 0, (1000, 5000)), "Europe/Vienna"),
        "AU": Country(("000", "112"), (400, 425, (400, 200, 400, 2000)), "Australia/Sydney"),
        "BE": Country(("112", "100", "101"), (425, 0, (1000, 3000)), "Europe/Brussels"),
        "BR": Country(("190", "192", "193"), _EUROPE, "America/Sao_Paulo"),
        "CA": Country(("911",), (440, 480, (2000, 4000)), "America/Toronto"),
        "CH": Country(("112", "117", "118", "144"), _EUROPE, "Europe/Zurich"),
        "CZ": Country(("112", "150", "155", "158"), _EUROPE, "Europe/Prague"),
        "DE": Country(("112", "110"), _EUROPE, "Europe/Berlin"),
        "DK": Country(("112",), _EUROPE, "Europe/Copenhagen"),
        "EE": Country(("112",), _EUROPE, "Europe/Tallinn"),
        "ES": Country(("112",), (425, 0, (1500, 3000)), "Europe/Madrid"),
        "FI": Country(("112",), _EUROPE, "Europe/Helsinki"),
        "FR": Country(("112", "15", "17", "18"), (440, 0, (1500, 3500)), "Europe/Paris"),
        "GB": Country(("999", "112"), _BRITISH, "Europe/London"),
        "GR": Country(("112", "100"), _EUROPE, "Europe/Athens"),
        "HR": Country(("112",), _EUROPE, "Europe/Zagreb"),
        "HU": Country(("112", "104", "105", "107"), (425, 0, (1200, 3700)), "Europe/Budapest"),
        "IE": Country(("112", "999"), _BRITISH, "Europe/Dublin"),
        "IN": Country(("112",), (400, 0, (400, 200, 400, 2000)), "Asia/Kolkata"),
        "IT": Country(("112",), _EUROPE, "Europe/Rome"),
        "JP": Country(("110", "119"), (400, 0, (1000, 2000)), "Asia/Tokyo"),
        "LT": Country(("112",), _EUROPE, "Europe/Vilnius"),
        "LU": Country(("112",), _EUROPE, "Europe/Luxembourg"),
        "LV": Country(("112",), _EUROPE, "Europe/Riga"),
        "NL": Country(("112",), _EUROPE, "Europe/Amsterdam"),
        "NO": Country(("112", "110", "113"), _EUROPE, "Europe/Oslo"),
        "NZ": Country(("111",), _BRITISH, "Pacific/Auckland"),
        "PL": Country(("112",), _EUROPE, "Europe/Warsaw"),
        "PT": Country(("112",), (425, 0, (1000, 5000)), "Europe/Lisbon"),
        "RO": Country(("112",), (425, 0, (1850, 4150)), "Europe/Bucharest"),
        "SE": Country(("112",), (425, 0, (1000, 5000)), "Europe/Stockholm"),
        "SI": Country(("112", "113"), _EUROPE, "Europe/Ljubljana"),
        "SK": Country(("112",), _EUROPE, "Europe/Bratislava"),
        "US": Country(("911",), (440, 480, (2000, 4000)), "America/New_York"),
        "ZA": Country(("112", "10111", "10177"), _BRITISH, "Africa/Johannesburg"),
    }
)


def emergency_numbers(country: str) -> tuple[str, ...]:
    """The numbers that must always reach help there; 112 where no country is set (it works in every mobile network)."""
    return COUNTRIES[country].emergency if country in COUNTRIES else ("112",)


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """The names of time zones that somebody lives in, Europe/Berlin."""
    return tuple(sorted(name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/", "US/"))))


@lru_cache(maxsize=8)
def zone(name: str, country: str) -> tzinfo:
    """A time zone by its name; without one that of the country; without either that of this machine."""
    if not name and country in COUNTRIES:
        name = COUNTRIES[country].zone
    try:
        if name:
            return zoneinfo.ZoneInfo(name)
        with Path("/etc/localtime").open("rb") as file:
            return zoneinfo.ZoneInfo.from_file(file)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return UTC
