"""What the pages of users have by hand: the password, and the extensions that are theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from flask import session
from markupsafe import Markup

from appliance.config.model import Extension, Problem, Record, Snapshot, User
from appliance.words import Said
from webui.desk import desk
from webui.login.guard import acting, person
from webui.login.sessions import Session
from webui.records.parts import Part, Values


def _owned(snapshot: Snapshot) -> Mapping[str, list[Extension]]:
    """User to extensions, in the order of their numbers."""
    found: dict[str, list[Extension]] = {}
    for extension in snapshot.extensions.values():
        if extension.user:
            found.setdefault(extension.user, []).append(extension)
    for owned in found.values():
        owned.sort(key=lambda one: (len(one.number), one.number))
    return found


def _cells(rows: Sequence[Record], snapshot: Snapshot) -> Mapping[tuple[str, str], Markup]:
    owned, pill = _owned(snapshot), Markup('<span class="pill">{}</span> ')
    return {(user.id, "extensions"): Markup().join(pill.format(one.number) for one in owned.get(user.id, ())) for user in rows}


def _given(record: Record | None, values: Values, wrong: Mapping[str, str], sent: Mapping[str, str]) -> Mapping[str, Any]:
    return {"extensions": _owned(acting().snapshot).get(record.id, []) if record is not None else []}


def _arguments(form: Mapping[str, str]) -> Mapping[str, Any]:
    return {"password": form.get("password", "")}


def _saved(before: Record | None, after: Record, form: Mapping[str, str]) -> str:
    """Whoever has another password or role logs in anew."""
    if isinstance(before, User) and isinstance(after, User) and (form.get("password") or after.role != before.role):
        desk().sessions.end_all_of(after.id, but=cast(Session, session).cookie)
    return ""


def _keeps(record: Record) -> Sequence[Problem]:
    return [Problem("", Said("users.yourself"))] if record.id == person().id else []


def _deleted(record: Record) -> None:
    desk().sessions.end_all_of(record.id)


PART = Part(
    columns=(("extensions", "kind.extension-many"),),
    cells=_cells,
    given=_given,
    arguments=_arguments,
    saved=_saved,
    keeps=_keeps,
    deleted=_deleted,
)
