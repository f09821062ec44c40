"""How phones and programs know that they talk to this box."""

from __future__ import annotations

from datetime import datetime

import msgspec
from flask import Response

from appliance.config.admin import NotFound
from appliance.words import Said
from webui.api.operations import Asked, Operations, moment

operations = Operations(Said.of("api.encryption"))


class Encryption(msgspec.Struct):
    """Fingerprints are SHA-256."""

    authority_fingerprint: str
    server_fingerprint: str
    rsa_fingerprint: str
    valid_until: datetime
    names: list[str]


@operations.add(
    "GET",
    "/encryption",
    may="see extension",
    said=Said.of("api.encryption-facts"),
    answer=Encryption,
    refuses=frozenset({404}),
)
def facts(asked: Asked) -> Encryption:
    found = asked.here.certificate()
    if found is None:
        raise NotFound
    return Encryption(
        found.authority_fingerprint,
        found.server_fingerprint,
        found.rsa_fingerprint or "",
        moment(found.valid_until),
        list(found.names),
    )


@operations.add(
    "GET", "/encryption/authority", may="see extension", said=Said.of("api.authority"), kind="application/octet-stream",
    refuses=frozenset({404}),
)  # fmt: skip
def authority(asked: Asked) -> Response:
    found = asked.here.certificate()
    if found is None:
        raise NotFound
    return Response(found.authority_file.read_bytes(), mimetype="application/octet-stream")
