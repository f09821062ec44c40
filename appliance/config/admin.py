"""The only use-cases that change anything: validate, licence, save, announce.

Every change is a journal row with its author. Nothing here knows the page or the command line; both call these.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from appliance.config import licensing, meanwhile, passwords
from appliance.config.model import (
    KINDS,
    Extension,
    Line,
    Problem,
    Record,
    Refused,
    Snapshot,
    User,
    check,
    find,
    login_name,
    make,
    next_number,
    without,
)
from appliance.config.store import Change, Conflict, JournalRow, Store
from appliance.words import Said

Verb = Literal["see", "change"]
# What a role may do on the admin page: default deny.
POLICY: Mapping[str, frozenset[Verb]] = {
    "none": frozenset(),
    "read-only": frozenset({"see"}),
    "full": frozenset({"see", "change"}),
}

LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike
MOST_LINES = 10
TRIES = 5  # of a save, when others save at the same time


Usernames = Literal["", "keep", "change"]  # what becomes of SIP usernames when the number changes; "": nobody has said


class NotFound(Exception):
    """There is no such record (any more)."""


def allowed(role: str, verb: Verb) -> bool:
    return verb in POLICY.get(role, frozenset())


def generate_sip_password() -> str:
    """24 characters, about 139 bits."""
    return "".join(secrets.choice(LETTERS) for _ in range(24))


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
        self._nobody = self._hasher.hash(
            secrets.token_urlsafe(16)
        )  # so that an unknown user costs as much as a known one
        self._lock = threading.RLock()
        self._snapshot = store.load()

    @property
    def snapshot(self) -> Snapshot:
        """The newest saved one, also when another process saved it."""
        with self._lock:
            if self._store.revision() != self._snapshot.revision:
                self._snapshot = self._store.load(self._snapshot)
            return self._snapshot

    def create(self, kind: str, values: Mapping[str, Any], who: str, *, password: str = "") -> Record:
        """Save a new record; an extension gets its first line with it, a user may get a password. Refused tells what is
        wrong, field by field."""

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            if kind in KINDS and KINDS[kind].always:
                raise Refused(Problem("", Said.of("fields.single", kind=Said.of(f"kind.{kind}"))))
            record = make(kind, {**values, "id": _new_id()})
            if isinstance(record, User) and record.password_hash:
                raise Refused(_not_here("password_hash"))
            _demand([*check(kind, record, snapshot), *_password_problems(record, password, None)])
            record = self._with_password(record, password)
            licensing.check_adding(record, snapshot, self._limits())
            changes = [Change(kind, record.id, record)]
            if isinstance(record, Extension):
                changes.append(_line_change(record, snapshot))
            if isinstance(record, Line) and len(snapshot.lines_of.get(record.extension, ())) >= MOST_LINES:
                raise Refused(Problem("", Said.of("extension.lines-most", most=MOST_LINES)))
            return record, changes

        return self._save(plan, who)

    def add_line(self, extension: str, values: Mapping[str, Any], who: str) -> Record:
        """One more line, with a generated password and, unless given, the next free SIP username (100-2, 100-3, …)."""
        snapshot = self.snapshot
        owner = self._find(snapshot, "extension", extension)
        assert isinstance(owner, Extension)
        return self.create(
            "line",
            {
                "sip_username": _free_username(owner.number, snapshot),
                "sip_password": generate_sip_password(),
                **values,
                "extension": extension,
            },
            who,
        )

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

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            old, record, merged, problems = self._changed(snapshot, kind, key, values, mark)
            problems += [*check(kind, record, snapshot), *_password_problems(record, password, old)]
            changes: list[Change] = []
            if isinstance(record, User) and isinstance(old, User):
                problems += _last_administrator(old, record, snapshot)
            if isinstance(record, Extension) and (named := renamed(snapshot, key, record.number)):
                if not usernames and not any(problem.field == "number" for problem in problems):
                    problems.append(Problem("usernames", Said.of("extension.usernames-open")))
                elif usernames == "change":
                    changes += [Change("line", line.id, line) for line in named]
            _demand(problems, merged)
            record = self._with_password(record, password)
            return record, [*([Change(kind, record.id, record)] if record != old else []), *changes]

        return self._save(plan, who)

    def update_all(self, wanted: Mapping[tuple[str, str], Mapping[str, Any]], who: str, *, mark: str = "") -> None:
        """Change fields of several records that one form shows, by kind and id: all of it or nothing, each checked beside the others as
        they will be. Refused tells fields, and the values to show now, as KIND.ID.FIELD."""

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            made: dict[tuple[str, str], tuple[Record, Record]] = {}
            problems: list[Problem] = []
            shown: dict[str, Any] = {}
            for (kind, key), values in wanted.items():
                at = f"{kind}.{key}."
                try:
                    old, record, merged, found = self._changed(snapshot, kind, key, values, mark)
                    made[kind, key] = old, record
                except Refused as refused:
                    merged, found = dict(refused.values or values), list(refused.problems)
                problems += [Problem(at + problem.field, problem.said) for problem in found]
                shown |= {at + name: value for name, value in merged.items()}
            together = snapshot
            for (kind, _), (_, record) in made.items():
                together = together.with_record(kind, record)
            changed = {name: (old, record) for name, (old, record) in made.items() if record != old}
            for (kind, key), (old, record) in changed.items():
                alone = check(kind, record, snapshot)
                problems += [
                    Problem(f"{kind}.{key}.{problem.field}", problem.said)
                    for problem in check(kind, record, together)
                    # where two get into each other's way, it is told at the field that was changed
                    if problem in alone or getattr(record, problem.field, "") != getattr(old, problem.field, "")
                ]
            _demand(problems, shown)
            changes = [Change(*name, record) for name, (_, record) in changed.items()]
            return next(iter(made.values()))[1], changes

        self._save(plan, who)

    def _changed(
        self, snapshot: Snapshot, kind: str, key: str, values: Mapping[str, Any], mark: str
    ) -> tuple[Record, Record, dict[str, Any], list[Problem]]:
        """A record, as it will be, the values a form should show, and what somebody else has changed meanwhile. Not checked yet."""
        old = self._find(snapshot, kind, key)
        _demand(
            [
                _not_here(name)
                for name in sorted(KINDS[kind].hidden & set(values))  # they have use-cases of their own
                if values[name] != getattr(old, name)
            ]
        )
        merged, problems = meanwhile.merge(self._store, snapshot, kind, old, values, mark)
        try:
            record = make(kind, {**old.model_dump(), **merged, "id": old.id})
        except Refused as refused:
            raise Refused(*problems, *refused.problems, values=merged) from None
        return old, record, merged, problems

    def delete(self, kind: str, key: str, who: str) -> None:
        """What refers to it goes along, stays without the reference, or forbids it, as the kinds say."""

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            record = self._find(snapshot, kind, key)
            if KINDS[kind].always:
                raise Refused(Problem("", Said.of("fields.stays", kind=Said.of(f"kind.{kind}"))))
            if isinstance(record, User):
                _demand(_last_administrator(record, None, snapshot))
            if isinstance(record, Line) and len(snapshot.lines_of[record.extension]) == 1:
                raise Refused(Problem("", Said.of("extension.lines-least")))
            return record, [Change(*change) for change in without(snapshot, kind, key)]

        self._save(plan, who)

    def consequences(self, kind: str, key: str) -> list[str]:
        """What deleting would break, in sentences."""
        snapshot = self.snapshot
        record = self._find(snapshot, kind, key)
        found: list[str] = []
        if isinstance(record, Extension):
            count = len(snapshot.lines_of[key])
            found.append(f"Nobody can dial {record.number} any more.")
            found.append(
                f"The phone that uses it loses its login (SIP username {snapshot.lines_of[key][0].sip_username})."
                if count == 1
                else f"{count} lines lose their login: their phones can neither call nor be called."
            )
            if record.user and (user := snapshot.users.get(record.user)) is not None:
                rest = sum(each.user == record.user for each in snapshot.extensions.values()) - 1
                found.append(
                    f"{user.full_name or user.username} keeps {rest} other extensions."
                    if rest
                    else f"{user.full_name or user.username} has no extension then."
                )
        elif isinstance(record, User):
            owned = sorted(each.number for each in snapshot.extensions.values() if each.user == key)
            found.append(f"{record.username} can no longer log in.")
            if owned:
                found.append(
                    f"The extensions {', '.join(owned)} stay and belong to nobody."
                    if len(owned) > 1
                    else f"The extension {owned[0]} stays and belongs to nobody."
                )
        elif isinstance(record, Line):
            found.append(f"The phone with the SIP username {record.sip_username} can neither call nor be called.")
        return found

    def suggest_number(self) -> str:
        return next_number(self.snapshot)

    def reveal_sip_password(self, line: str, who: str) -> str:
        """The password in clear; who looked is written to the journal."""
        found: list[Line] = []

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            record = self._find(snapshot, "line", line)
            assert isinstance(record, Line)
            found[:] = [record]
            return record, []

        self._save(plan, who, audit=("line", line, "SIP password shown"))
        return found[0].sip_password

    def renew_sip_password(self, line: str, who: str) -> str:
        """A fresh password; the phone has to be given it before it can register again."""
        password = generate_sip_password()
        self.update("line", line, {"sip_password": password}, who)
        return password

    def set_password(self, user: str, password: str, who: str) -> None:
        if not password:
            raise Refused(Problem("password", passwords.TOO_SHORT))
        self.update("user", user, {}, who, password=password)

    def _with_password(self, record: Record, password: str) -> Record:
        if not password:
            return record
        return record.model_copy(update={"password_hash": self._hasher.hash(password)})

    def authenticate(self, username: str, password: str) -> User | None:
        """The user whose login this is. Takes as long for unknown names as for known ones."""
        wanted = login_name(username)
        user = next((each for each in self.snapshot.users.values() if login_name(each.username) == wanted), None)
        usable = user is not None and bool(user.password_hash)
        try:
            self._hasher.verify(user.password_hash if usable and user else self._nobody, password[: passwords.LONGEST])
        except (VerificationError, InvalidHashError):
            return None
        return user if usable else None

    def complete_setup(
        self, *, username: str, full_name: str, password: str, first_extension: str, country: str
    ) -> User:
        """The end of the first-run wizard: settings and the first administrator in one save, whatever else is there already: people who
        cannot log in, extensions, a used-up licence. Refused as long as an administrator can log in."""

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            if snapshot.has_administrator:
                raise Refused(Problem("", Said.of("settings.completed-already")))
            settings = make(
                "settings",
                {
                    **snapshot.settings.model_dump(),
                    "completed": True,
                    "country": country,
                    "first_extension": first_extension,
                    "id": "settings",
                },
            )
            user = make("user", {"username": username, "full_name": full_name, "role": "full", "id": _new_id()})
            if not password:
                raise Refused(Problem("password", passwords.TOO_SHORT))
            wrong = [*check("user", user, snapshot), *_password_problems(user, password, None)]
            # without the records that are there: nobody could change the one that is in the way
            _demand([*check("settings", settings, Snapshot()), *wrong])
            user = self._with_password(user, password)
            return user, [Change("settings", "settings", settings), Change("user", user.id, user)]

        user = self._save(plan, username or "setup")
        assert isinstance(user, User)
        return user

    def journal(self, *, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        """Newest first."""
        return self._store.journal(limit, before)

    def note(self, kind: str, key: str, words: str, who: str) -> None:
        """Write into the journal what somebody did that changed no record."""

        def plan(snapshot: Snapshot) -> tuple[Record, list[Change]]:
            return snapshot.of(kind).get(key) or snapshot.settings, []

        self._save(plan, who, audit=(kind, key, words))

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
        audit: tuple[str, str, str] | None = None,
    ) -> Record:
        """Plan on the newest snapshot and save; plan again when another process was faster."""
        with self._lock:
            for attempt in range(TRIES):
                snapshot = self.snapshot
                record, changes = plan(snapshot)
                if not changes and audit is None:
                    return record
                try:
                    revision = self._store.save(changes, who, self._now(), snapshot.revision, [audit] if audit else [])
                except Conflict:
                    if attempt == TRIES - 1:
                        raise
                    continue
                break
        if changes:
            self._announce(revision)
        return record


def _new_id() -> str:
    return secrets.token_hex(8)


def _not_here(field: str) -> Problem:
    return Problem(field, Said.of("fields.not-here", name=field))


def _demand(problems: Sequence[Problem], values: Mapping[str, Any] | None = None) -> None:
    if problems:
        raise Refused(*problems, values=values)


def _free_username(number: str, snapshot: Snapshot) -> str:
    name, count = number, 1
    while name in snapshot.line_by_sip_username:
        count += 1
        name = f"{number}-{count}"
    return name


def _line_change(extension: Extension, snapshot: Snapshot) -> Change:
    line = Line(
        id=_new_id(),
        extension=extension.id,
        sip_username=_free_username(extension.number, snapshot),
        sip_password=generate_sip_password(),
    )
    return Change("line", line.id, line)


def renamed(snapshot: Snapshot, extension: str, number: str) -> list[Line]:
    """The lines whose SIP username is made of the extension's number, as they would be with another one; none when it stays."""
    old, found = snapshot.extensions[extension], []
    made_of = re.compile(re.escape(old.number) + r"(-\d+)?")
    for line in snapshot.lines_of[extension] if number != old.number else ():
        if made_of.fullmatch(line.sip_username):
            wanted = number + line.sip_username.removeprefix(old.number)
            taken = wanted in snapshot.line_by_sip_username
            new = line.model_copy(update={"sip_username": _free_username(number, snapshot) if taken else wanted})
            snapshot = snapshot.with_record("line", new)
            found.append(new)
    return found


def _password_problems(record: Record, password: str, old: Record | None) -> list[Problem]:
    """What is wrong with a user's new password, or with having none."""
    if not isinstance(record, User):
        return []
    if password:
        weak = passwords.weakness(password, record.username, record.full_name)
        return [Problem("password", weak)] if weak else []
    gets_in = record.role != "none" and (not isinstance(old, User) or old.role == "none")
    if gets_in and not record.password_hash:
        return [Problem("password", Said.of("user.password-missing"))]
    return []


def _last_administrator(old: User, new: User | None, snapshot: Snapshot) -> list[Problem]:
    # one without a password cannot log in, so does not count
    others = any(user.role == "full" and user.id != old.id and user.password_hash for user in snapshot.users.values())
    if old.role == "full" and (new is None or new.role != "full") and not others:
        return [Problem("role", Said.of("user.role-last"))]
    return []
