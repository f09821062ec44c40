"""The kinds of records: one class and one row each, a file for what belongs together. Nothing else lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.config.declare import Kind
from appliance.config.kinds.devices import LINES
from appliance.config.kinds.numbers import EXTENSIONS
from appliance.config.kinds.people import USERS
from appliance.config.kinds.services import SERVICES
from appliance.config.kinds.system import SETTINGS

ROWS: tuple[Kind[Any], ...] = (SETTINGS, USERS, EXTENSIONS, LINES, SERVICES)
KINDS: Mapping[str, Kind[Any]] = {row.name: row for row in ROWS}
