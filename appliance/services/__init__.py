"""The service table: numbers that are answered by the system itself. A new service is a new file and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from appliance.calls.api import Service
from appliance.services import echo, extension

SERVICES: Mapping[str, Service] = {service.name: service for service in (echo.SERVICE,)}
# Every script by the destination it serves: a service's by its name, the others' by their kind.
SCRIPTS: Mapping[str, Service] = {**SERVICES, extension.SERVICE.name: extension.SERVICE}
