"""The use-cases as somebody may use them: first the rights, then `Admin`. Page, API and command line know the use-cases by this alone.

What an actor may not see is not there (`NotFound`); what is seen but may not be done is `Forbidden`. The author in the journal is the actor.
Nobody gives away more rights than they have themselves, and nobody changes the login of somebody who has more.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from appliance.config import licensing
from appliance.config.admin import Admin, NotFound
from appliance.config.declare import FieldType, Record
from appliance.config.kinds import KINDS
from appliance.config.reading.consequences import consequences
from appliance.config.rights import ALL, Actor, Forbidden, Verb, given_by, new_key, second_factor, seen, without_secrets
from appliance.config.saving import meanwhile
from appliance.config.saving.batch import LETTERS, Result, Usernames, Wanted
from appliance.config.saving.undo import Undone
from appliance.config.snapshot import Snapshot, find, name_of
from appliance.config.store import JournalRow
from appliance.words import Said

_ONE_BY_ONE = threading.Lock()
NOBODYS = "nobodys"  # an id that no record has
SEARCHED = 1_000  # found records of which those are taken that the actor may see


class Acting:
    """What `actor` may do. Made for one request or command; what belongs to whom is asked of the newest records."""

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

    def suggest(self, kind: str) -> Mapping[str, Any]:
        """Values for a new record, as its kind has them."""
        self.actor.demand("add", kind)
        return KINDS[kind].suggest(self._admin.snapshot)

    def consequences(self, kind: str, key: str) -> list[Said]:
        """What deleting it would mean for others."""
        self._demand("delete", kind, key)
        return consequences(self.snapshot, [(kind, key)])[0]

    def journal(self, *, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        self.actor.demand("see", "journal")
        return self._admin.journal(limit=limit, before=before)

    def history(self, kind: str, key: str, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        """What a record has been through, newest first; of one that is gone for who may see all of its kind."""
        if find(self.actor.records, kind, key) is not None:
            self._seen(kind, key)
        elif not self.actor.may_all("see", kind):
            raise NotFound(f"This {kind} does not exist (any more).")
        return self._admin.history(kind, key, limit, before)

    def search(self, query: str, kinds: Collection[str] | None = None, limit: int = 50) -> list[tuple[str, str]]:
        """Kind and id of what is found, the best first; of what the actor may see alone."""
        wanted = [kind for kind in (KINDS if kinds is None else kinds) if self.actor.may("see", kind)]
        some = [kind for kind in wanted if not self.actor.may_all("see", kind)]
        found = self._admin.search(query, wanted, SEARCHED if some else limit)
        rows = self.snapshot
        return [(kind, key) for kind, key in found if kind not in some or key in rows.of(kind)][:limit]

    def licence_usage(self) -> licensing.Usage:
        self.actor.demand("see", "licence")
        return self._admin.licence_usage()

    # ---- change --------------------------------------------------------------------------------------------------------

    def create(self, kind: str, values: Mapping[str, Any], *, password: str = "") -> Record:
        self._demand_wanted(Wanted(kind, "", values, new=True, password=password))
        return self._shown(self._admin.create(kind, values, self.actor.name, password=password))

    def add_line(self, extension: str, values: Mapping[str, Any]) -> Record:
        self._seen("extension", extension)
        self._demand_wanted(Wanted("line", "", {**values, "extension": extension}, new=True))
        return self._shown(self._admin.add_line(extension, values, self.actor.name))

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
        self._demand_wanted(Wanted(kind, key, values, password=password))
        saved = self._admin.update(
            kind, key, values, self.actor.name, mark=mark, password=password, usernames=usernames
        )
        return self._shown(saved)

    def delete(self, kind: str, key: str) -> None:
        self._demand_wanted(Wanted(kind, key, None))
        self._admin.delete(kind, key, self.actor.name)

    def save_all(self, wanted: Sequence[Wanted], *, dry: bool = False) -> list[Result]:
        """As `Admin.save_all`. What the actor may not see is told to be gone, as is what has been deleted meanwhile."""
        asked = [self._demand_if_there(one) for one in wanted]
        results = self._admin.save_all(asked, self.actor.name, dry=dry)
        return [self._result(one, result) for one, result in zip(wanted, results, strict=True)]

    def whole(self) -> Snapshot:
        """The configuration with all its secrets, for who may do everything."""
        self._demand_everything()
        return self._admin.snapshot

    def apply(self, wanted: Sequence[Wanted], *, dry: bool = False) -> list[Result]:
        """A whole configuration, as a text says it, with secrets and with what only use-cases set: for who may do everything."""
        self._demand_everything()
        return self._admin.save_all(wanted, self.actor.name, dry=dry)

    def _demand_everything(self) -> None:
        if not self.actor.covers(ALL):
            raise Forbidden()

    def undo(self, revision: int, *, dry: bool = False) -> tuple[list[Result], Undone]:
        """As `Admin.undo`, when the actor may do all of what it takes."""
        _, undone = self._admin.undo(revision, self.actor.name, dry=True)
        for one in undone.wanted:
            self._demand_wanted(one._replace(back=False))
        results, undone = self._admin.undo(revision, self.actor.name, dry=dry)
        return [self._result(one, result) for one, result in zip(undone.wanted, results, strict=True)], undone

    def reveal_sip_password(self, line: str) -> str:
        return self.reveal("line", line, "sip_password")

    def reveal(self, kind: str, key: str, field: str) -> str:
        """A secret in clear; who looked is written to the journal."""
        self._demand("reveal", kind, key, (field,))
        return self._admin.reveal(kind, key, field, self.actor.name)

    def changed_since(self, kind: str, key: str, mark: str) -> Mapping[str, meanwhile.Change]:
        """Fields of a record that somebody has changed since a form of this mark was drawn, as far as the actor may see them."""
        shown = self.actor.sees(kind, self._seen(kind, key))
        return {name: one for name, one in self._admin.changed_since(kind, key, mark).items() if name in shown}

    def renew_sip_password(self, line: str) -> str:
        self._demand("change", "line", line, ("sip_password",))
        return self._admin.renew_sip_password(line, self.actor.name)

    def set_password(self, user: str, password: str) -> None:
        """Everybody may change their own; whoever calls has asked for the old one."""
        if not self.actor.user or user != self.actor.user:
            self._demand("change", "user", user, ("password_hash",))
        self._admin.set_password(user, password, self.actor.name)

    # ---- logging in ----------------------------------------------------------------------------------------------------

    def demand_login_of(self, user: str) -> None:
        """That the actor may decide about the login of somebody."""
        self._demand("change", "user", user, ("password_hash",))

    def give_password(self, user: str) -> str:
        """One for the next login, at which it has to be changed."""
        record = self._demand("change", "user", user, ("password_hash",))
        password = "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(4))
        self._admin.set_password(user, password, self.actor.name, given=True)
        self.note("settings", "user", Said.of("journal.password-given", name=name_of(record)))
        return password

    def set_second_factor(self, seed: str) -> list[str]:
        """The actor's own, from now on; the recovery codes, which nobody can see again."""
        codes = second_factor.new_recovery_codes()
        self._keep_own({"totp_seed": seed, "recovery_codes": second_factor.kept(codes)}, Said("journal.second-on"))
        return codes

    def renew_recovery_codes(self) -> list[str]:
        codes = second_factor.new_recovery_codes()
        self._keep_own({"recovery_codes": second_factor.kept(codes)}, Said("journal.recovery-made"))
        return codes

    def use_recovery_code(self, code: str) -> bool:
        """Whether it is one of the actor's; it is none any more."""
        with _ONE_BY_ONE:  # one code is not taken for two
            stored = self.actor.records.users[self.actor.user].recovery_codes
            rest = second_factor.without(stored, code)
            if rest is not None:
                self._keep_own({"recovery_codes": rest}, Said("journal.recovery-used"))
            return rest is not None

    def _keep_own(self, inside: Mapping[str, Any], said: Said) -> None:
        self._admin.keep("user", self.actor.user, inside, self.actor.name, said)

    def remove_second_factor(self, user: str) -> None:
        """Everybody may remove their own; whoever calls has asked for the password."""
        said = Said("journal.second-off")
        if not self.actor.user or user != self.actor.user:
            record = self._demand("change", "user", user, ("password_hash",))
            said = Said.of("journal.second-removed", name=name_of(record))
        if self.actor.records.users[user].totp_seed:
            self._admin.keep("user", user, {"totp_seed": "", "recovery_codes": ""}, self.actor.name, said)

    def issue_key(self, key: str) -> str:
        """A new key for a program; the one before is none any more. Nobody can see it again."""
        record = self._demand("change", "api-key", key, ("key_hash",))
        text, kept = new_key(key)
        self._admin.keep("api-key", key, {"key_hash": kept}, self.actor.name, Said.of("journal.key-made", name=name_of(record)))
        return text

    def note(self, kind: str, key: str, said: Said) -> None:
        """Write into the journal what the actor has done that changed no record."""
        self._admin.note(kind, key, said, self.actor.name)

    # ---- rights --------------------------------------------------------------------------------------------------------

    def _seen(self, kind: str, key: str) -> Record:
        """As it is stored. What the actor may not see is not there."""
        found = find(self.actor.records, kind, key) if kind in KINDS else None
        if found is None or not self.actor.may("see", kind, found):
            raise NotFound(f"This {kind} does not exist (any more).")
        return found

    def _shown(self, record: Record) -> Record:
        return without_secrets(record, self.actor)

    def _result(self, wanted: Wanted, result: Result) -> Result:
        """Without what the actor may not see; of what was asked for, where something else stood for it."""
        before, after = (record and self._shown(record) for record in (result.before, result.after))
        return result._replace(key=result.key if wanted.new else wanted.key, before=before, after=after)

    def _demand(self, verb: Verb, kind: str, key: str, fields: Collection[str] = ()) -> Record:
        """A record that the actor may do this with."""
        record = self._seen(kind, key)
        self.actor.demand(verb, kind, record, fields)
        if (kind, key) != ("user", self.actor.user):
            self._demand_no_more(record)
        return record

    def _demand_if_there(self, wanted: Wanted) -> Wanted:
        """What is to be saved; in the place of what is not there for the actor, what is not there for anybody."""
        try:
            self._demand_wanted(wanted)
        except NotFound:
            return wanted._replace(key=NOBODYS)
        return wanted

    def _demand_wanted(self, wanted: Wanted) -> None:
        if wanted.inside or wanted.back:  # these have use-cases of their own
            raise Forbidden()
        kind, key, values = wanted.kind, wanted.key, wanted.values
        fields = {*(values or ()), *(["password_hash"] if wanted.password else ())}
        if wanted.new:
            self.actor.demand("add", kind, fields=fields)
            self._demand_result("add", kind, {**(values or {}), "id": key})
        elif values is None:
            self._demand("delete", kind, key)
        else:
            record = self._demand("change", kind, key, fields)
            before = {name: getattr(record, name) for name in type(record).model_fields}
            self._demand_result("change", kind, {**before, **values}, record)

    def _demand_result(self, verb: Verb, kind: str, values: Mapping[str, Any], before: Record | None = None) -> None:
        """What a record is going to be has to be one that the actor has the right to as well, and must give no more rights than the actor has.
        Values that make no record are told by who saves."""
        if kind not in KINDS:
            return
        fields = KINDS[kind].record.declared.fields
        known = {name: _read(fields[name], value) for name, value in values.items() if name in fields}
        record = KINDS[kind].record.model_construct(id=values.get("id", ""), **known)
        self.actor.demand(verb, kind, record)
        if given_by(record, self.actor.records) != (given_by(before, self.actor.records) if before else ()):
            self._demand_no_more(record)

    def _demand_no_more(self, record: Record) -> None:
        if not self.actor.covers(given_by(record, self.actor.records)):
            raise Forbidden(Said.of("rights.too-much"))


def _read(field: FieldType, value: Any) -> Any:
    """What was typed as a value, where it is one."""
    with contextlib.suppress(ValueError):
        return field.read(value)
    return value
