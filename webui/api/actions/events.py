"""What changes, told while it does (`webui.events`). Answered beside Flask, for a stream would keep one of its threads."""

from __future__ import annotations

from appliance.words import Said
from webui.api.operations import Operations

operations = Operations(Said.of("api.events"))
PATH = "/events"
operations.beside(
    "GET", PATH, name="events", may="see status", said=Said.of("api.events-help"), kind="text/event-stream"
)
