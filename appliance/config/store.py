"""The configuration with its journal (config.db, opened by `storage.database`). Call records are in records.py.

Every change is one transaction: records, journal rows and the revision together, or nothing. Secrets are sealed with the box key
(AES-256-GCM) before they reach the disk; the journal tells that a secret changed, never its value. Time is an argument.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.config.model import KINDS, Record, Snapshot
from appliance.storage import on_disk
from appliance.storage.database import Migrations, StorageDamaged, StorageFailed, alone, open_database, sentences

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

HIDDEN = "(hidden)"


class Conflict(Exception):
    """Somebody else saved in between; load again."""


class Change(NamedTuple):
    """One record of a save. record None: deleted."""

    kind: str
    key: str
    record: Record | None


class JournalRow(NamedTuple):
    id: int
    revision: int
    at: float
    who: str
    kind: str
    key: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class BoxKey:
    """Seals secrets at rest. The key file is made at first use, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        try:
            if not path.exists():
                on_disk.make(path, AESGCM.generate_key(256))  # a power cut leaves no half key behind
            key = path.read_bytes()
        except OSError as error:
            raise StorageFailed(f"The box key {path} cannot be read or made: {error.strerror}.") from error
        if len(key) != 32:
            raise StorageDamaged(f"The box key {path} is damaged. Restore keys and database from the same backup.")
        self._cipher = AESGCM(key)

    def seal(self, text: str, context: str) -> str:
        nonce = os.urandom(12)
        return (nonce + self._cipher.encrypt(nonce, text.encode(), context.encode())).hex()

    def unseal(self, sealed: str, context: str) -> str:
        try:
            data = bytes.fromhex(sealed)
            return self._cipher.decrypt(data[:12], data[12:], context.encode()).decode()
        except (InvalidTag, ValueError):
            raise StorageDamaged(
                "A stored password does not fit the key of this box. Restore keys and database from the same backup."
            ) from None


config_migrations = Migrations("switchroom-config")


@config_migrations()
def first_tables(db: Tables) -> None:
    db["record"].create({"kind": str, "id": str, "body": str}, pk=("kind", "id"), not_null={"body"})  # type: ignore[union-attr]
    db["journal"].create(  # type: ignore[union-attr]
        {"id": int, "revision": int, "at": float, "who": str, "kind": str, "key": str, "before": str, "after": str},
        pk="id",
        not_null={"revision", "at", "who", "kind", "key"},
    )
    db["state"].create({"name": str, "value": int}, pk="name")  # type: ignore[union-attr]
    db["state"].insert({"name": "revision", "value": 0})  # type: ignore[union-attr]


@config_migrations()
def journal_by_revision(db: Tables) -> None:
    db["journal"].create_index(["revision"])  # type: ignore[union-attr]


@config_migrations()
def numbers_of_services(db: Tables) -> None:
    """The number of the echo test was a setting; an empty one was switched off."""
    found = db.execute("select body from record where kind = 'settings' and id = 'settings'").fetchone()
    body = json.loads(found[0]) if found else {}
    if (number := body.pop("echo_number", None)) is not None:
        service = {"on": bool(number), "number": number or "*60"}
        db["record"].insert({"kind": "service", "id": "echo", "body": json.dumps(service)}, ignore=True)  # type: ignore[union-attr]
        db.execute("update record set body = ? where kind = 'settings'", [json.dumps(body)])


class Store:
    """The configuration. One object per process; any process may save, each save is checked against the revision it was based on."""

    def __init__(self, data: Path) -> None:
        key, database = data / "keys/box.key", data / "config.db"
        with alone(data):
            # The first start makes the database, then the key. So a key without a database has lost it, and beginning anew would hide that.
            if key.exists() and not (database.exists() and database.stat().st_size):
                raise StorageDamaged(f"{database.name} is {'empty' if database.exists() else 'missing'}. Restore a backup.")
            self._db = open_database(database, config_migrations)
            self._file = database
            try:
                self._opened = self._present()
                if not key.exists() and self.revision():
                    # a new key would open nothing, and what it sealed from now on would be lost with the next restore
                    raise StorageDamaged(f"The box key {key} is missing. Restore keys and database from the same backup.")
                self._key = BoxKey(key)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self._db.close()

    def _present(self) -> tuple[int, int]:
        """Which file it is. It is not opened for that: closing it would take the locks that SQLite has on it (its "How To Corrupt", 2.2)."""
        try:
            found = self._file.stat()
        except OSError:
            raise StorageDamaged(f"{self._file.name} is missing. Restore a backup.") from None
        if not found.st_size or not os.access(self._file, os.R_OK):
            raise StorageDamaged(f"{self._file.name} {'cannot be read' if found.st_size else 'is empty'}. Restore a backup.")
        return found.st_dev, found.st_ino

    def _demand_file(self) -> None:
        """StorageDamaged when the file is gone or another one by now: what is read from the one that was opened would hide that, and what
        is written into it would be lost."""
        if self._present() != self._opened:
            raise StorageDamaged(f"{self._file.name} was replaced by another file while it was in use. Start Switchroom again.")

    def revision(self) -> int:
        self._demand_file()
        with sentences():
            return int(self._db.execute("select value from state where name = 'revision'").fetchone()[0])

    def load(self, known: Snapshot | None = None) -> Snapshot:
        """The newest snapshot. Beside one that is known already, only what has changed since is read and checked, for a save must not hold
        up calls by as much as there are records."""
        with sentences(), self._db.atomic():
            revision = self.revision()
            moment = self.moment(revision)
            since = known if known is not None and self._is_past(known, revision) else None
            rows = self._rows(since)
        records: dict[str, dict[str, Record]] = {kind: {} for kind in KINDS}
        if since is not None:
            records |= {kind: dict(since.of(kind)) for kind in KINDS}
        for kind, key, body in rows:
            if kind not in KINDS:
                continue
            if body is None:
                records[kind].pop(key, None)
                continue
            try:
                records[kind][key] = self._unpack(kind, key, json.loads(body))
            except (ValueError, TypeError, KeyError) as error:  # never the body itself: it holds secrets
                raise StorageDamaged(
                    f"The {kind} {key} in config.db is damaged ({type(error).__name__}). Restore a backup."
                ) from None
        return Snapshot(revision, MappingProxyType({kind: MappingProxyType(found) for kind, found in records.items()}), moment)

    def _is_past(self, known: Snapshot, revision: int) -> bool:
        """Whether what is stored has come from it: after a restore another configuration may have had its number."""
        return 0 < known.revision <= revision and self.moment(known.revision) == known.moment

    def _rows(self, since: Snapshot | None) -> list[tuple[str, str, str | None]]:
        """Kind, key and body; of what has changed since, in the order of the changes, without a body when it is gone."""
        if since is None:
            return self._db.execute("select kind, id, body from record order by rowid").fetchall()
        return self._db.execute(
            "select j.kind, j.key, r.body from (select kind, key, min(id) as first from journal where revision > ? group by kind, key) j"
            " left join record r on r.kind = j.kind and r.id = j.key order by r.rowid, j.first",
            [since.revision],
        ).fetchall()

    def save(
        self, changes: Sequence[Change], who: str, at: float, based_on: int, audit: Iterable[tuple[str, str, str]] = ()
    ) -> int:
        """All changes in one transaction; the new revision. audit rows are (kind, key, words). Conflict if `based_on` is not the newest."""
        with sentences(), self._db.atomic():
            self._db.execute("update state set value = value + 1 where name = 'revision'")
            revision = self.revision()
            if revision != based_on + 1:
                raise Conflict("Somebody else changed the configuration meanwhile.")
            for change in changes:
                self._apply(change, who, at, revision)
            for kind, key, words in audit:
                self._journal(revision, at, who, kind, key, None, json.dumps({"event": words}))
        return revision

    def journal(self, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        """Newest first; `before` is the id of the last row of the page before."""
        with sentences():
            rows = self._db.execute(
                "select id, revision, at, who, kind, key, before, after from journal where id < ? order by id desc limit ?",
                [before or 2**62, limit],
            ).fetchall()
        return [
            JournalRow(
                id, revision, at, who, kind, key, json.loads(old) if old else None, json.loads(new) if new else None
            )
            for id, revision, at, who, kind, key, old, new in rows
        ]

    def latest(self, since: str) -> float:
        """The latest time (unix) at which something was changed, from the newest row with the key `since` on, or at all; 0.0: nothing was."""
        with sentences():
            row = self._db.execute(
                "select max(at) from journal where id >= coalesce((select max(id) from journal where key = ?), 0)", [since]
            ).fetchone()
        return float(row[0] or 0.0)

    def moment(self, revision: int) -> float:
        """When the configuration got this revision; 0.0 for the empty one, -1.0 for one it never had. With it a revision is told from
        another one of the same number, which there may be after a restore."""
        with sentences():
            row = self._db.execute(
                "select at from journal where revision = ? order by id desc limit 1", [revision]
            ).fetchone()
        return float(row[0]) if row else (-1.0 if revision else 0.0)

    def changes_of(self, kind: str, key: str, since: int) -> list[JournalRow]:
        """What a record has been through after a revision, oldest first, without events."""
        found = []
        before = None
        while rows := self.journal(before=before):
            found += [row for row in rows if row.revision > since and (row.kind, row.key) == (kind, key)]
            before = rows[-1].id
            if rows[-1].revision <= since:
                break
        return [row for row in reversed(found) if "event" not in (row.after or {})]

    def _apply(self, change: Change, who: str, at: float, revision: int) -> None:
        found = self._db.execute(
            "select body from record where kind = ? and id = ?", [change.kind, change.key]
        ).fetchone()
        old = self._masked(change.kind, json.loads(found[0])) if found else self._from_the_start(change)
        if change.record is None:
            self._db.execute("delete from record where kind = ? and id = ?", [change.kind, change.key])
            new = None
        else:
            body = self._pack(change.kind, change.key, change.record)
            self._db.execute(
                "insert into record (kind, id, body) values (?, ?, ?) on conflict (kind, id) do update set body = excluded.body",
                [change.kind, change.key, json.dumps(body)],
            )
            new = self._masked(change.kind, body)
            for name in KINDS[change.kind].secrets:
                if found and getattr(change.record, name) != getattr(
                    self._unpack(change.kind, change.key, json.loads(found[0])), name
                ):
                    new[name] = "(changed)"
        self._journal(
            revision,
            at,
            who,
            change.kind,
            change.key,
            json.dumps(old) if old is not None else None,
            json.dumps(new) if new is not None else None,
        )

    def _from_the_start(self, change: Change) -> dict[str, Any] | None:
        """What was there before anything was stored."""
        record = KINDS[change.kind].always.get(change.key)
        return self._masked(change.kind, record.model_dump(exclude={"id"})) if record is not None else None

    def _journal(
        self, revision: int, at: float, who: str, kind: str, key: str, before: str | None, after: str | None
    ) -> None:
        self._db.execute(
            "insert into journal (revision, at, who, kind, key, before, after) values (?, ?, ?, ?, ?, ?, ?)",
            [revision, at, who, kind, key, before, after],
        )

    def _pack(self, kind: str, key: str, record: Record) -> dict[str, Any]:
        body = record.model_dump(exclude={"id"})
        for name in KINDS[kind].secrets:
            body[name] = self._key.seal(body[name], f"{kind}/{key}/{name}")
        return body

    def _unpack(self, kind: str, key: str, body: dict[str, Any]) -> Record:
        for name in KINDS[kind].secrets:
            body[name] = self._key.unseal(body[name], f"{kind}/{key}/{name}")
        record: type[Record] = KINDS[kind].record
        return record(id=key, **{name: value for name, value in body.items() if name in record.declared.fields})

    def _masked(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {name: HIDDEN if name in KINDS[kind].secrets else value for name, value in body.items()}
