"""The secret half of an API key: made here, and in no other answer."""

from __future__ import annotations

import msgspec

from appliance.words import Said
from webui.api.operations import Asked, Operations

operations = Operations(Said.of("kind.api-key-many"))


class IssuedKey(msgspec.Struct):
    """What a program sends as Authorization: Bearer KEY. The one before is none any more."""

    key: str


@operations.add("POST", "/api-keys/{id}/key", may="change api-key", said=Said.of("api.issue-key"), answer=IssuedKey)
def issue(asked: Asked) -> IssuedKey:
    return IssuedKey(asked.caller.acting.issue_key(asked.names["id"]))
