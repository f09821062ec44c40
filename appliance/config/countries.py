"""Countries as rows: what an office there expects of its telephone. Pure. Tones after ITU-T E.180 supplement 2."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Country(NamedTuple):
    name: str
    emergency: tuple[str, ...]
    ring: tuple[int, int, tuple[int, ...]]  # two frequencies (Hz, the second may be 0), cadence on/off in ms


_EUROPE = (425, 0, (1000, 4000))
_BRITISH = (400, 450, (400, 200, 400, 2000))

COUNTRIES: Mapping[str, Country] = MappingProxyType(
    {
        "AT": Country("Austria", ("112", "122", "133", "144"), (420, 0, (1000, 5000))),
        "AU": Country("Australia", ("000", "112"), (400, 425, (400, 200, 400, 2000))),
        "BE": Country("Belgium", ("112", "100", "101"), (425, 0, (1000, 3000))),
        "BR": Country("Brazil", ("190", "192", "193"), _EUROPE),
        "CA": Country("Canada", ("911",), (440, 480, (2000, 4000))),
        "CH": Country("Switzerland", ("112", "117", "118", "144"), _EUROPE),
        "CZ": Country("Czechia", ("112", "150", "155", "158"), _EUROPE),
        "DE": Country("Germany", ("112", "110"), _EUROPE),
        "DK": Country("Denmark", ("112",), _EUROPE),
        "EE": Country("Estonia", ("112",), _EUROPE),
        "ES": Country("Spain", ("112",), (425, 0, (1500, 3000))),
        "FI": Country("Finland", ("112",), _EUROPE),
        "FR": Country("France", ("112", "15", "17", "18"), (440, 0, (1500, 3500))),
        "GB": Country("United Kingdom", ("999", "112"), _BRITISH),
        "GR": Country("Greece", ("112", "100"), _EUROPE),
        "HR": Country("Croatia", ("112",), _EUROPE),
        "HU": Country("Hungary", ("112", "104", "105", "107"), (425, 0, (1200, 3700))),
        "IE": Country("Ireland", ("112", "999"), _BRITISH),
        "IN": Country("India", ("112",), (400, 0, (400, 200, 400, 2000))),
        "IT": Country("Italy", ("112",), _EUROPE),
        "JP": Country("Japan", ("110", "119"), (400, 0, (1000, 2000))),
        "LT": Country("Lithuania", ("112",), _EUROPE),
        "LU": Country("Luxembourg", ("112",), _EUROPE),
        "LV": Country("Latvia", ("112",), _EUROPE),
        "NL": Country("Netherlands", ("112",), _EUROPE),
        "NO": Country("Norway", ("112", "110", "113"), _EUROPE),
        "NZ": Country("New Zealand", ("111",), _BRITISH),
        "PL": Country("Poland", ("112",), _EUROPE),
        "PT": Country("Portugal", ("112",), (425, 0, (1000, 5000))),
        "RO": Country("Romania", ("112",), (425, 0, (1850, 4150))),
        "SE": Country("Sweden", ("112",), (425, 0, (1000, 5000))),
        "SI": Country("Slovenia", ("112", "113"), _EUROPE),
        "SK": Country("Slovakia", ("112",), _EUROPE),
        "US": Country("United States", ("911",), (440, 480, (2000, 4000))),
        "ZA": Country("South Africa", ("112", "10111", "10177"), _BRITISH),
    }
)


def emergency_numbers(country: str) -> tuple[str, ...]:
    """The numbers that must always reach help there; 112 where no country is set (it works in every mobile network)."""
    return COUNTRIES[country].emergency if country in COUNTRIES else ("112",)
