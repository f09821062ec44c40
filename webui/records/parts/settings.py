"""What the page of settings has by hand: countries to choose from, emergency numbers, and the addresses the system is reached at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.box import update_client
from appliance.config.countries import COUNTRIES, emergency_numbers, zones
from appliance.config.model import Record, Settings
from appliance.words import Said
from webui.desk import desk
from webui.forms import Option
from webui.records.parts import Part, Values
from webui.wording import countries, say, t
from webui.work import live

ADDRESSES = ("admin", "portal", "sip", "sips", "rtp")  # what an address of the running system is for


def _options(values: Values) -> Mapping[str, Sequence[Option]]:
    none = [] if values.get("country") else [Option("", say(Said("settings-page.choose")))]
    named = str(values.get("country", "")) in COUNTRIES
    zone = Option("", t("settings.zone-of-country") if named else t("settings.zone-of-machine"))
    return {
        "country": [*none, *(Option(code, name) for code, name in countries())],
        "time_zone": [zone, *(Option(name, name.replace("_", " ")) for name in zones())],
    }


def _given(record: Record | None, values: Values, wrong: Mapping[str, str], sent: Mapping[str, str]) -> Mapping[str, Any]:
    status = live.system(desk())
    told = status.addresses.items() if status else ()
    return {
        "emergency": emergency_numbers(str(values.get("country", ""))),
        "addresses": [(say(Said(f"settings-page.address-{name}")) if name in ADDRESSES else name, address) for name, address in told],
        "certificate": desk().certificate(),
        "box": update_client.available(),
    }


def _saved(before: Record | None, after: Record, form: Mapping[str, str]) -> str:
    if isinstance(before, Settings) and isinstance(after, Settings) and before.realm != after.realm:
        return say(Said.of("settings-page.new-realm", realm=after.realm))
    return ""


PART = Part(options=_options, given=_given, saved=_saved)
