"""The use-cases as somebody may use them: first the rights, then `Admin`. Page, API and command line know the use-cases by this alone.

What an actor may not see is not there (`NotFound`); what is seen but may not be done is `Forbidden`. The author in the journal is the actor.
Nobody gives away more rights than they have themselves, and nobody changes the login of somebody who has more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from appliance.config import licensing
from appliance.config.admin import Admin, NotFound, Usernames
from appliance.config.declare import Record
from appliance.config.kinds import KINDS
from appliance.config.rights import Actor, Forbidden, Verb, given_by, seen
from appliance.config.snapshot import Snapshot, find
from appliance.config.store import JournalRow
from appliance.words import Said


class Acting:
    """What `actor` may do. Made for one request or command: rights are those of the newest records at each use."""

    def __init__(self, admin: Admin, actor: Actor) -> None:
        self._admin = admin
        self._actor = actor

    @property
    def actor(self) -> Actor:
        self._actor = self._actor.at(self._admin.snapshot)
        return self._actor

    # ---- see -----------------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The records as the actor may see them: others are not there, and secrets are empty."""
        return seen(self.actor)

    def records(self, kind: str) -> Mapping[str, Record]:
        return self.snapshot.of(kind)

    def find(self, kind: str, key: str) -> Record | None:
        return find(self.snapshot, kind, key) if self.actor.may("see", kind) else None

    def suggest_number(self) -> str:
        self.actor.demand("add", "extension")
        return self._admin.suggest_number()

    def consequences(self, kind: str, key: str) -> list[str]:
        self._demand("delete", kind, key)
        return self._admin.consequences(kind, key)

    def journal(self, *, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        self.actor.demand("see", "journal")
        return self._admin.journal(limit=limit, before=before)

    def licence_usage(self) -> licensing.Usage:
        self.actor.demand("see", "licence")
        return self._admin.licence_usage()

    # ---- change --------------------------------------------------------------------------------------------------------

    def create(self, kind: str, values: Mapping[str, Any], *, password: str = "") -> Record:
        actor = self.actor
        actor.demand("add", kind, fields=values)
        self._demand_result("add", kind, values)
        return self._admin.create(kind, values, actor.name, password=password)

    def add_line(self, extension: str, values: Mapping[str, Any]) -> Record:
        self._seen("extension", extension)
        self.actor.demand("add", "line", fields=values)
        self._demand_result("add", "line", {"extension": extension})
        return self._admin.add_line(extension, values, self.actor.name)

    def update(
        self,
        kind: str,
        key: str,
        values: Mapping[str, Any],
        *,
        mark: str = "",
        password: str = "",
        usernames: Usernames = "",
    ) -> Record:
        self._demand_change(kind, key, values, {*values, *(["password_hash"] if password else ())})
        return self._admin.update(kind, key, values, self.actor.name, mark=mark, password=password, usernames=usernames)

    def update_all(self, wanted: Mapping[tuple[str, str], Mapping[str, Any]], *, mark: str = "") -> None:
        for (kind, key), values in wanted.items():
            self._demand_change(kind, key, values, values)
        self._admin.update_all(wanted, self.actor.name, mark=mark)

    def delete(self, kind: str, key: str) -> None:
        self._demand("delete", kind, key)
        self._admin.delete(kind, key, self.actor.name)

    def reveal_sip_password(self, line: str) -> str:
        """The password in clear; who looked is written to the journal."""
        self._demand("reveal", "line", line, ("sip_password",))
        return self._admin.reveal_sip_password(line, self.actor.name)

    def renew_sip_password(self, line: str) -> str:
        self._demand("change", "line", line, ("sip_password",))
        return self._admin.renew_sip_password(line, self.actor.name)

    def set_password(self, user: str, password: str) -> None:
        """Everybody may change their own; whoever calls has asked for the old one."""
        if not self.actor.user or user != self.actor.user:
            self._demand("change", "user", user, ("password_hash",))
        self._admin.set_password(user, password, self.actor.name)

    def note(self, kind: str, key: str, words: str) -> None:
        """Write into the journal what the actor has done that changed no record."""
        self._admin.note(kind, key, words, self.actor.name)

    # ---- rights --------------------------------------------------------------------------------------------------------

    def _seen(self, kind: str, key: str) -> Record:
        """As it is stored. What the actor may not see is not there."""
        if (found := find(self.actor.records, kind, key)) is None or not self.actor.may("see", kind, found):
            raise NotFound(f"This {kind} does not exist (any more).")
        return found

    def _demand(self, verb: Verb, kind: str, key: str, fields: Collection[str] = ()) -> Record:
        """A record that the actor may do this with."""
        record = self._seen(kind, key)
        self.actor.demand(verb, kind, record, fields)
        if (kind, key) != ("user", self.actor.user):
            self._demand_no_more(record)
        return record

    def _demand_change(self, kind: str, key: str, values: Mapping[str, Any], fields: Collection[str]) -> None:
        record = self._demand("change", kind, key, fields)
        self._demand_result("change", kind, {**record.model_dump(), **values}, record)

    def _demand_result(self, verb: Verb, kind: str, values: Mapping[str, Any], before: Record | None = None) -> None:
        """What a record is going to be has to be one that the actor has the right to as well, and must give no more rights than the actor has.
        Values that make no record are told by who saves."""
        if kind not in KINDS:
            return
        known = {name: value for name, value in values.items() if name in KINDS[kind].record.model_fields}
        record = KINDS[kind].record.model_construct(**known)
        self.actor.demand(verb, kind, record)
        if given_by(record, self.actor.records) != (given_by(before, self.actor.records) if before else ()):
            self._demand_no_more(record)

    def _demand_no_more(self, record: Record) -> None:
        if not self.actor.covers(given_by(record, self.actor.records)):
            raise Forbidden(Said.of("rights.too-much"))
