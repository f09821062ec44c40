"""The face of the configuration's records for everybody else: the snapshot, the kinds, and what is asked of them."""

from __future__ import annotations

from appliance.config.declare import Kind, Problem, Record, Refused
from appliance.config.kinds import KINDS
from appliance.config.kinds.devices import Line
from appliance.config.kinds.numbers import Encrypt, Extension, next_number
from appliance.config.kinds.people import ApiKey, Role, User, login_name
from appliance.config.kinds.services import Service
from appliance.config.kinds.system import Settings
from appliance.config.snapshot import (
    Change,
    Snapshot,
    check,
    destinations,
    find,
    make,
    name_of,
    owner,
    service_number,
    services,
    without,
)

__all__ = [
    "KINDS",
    "ApiKey",
    "Change",
    "Encrypt",
    "Extension",
    "Kind",
    "Line",
    "Problem",
    "Record",
    "Refused",
    "Role",
    "Service",
    "Settings",
    "Snapshot",
    "User",
    "check",
    "destinations",
    "find",
    "login_name",
    "make",
    "name_of",
    "next_number",
    "owner",
    "service_number",
    "services",
    "without",
]
