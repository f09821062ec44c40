"""Countries as rows: what an office there expects of its telephone; their names stand in the catalogue. Pure. Tones after ITU-T E.180 supplement 2."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Country(NamedTuple):
    emergency: tuple[str, ...]
    ring: tuple[int, int, tuple[int, ...]]  # two frequencies (Hz, the second may be 0), cadence on/off in ms


_EUROPE = (425, 0, (1000, 4000))
_BRITISH = (400, 450, (400, 200, 400, 2000))

COUNTRIES: Mapping[str, Country] = MappingProxyType(
    {
        "AT": Country(("112", "122", "133", "144"), (420, 0, (1000, 5000))),
        "AU": Country(("000", "112"), (400, 425, (400, 200, 400, 2000))),
        "BE": Country(("112", "100", "101"), (425, 0, (1000, 3000))),
        "BR": Country(("190", "192", "193"), _EUROPE),
        "CA": Country(("911",), (440, 480, (2000, 4000))),
        "CH": Country(("112", "117", "118", "144"), _EUROPE),
        "CZ": Country(("112", "150", "155", "158"), _EUROPE),
        "DE": Country(("112", "110"), _EUROPE),
        "DK": Country(("112",), _EUROPE),
        "EE": Country(("112",), _EUROPE),
        "ES": Country(("112",), (425, 0, (1500, 3000))),
        "FI": Country(("112",), _EUROPE),
        "FR": Country(("112", "15", "17", "18"), (440, 0, (1500, 3500))),
        "GB": Country(("999", "112"), _BRITISH),
        "GR": Country(("112", "100"), _EUROPE),
        "HR": Country(("112",), _EUROPE),
        "HU": Country(("112", "104", "105", "107"), (425, 0, (1200, 3700))),
        "IE": Country(("112", "999"), _BRITISH),
        "IN": Country(("112",), (400, 0, (400, 200, 400, 2000))),
        "IT": Country(("112",), _EUROPE),
        "JP": Country(("110", "119"), (400, 0, (1000, 2000))),
        "LT": Country(("112",), _EUROPE),
        "LU": Country(("112",), _EUROPE),
        "LV": Country(("112",), _EUROPE),
        "NL": Country(("112",), _EUROPE),
        "NO": Country(("112", "110", "113"), _EUROPE),
        "NZ": Country(("111",), _BRITISH),
        "PL": Country(("112",), _EUROPE),
        "PT": Country(("112",), (425, 0, (1000, 5000))),
        "RO": Country(("112",), (425, 0, (1850, 4150))),
        "SE": Country(("112",), (425, 0, (1000, 5000))),
        "SI": Country(("112", "113"), _EUROPE),
        "SK": Country(("112",), _EUROPE),
        "US": Country(("911",), (440, 480, (2000, 4000))),
        "ZA": Country(("112", "10111", "10177"), _BRITISH),
    }
)


def emergency_numbers(country: str) -> tuple[str, ...]:
    """The numbers that must always reach help there; 112 where no country is set (it works in every mobile network)."""
    return COUNTRIES[country].emergency if country in COUNTRIES else ("112",)
