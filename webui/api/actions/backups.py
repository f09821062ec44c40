"""Backups: make one, fetch it, put one in the place of what is there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from flask import Response, request, send_file

from appliance.box import update_client
from appliance.box.update_client import HelperFailed
from appliance.config.admin import NotFound
from appliance.upkeep.backup import BadBackup, Restored
from appliance.words import Said
from webui.api.actions.live import Sentence, sentence
from webui.api.operations import Asked, Operations, moment
from webui.api.refusals import because
from webui.work import backups, nightly

operations = Operations(Said.of("api.backups"))
HEADER = "Backup-Passphrase"


class Work(msgspec.Struct):
    """What is being made now, or was last."""

    finished: bool
    percent: int
    result: Sentence | None
    problem: Sentence | None


class Fetchable(msgspec.Struct):
    """A finished backup."""

    name: str
    size: int
    made: datetime


class KeptState(msgspec.Struct):
    """What was in use before a restore."""

    name: str
    made: datetime


class Scheduled(msgspec.Struct):
    """The scheduled backups, as of the last run; what is not known yet is null."""

    running: bool
    made: datetime | None
    file: str
    size: int
    failed: Sentence | None


class Backups(msgspec.Struct):
    scheduled: Scheduled
    work: Work | None
    file: Fetchable | None
    before_restores: list[KeptState]


class WantedBackup(msgspec.Struct, forbid_unknown_fields=True):
    """Without a passphrase only with `unprotected`."""

    passphrase: Annotated[
        str, msgspec.Meta(max_length=1000, extra_json_schema={"writeOnly": True, "examples": ["two words in a row"]})
    ] = ""
    unprotected: bool = False


class RestoredBackup(msgspec.Struct):
    """What is in use after the restart that follows at once."""

    made: datetime
    version: str
    extensions: int
    calls: int
    administrators: list[str]


@operations.add("GET", "/backups", may="see backup", said=Said.of("api.backups-list"), answer=Backups)
def listing(asked: Asked) -> Backups:
    work, file = asked.here.desktop.of(backups.KIND), backups.finished(asked.here)
    state = nightly.state(asked.here)
    plan = Scheduled(
        state.running(asked.here.now()),
        moment(state.made) if state.made else None,
        state.file,
        state.size,
        sentence(state.failed, asked) if state.failed else None,
    )
    return Backups(
        plan,
        Work(
            work.finished,
            work.percent,
            *(sentence(each, asked) if each else None for each in (work.result, work.problem)),
        )
        if work
        else None,
        Fetchable(file.name, file.stat().st_size, moment(file.stat().st_mtime)) if file else None,
        [KeptState(folder.name, moment(folder.stat().st_mtime)) for folder in backups.kept_states(asked.here)],
    )


@operations.add(
    "POST", "/backups", may="do backup", said=Said.of("api.backup-make"), body=WantedBackup, answer=Backups, status=202,
    refuses=frozenset({409}),
)  # fmt: skip
def make(asked: Asked) -> Backups:
    wanted = asked.body
    backups.begin(asked.here, asked.caller.acting, wanted.passphrase, unprotected=wanted.unprotected)
    return listing(asked)


@operations.add(
    "GET", "/backups/file", may="do backup", said=Said.of("api.backup-fetch"), kind="application/octet-stream",
    refuses=frozenset({404}),
)  # fmt: skip
def fetch(asked: Asked) -> Response:
    file = backups.finished(asked.here)
    if file is None:
        raise NotFound
    return send_file(file, mimetype="application/octet-stream", as_attachment=True, download_name=file.name)


@operations.add(
    "POST", "/backups/restore", may="do backup", said=Said.of("api.restore"), raw="application/octet-stream", answer=RestoredBackup,
    refuses=frozenset({409, 413, 422}),
)  # fmt: skip
def restore(asked: Asked) -> RestoredBackup:
    """The passphrase comes in a header of its own: addresses stand in logs."""
    try:
        found = backups.restore(asked.here, request.stream, request.headers.get(HEADER, ""), asked.caller.actor.name)
    except (BadBackup, HelperFailed) as error:
        raise because(422, error) from None
    return _restored(found)


@operations.add(
    "POST", "/backups/before-restores/{name}/use", may="do backup", said=Said.of("api.put-back"), answer=RestoredBackup,
    refuses=frozenset({409}),
)  # fmt: skip
def put_back(asked: Asked) -> RestoredBackup:
    if not any(folder.name == asked.names["name"] for folder in backups.kept_states(asked.here)):
        raise NotFound
    try:
        return _restored(backups.put_back(asked.here, asked.caller.acting, asked.names["name"]))
    except (BadBackup, HelperFailed) as error:
        raise because(409, error) from None


@operations.add("DELETE", "/backups/before-restores/{name}", may="do backup", said=Said.of("api.delete-kept"))
def delete_kept(asked: Asked) -> None:
    if not backups.delete_kept(asked.here, asked.caller.acting, asked.names["name"]):
        raise NotFound


@operations.add(
    "POST", "/backups/now", may="do backup", said=Said.of("api.backup-now"), status=202, refuses=frozenset({409, 422})
)
def make_now(asked: Asked) -> None:
    nightly.by_hand(asked.here, asked.caller.acting)


@operations.add(
    "POST",
    "/backups/renew-state",
    may="do backup",
    said=Said.of("api.renew-state"),
    status=202,
    refuses=frozenset({404, 409}),
)
def renew_state(asked: Asked) -> None:
    if "state" not in update_client.damaged():
        raise NotFound
    try:
        backups.renew_state()
    except HelperFailed as error:
        raise because(409, error) from None


def _restored(found: Restored) -> RestoredBackup:
    contents = found.contents
    people = list(found.administrators)
    return RestoredBackup(moment(contents.made), contents.version, contents.extensions, contents.calls, people)
