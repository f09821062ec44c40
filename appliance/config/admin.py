"""The only use-cases that change anything: validate, licence, save, announce.

Every change is a journal row with its author. Nothing here knows the page or the command line; both call these.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from appliance.config import licensing, passwords
from appliance.config.kinds.devices import free_username
from appliance.config.model import (
    KINDS,
    Change,
    Extension,
    Problem,
    Record,
    Refused,
    Snapshot,
    User,
    find,
    login_name,
    next_number,
)
from appliance.config.reading import finding
from appliance.config.saving import batch, meanwhile
from appliance.config.saving.batch import Planned, Result, Usernames, Wanted, generate_sip_password, new_id, renamed
from appliance.config.saving.undo import Undone, undo
from appliance.config.search import folded
from appliance.config.store import Conflict, JournalRow, Store
from appliance.words import Said

__all__ = ["Admin", "NotFound", "Result", "Usernames", "Wanted", "generate_sip_password", "new_id", "renamed"]

TRIES = 5  # of a save, when others save at the same time
LONGEST_QUERY = 200  # characters


class NotFound(Exception):
    """There is no such record (any more)."""


class Admin:
    def __init__(
        self,
        store: Store,
        announce: Callable[[int], None] = lambda revision: None,
        limits: Callable[[], licensing.Limits] = licensing.Limits,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._announce = announce
        self._limits = limits
        self._now = now
        self._hasher = PasswordHasher()
        self._lock = threading.RLock()
        self._snapshot = store.load()
        if not self._snapshot.revision:  # what is found is kept up with each save from the first one on
            store.index_anew(finding.MARK, ())

    @cached_property
    def _nobody(self) -> str:
        """So that an unknown user costs as much as a known one. Made at the first login: most processes see none."""
        return self._hasher.hash(secrets.token_urlsafe(16))

    @property
    def snapshot(self) -> Snapshot:
        """The newest saved one, also when another process saved it."""
        with self._lock:
            if self._store.revision() != self._snapshot.revision:
                self._snapshot = self._store.load(self._snapshot)
            return self._snapshot

    def create(self, kind: str, values: Mapping[str, Any], who: str, *, password: str = "") -> Record:
        """Save a new record with what it comes with (an extension its first line); a user may get a password. Refused tells what is
        wrong, field by field."""
        return self._one(Wanted(kind, "", values, new=True, password=password), who)

    def add_line(self, extension: str, values: Mapping[str, Any], who: str) -> Record:
        """One more line, with a generated password and, unless given, the next free SIP username (100-2, 100-3, …)."""
        snapshot = self.snapshot
        owner = self._find(snapshot, "extension", extension)
        assert isinstance(owner, Extension)
        made = {"sip_username": free_username(owner.number, snapshot), "sip_password": generate_sip_password()}
        return self.create("line", {**made, **values, "extension": extension}, who)

    def update(
        self,
        kind: str,
        key: str,
        values: Mapping[str, Any],
        who: str,
        *,
        mark: str = "",
        password: str = "",
        usernames: Usernames = "",
    ) -> Record:
        """Change the given fields, and the password of a user, all of it or nothing.

        mark: the state that the form showed; what somebody else has changed since is not put back, and refused where both
        have changed the same. usernames: what becomes of SIP usernames that are made of an extension's number when that changes."""
        self._find(self.snapshot, kind, key)
        return self._one(Wanted(kind, key, values, mark, password=password, usernames=usernames), who)

    def delete(self, kind: str, key: str, who: str) -> None:
        """What refers to it goes along, stays without the reference, or forbids it, as the kinds say."""
        self._find(self.snapshot, kind, key)
        self._one(Wanted(kind, key, None), who)

    def _one(self, wanted: Wanted, who: str, audit: tuple[str, str, Said] | None = None) -> Record:
        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            planned = self._plan(snapshot, [wanted])
            (result,) = planned.results
            if result.problems:
                raise Refused(*result.problems, values=result.values)
            record = result.after or result.before
            assert record is not None
            changes = self._with_passwords([wanted], planned)
            return next((change.record for change in changes if change[:2] == (result.kind, result.key) and change.record), record), changes

        return self._save(plan, who, audit)

    def save_all(self, wanted: Sequence[Wanted], who: str, *, dry: bool = False) -> list[Result]:
        """A batch in one revision, all of it or nothing. Refused tells fields, and the values to show now, as PLACE.FIELD, PLACE being that
        in the batch. dry: nothing is saved and nothing refused; what is wrong stands in the results."""
        results: list[Result] = []

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            planned = self._plan(snapshot, wanted)
            results[:] = planned.results
            if planned.problems:
                shown = {
                    f"{place}.{name}": value for place, one in enumerate(results) for name, value in (one.values or {}).items()
                }
                raise Refused(
                    *(Problem(f"{place}.{problem.field}", problem.said) for place, problem in planned.problems), values=shown
                )
            return snapshot.settings, self._with_passwords(wanted, planned)

        if dry:
            return self._plan(self.snapshot, wanted).results
        self._save(plan, who)
        return results

    def _plan(self, snapshot: Snapshot, wanted: Sequence[Wanted]) -> Planned:
        return batch.plan(
            snapshot,
            wanted,
            lambda one, old: meanwhile.merge(self._store, snapshot, one.kind, old, one.values or {}, one.mark),
            self._limits(),
        )

    def _with_passwords(self, wanted: Sequence[Wanted], planned: Planned) -> list[Change]:
        """The changes, with the hash of each new password."""
        new = {(result.kind, result.key): one.password for one, result in zip(wanted, planned.results, strict=True) if one.password}
        if not new:
            return planned.changes
        changes = {(change.kind, change.key): change.record for change in planned.changes}
        for result in planned.results:
            if (password := new.get((result.kind, result.key))) and result.after is not None:
                record = changes.get((result.kind, result.key)) or result.after
                changes[result.kind, result.key] = record.model_copy(update={"password_hash": self._hasher.hash(password)})
        return [Change(*name, record) for name, record in changes.items()]

    def undo(self, revision: int, who: str, *, dry: bool = False) -> tuple[list[Result], Undone]:
        """Take a save back, field by field where nobody has changed it since; what stays, and why, is told beside the results."""
        undone = self._undone(revision)
        return (self.save_all(undone.wanted, who, dry=dry) if undone.wanted else []), undone

    def _undone(self, revision: int) -> Undone:
        return undo(
            self._store.revised(revision),
            lambda row: self._store.changes_of(row.kind, row.key, revision),
            self._store.secrets_before,
            self.snapshot,
        )

    def history(self, kind: str, key: str, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        """What a record has been through, newest first."""
        return self._store.journal_of(kind, key, limit, before)

    def search(self, query: str, kinds: Collection[str] | None = None, limit: int = 50) -> list[tuple[str, str]]:
        """Kind and id of the records in which each word of the query is somewhere, whatever its case and accents."""
        with self._lock:
            if self._store.indexed_as() != finding.MARK:
                self._store.index_anew(finding.MARK, finding.everything(self.snapshot))
        return self._store.found(folded(query[:LONGEST_QUERY]).split(), kinds, limit)

    def suggest_number(self) -> str:
        return next_number(self.snapshot)

    def reveal_sip_password(self, line: str, who: str) -> str:
        return self.reveal("line", line, "sip_password", who)

    def reveal(self, kind: str, key: str, field: str, who: str) -> str:
        """A secret in clear; who looked is written to the journal."""
        row = KINDS[kind]
        if field not in row.secrets - row.hidden:
            raise NotFound(f"There is no {field} to be shown.")
        label = row.record.declared.label(field)
        record = self._save(lambda snapshot: (self._find(snapshot, kind, key), []), who, audit=(kind, key, Said.of("journal.shown", field=label)))
        return str(getattr(record, field))

    def changed_since(self, kind: str, key: str, mark: str) -> Mapping[str, meanwhile.Change]:
        """Fields of a record that somebody has changed since a form of this mark was drawn."""
        return meanwhile.changes(self._store, kind, self._find(self.snapshot, kind, key), mark)

    def renew_sip_password(self, line: str, who: str) -> str:
        """A fresh password; the phone has to be given it before it can register again."""
        password = generate_sip_password()
        self.update("line", line, {"sip_password": password}, who)
        return password

    def set_password(self, user: str, password: str, who: str, *, given: bool = False) -> None:
        """given: the user has to change it at the next login."""
        if not password:
            raise Refused(Problem("password", passwords.TOO_SHORT))
        self._find(self.snapshot, "user", user)
        self._one(Wanted("user", user, {}, password=password, inside={"password_given": given}), who)

    def keep(self, kind: str, key: str, inside: Mapping[str, Any], who: str, said: Said) -> None:
        """Set fields that no form changes; `said` tells the journal what somebody has done by it."""
        self._one(Wanted(kind, key, {}, inside=inside), who, ("settings", kind, said))

    def authenticate(self, username: str, password: str) -> User | None:
        """The user whose login this is. Takes as long for unknown names as for known ones."""
        wanted, nobody = login_name(username), self._nobody
        user = next((each for each in self.snapshot.users.values() if login_name(each.username) == wanted), None)
        usable = user is not None and bool(user.password_hash)
        try:
            self._hasher.verify(user.password_hash if usable and user else nobody, password[: passwords.LONGEST])
        except (VerificationError, InvalidHashError):
            return None
        return user if usable else None

    def complete_setup(
        self, *, username: str, full_name: str, password: str, first_extension: str, country: str, language: str = ""
    ) -> User:
        """The end of the first-run wizard: settings and the first administrator in one save, whatever else is there already: people who
        cannot log in, extensions, a used-up licence. Refused as long as an administrator can log in."""

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            if snapshot.has_administrator:
                raise Refused(Problem("", Said.of("settings.completed-already")))
            chosen = {"country": country, "first_extension": first_extension, **({"language": language} if language else {})}
            wizard = Wanted("settings", "settings", chosen, inside={"completed": True})
            person = {"username": username, "full_name": full_name, "role": "full"}
            if not password:
                raise Refused(Problem("password", passwords.TOO_SHORT))
            wanted = [wizard, Wanted("user", new_id(), person, new=True, password=password)]
            # without the records that are there: nobody could change the one that is in the way
            alone = self._plan(Snapshot(records={kind: snapshot.of(kind) for kind in ("settings", "user")}), wanted)
            _demand([problem for _, problem in alone.problems])
            changes = self._with_passwords(wanted, alone)
            return next(change.record for change in changes if isinstance(change.record, User)), changes

        user = self._save(plan, username or "setup")
        assert isinstance(user, User)
        return user

    def journal(self, *, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        """Newest first."""
        return self._store.journal(limit, before)

    def note(self, kind: str, key: str, said: Said, who: str) -> None:
        """Write into the journal what somebody did that changed no record."""

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            return snapshot.of(kind).get(key) or snapshot.settings, []

        self._save(plan, who, audit=(kind, key, said))

    def licence_usage(self) -> licensing.Usage:
        return licensing.usage(self.snapshot, self._limits())

    def _find(self, snapshot: Snapshot, kind: str, key: str) -> Record:
        record = find(snapshot, kind, key)
        if record is None:
            raise NotFound(f"This {kind} does not exist (any more).")
        return record

    def _save(
        self,
        plan: Callable[[Snapshot], tuple[Record, list[Change]]],
        who: str,
        audit: tuple[str, str, Said] | None = None,
    ) -> Record:
        """Plan on the newest snapshot and save; plan again when another process was faster."""
        with self._lock:
            for attempt in range(TRIES):
                snapshot = self.snapshot
                record, changes = plan(snapshot)
                if not changes and audit is None:
                    return record
                try:
                    texts = finding.changed(changes, snapshot.changed(changes))
                    revision = self._store.save(changes, who, self._now(), snapshot.revision, [audit] if audit else [], texts)
                except Conflict:
                    if attempt == TRIES - 1:
                        raise
                    continue
                break
        if changes:
            self._announce(revision)
        return record


def _demand(problems: Sequence[Problem], values: Mapping[str, Any] | None = None) -> None:
    if problems:
        raise Refused(*problems, values=values)
