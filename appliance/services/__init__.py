"""The service table: numbers that are answered by the system itself. A new service is a new file and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.callcontrol.api import Service
from appliance.services import echo

SERVICES: Mapping[str, Service] = {service.name: service for service in (echo.SERVICE,)}
