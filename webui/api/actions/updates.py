"""Versions of the appliance, what a newer one left, restart, the support bundle. On a computer that is not the appliance, what is only of the
box is answered 404."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from flask import Response, request, send_file

from appliance.box import update_client
from appliance.box.update_client import HelperFailed
from appliance.config.admin import NotFound
from appliance.upkeep import aside
from appliance.upkeep import support as bundle
from appliance.version import VERSION
from appliance.words import Said
from webui.api.operations import Asked, Operations, moment
from webui.api.refusals import because
from webui.work import kept

operations = Operations(Said.of("api.updates"))


class Kept(msgspec.Struct):
    """A database that a newer version left. `unused`: rows that are not in use here."""

    name: str
    database: str
    until: datetime
    size: int
    rows: int
    unused: int


class Updates(msgspec.Struct):
    """`box`: what the box's helper says of versions, trial and restart; null on a computer that is no box."""

    version: str
    box: dict[str, Any] | None
    kept: list[Kept]


class Restart(msgspec.Struct, forbid_unknown_fields=True):
    """now, idle (when no call is up), an hour as HH:MM, or empty for no restart."""

    when: Annotated[str, msgspec.Meta(pattern="^(now|idle||([01][0-9]|2[0-3]):[0-5][0-9])$")]


class Installed(msgspec.Struct):
    version: str


def _helper(do: str, **words: Any) -> Any:
    if not update_client.available():
        raise NotFound
    try:
        return update_client.ask(do, **words)
    except HelperFailed as error:
        raise because(409, error) from None


@operations.add(
    "GET", "/updates", may="see update", said=Said.of("api.updates-facts"), answer=Updates, refuses=frozenset({409})
)
def facts(asked: Asked) -> Updates:
    box = _helper("status") if update_client.available() else None
    left = [
        Kept(one.name, one.database, moment(one.until), one.size, one.rows, one.unused)
        for one in aside.listing(Path(asked.here.boot.data))
    ]
    return Updates(VERSION, box, left)


@operations.add(
    "POST", "/updates/install", may="do update", said=Said.of("api.update-install"), raw="application/octet-stream", answer=Installed,
    refuses=frozenset({404, 409, 413}),
)  # fmt: skip
def install(asked: Asked) -> Installed:
    if not update_client.available():
        raise NotFound
    blocks = _blocks()
    try:
        return Installed(update_client.send_update(blocks))
    except HelperFailed as error:
        for _ in blocks:  # a client reads the answer only when it has sent everything
            pass
        raise because(409, error) from None


def _blocks() -> Iterator[bytes]:
    while block := request.stream.read(update_client.BLOCK):
        yield block


@operations.add(
    "POST",
    "/updates/restart",
    may="do update",
    said=Said.of("api.restart"),
    body=Restart,
    refuses=frozenset({404, 409}),
)
def restart(asked: Asked) -> None:
    _helper("restart", when=asked.body.when)


@operations.add("DELETE", "/updates/kept/{name}", may="do update", said=Said.of("api.kept-delete"))
def delete_kept(asked: Asked) -> None:
    if not kept.delete(asked.here, asked.caller.acting, asked.names["name"]):
        raise NotFound


@operations.add(
    "GET", "/updates/kept/{name}", may="do update", said=Said.of("api.kept-fetch"), kind="application/octet-stream"
)
def fetch_kept(asked: Asked) -> Response:
    file = kept.fetch(asked.here, asked.caller.acting, asked.names["name"])
    if file is None:
        raise NotFound
    return send_file(
        file, mimetype="application/octet-stream", as_attachment=True, download_name=f"{file.name}.sqlite3"
    )


@operations.add(
    "POST",
    "/updates/kept/{name}/add",
    may="do update",
    said=Said.of("api.kept-add"),
    status=202,
    refuses=frozenset({409}),
)
def add_kept(asked: Asked) -> None:
    if aside.find(Path(asked.here.boot.data), asked.names["name"]) is None:
        raise NotFound
    kept.add(asked.here, asked.caller.acting, asked.names["name"])


@operations.add(
    "POST",
    "/support",
    may="do system",
    said=Said.of("api.support"),
    kind="application/octet-stream",
    refuses=frozenset({404, 409}),
)
def support(asked: Asked) -> Response:
    made = Path(_helper("support")) if update_client.available() else bundle.write(Path(asked.here.boot.data))
    if not made.is_file():
        raise NotFound
    asked.caller.acting.note("settings", "settings", Said("journal.bundle"))
    return send_file(
        made, mimetype="application/octet-stream", as_attachment=True, download_name="switchroom-support.tar.gz"
    )
