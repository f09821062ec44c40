"""The configuration with its journal (config.db, opened by `storage.database`). Call records are in records.py.

Every change is one transaction: records, journal rows and the revision together, or nothing. Secrets are sealed with the box key
(AES-256-GCM) before they reach the disk; the journal tells that a secret changed, never its value. Time is an argument.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.config.model import KINDS, Change, Record, Snapshot
from appliance.storage import on_disk
from appliance.storage.database import Migrations, StorageDamaged, StorageFailed, alone, open_database, sentences
from appliance.words import Said
from appliance.words.said import pack, unpack

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

HIDDEN = "(hidden)"


class Conflict(Exception):
    """Somebody else saved in between; load again."""


class JournalRow(NamedTuple):
    id: int
    revision: int
    at: float
    who: str
    kind: str
    key: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def event(self) -> Said | None:
        """What somebody did that changed no record; None of a change. Rows of before there were keys hold the English sentence."""
        kept = (self.after or {}).get("event", "")
        if isinstance(kept, str):
            return Said.of("journal.told", words=kept) if kept else None
        return unpack(json.dumps(kept))


class BoxKey:
    """Seals secrets at rest. The key file is made at first use, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        try:
            if not path.exists():
                on_disk.make(path, AESGCM.generate_key(256))  # a power cut leaves no half key behind
            key = path.read_bytes()
        except OSError as error:
            raise StorageFailed(Said.of("storage.key-unreadable", file=str(path), error=str(error.strerror))) from error
        if len(key) != 32:
            raise StorageDamaged(Said.of("storage.key-damaged", file=str(path)))
        self._cipher = AESGCM(key)

    def seal(self, text: str, context: str) -> str:
        nonce = os.urandom(12)
        return (nonce + self._cipher.encrypt(nonce, text.encode(), context.encode())).hex()

    def unseal(self, sealed: str, context: str) -> str:
        try:
            data = bytes.fromhex(sealed)
            return self._cipher.decrypt(data[:12], data[12:], context.encode()).decode()
        except (InvalidTag, ValueError):
            raise StorageDamaged(Said("storage.key-other")) from None


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


@config_migrations()
def what_undo_and_search_need(db: Tables) -> None:
    db["journal"].add_column("kept", str)  # type: ignore[union-attr]  # secrets as they were before, sealed
    db["journal"].create_index(["kind", "key"])  # type: ignore[union-attr]
    db["folded"].create({"row": int, "kind": str, "id": str, "text": str}, pk="row", not_null={"kind", "id", "text"})  # type: ignore[union-attr]
    db["folded"].create_index(["kind", "id"], unique=True)  # type: ignore[union-attr]
    db.execute("create virtual table folded_words using fts5(text, content='folded', content_rowid='row', tokenize='trigram')")
    gone = "insert into folded_words (folded_words, rowid, text) values ('delete', old.row, old.text);"
    come = "insert into folded_words (rowid, text) values (new.row, new.text);"
    db.execute(f"create trigger folded_come after insert on folded begin {come} end")
    db.execute(f"create trigger folded_gone after delete on folded begin {gone} end")
    db.execute(f"create trigger folded_other after update on folded begin {gone} {come} end")


class Store:
    """The configuration. One object per process; any process may save, each save is checked against the revision it was based on."""

    def __init__(self, data: Path) -> None:
        key, database = data / "keys/box.key", data / "config.db"
        with alone(data):
            # The first start makes the database, then the key. So a key without a database has lost it, and beginning anew would hide that.
            if key.exists() and not (database.exists() and database.stat().st_size):
                raise StorageDamaged(
                    Said.of("storage.empty" if database.exists() else "storage.missing", file=database.name)
                )
            self._db = open_database(database, config_migrations)
            self._file = database
            try:
                self._opened = self._present()
                if not key.exists() and self.revision():
                    # a new key would open nothing, and what it sealed from now on would be lost with the next restore
                    raise StorageDamaged(Said.of("storage.key-missing", file=str(key)))
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
            raise StorageDamaged(Said.of("storage.missing", file=self._file.name)) from None
        if not found.st_size or not os.access(self._file, os.R_OK):
            raise StorageDamaged(
                Said.of("storage.not-readable" if found.st_size else "storage.empty", file=self._file.name)
            )
        return found.st_dev, found.st_ino

    def _demand_file(self) -> None:
        """StorageDamaged when the file is gone or another one by now: what is read from the one that was opened would hide that, and what
        is written into it would be lost."""
        if self._present() != self._opened:
            raise StorageDamaged(Said.of("storage.replaced", file=self._file.name))

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
                raise StorageDamaged(Said.of("storage.record-damaged", kind=kind, id=str(key), error=type(error).__name__)) from None
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
        self,
        changes: Sequence[Change],
        who: str,
        at: float,
        based_on: int,
        audit: Iterable[tuple[str, str, Said]] = (),
        texts: Iterable[tuple[str, str, str | None]] = (),
    ) -> int:
        """All changes in one transaction; the new revision. audit rows are (kind, key, what was done), texts what finds a record (kind, key,
        folded words; None: it is gone). Conflict if `based_on` is not the newest."""
        with sentences(), self._db.atomic():
            self._db.execute("update state set value = value + 1 where name = 'revision'")
            revision = self.revision()
            if revision != based_on + 1:
                raise Conflict("Somebody else changed the configuration meanwhile.")
            for change in changes:
                self._apply(change, who, at, revision)
            for kind, key, said in audit:
                self._journal(revision, at, who, kind, key, None, f'{{"event": {pack(said).decode()}}}')
            self._index(texts)
        return revision

    def journal(self, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        """Newest first; `before` is the id of the last row of the page before."""
        return self._rows_of("id < ? order by id desc limit ?", [before or 2**62, limit])

    def journal_of(self, kind: str, key: str, limit: int = 100, before: int | None = None) -> list[JournalRow]:
        """The same of one record."""
        return self._rows_of("kind = ? and key = ? and id < ? order by id desc limit ?", [kind, key, before or 2**62, limit])

    def revised(self, revision: int) -> list[JournalRow]:
        """What one save has done, in its order."""
        return self._rows_of("revision = ? order by id", [revision])

    def _rows_of(self, condition: str, values: list[Any]) -> list[JournalRow]:
        with sentences():
            rows = self._db.execute(
                f"select id, revision, at, who, kind, key, before, after from journal where {condition}", values
            ).fetchall()
        return [
            JournalRow(
                id, revision, at, who, kind, key, json.loads(old) if old else None, json.loads(new) if new else None
            )
            for id, revision, at, who, kind, key, old, new in rows
        ]

    def secrets_before(self, row: JournalRow) -> dict[str, str]:
        """The secrets that a change put away, by field, but for those that are never to come back."""
        with sentences():
            found = self._db.execute("select kept from journal where id = ?", [row.id]).fetchone()
        kept = json.loads(found[0]) if found and found[0] else {}
        return {name: self._key.unseal(sealed, f"{row.kind}/{row.key}/{name}") for name, sealed in kept.items()}

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
        rows = self._rows_of("kind = ? and key = ? and revision > ? order by id", [kind, key, since])
        return [row for row in rows if not row.event]

    def _apply(self, change: Change, who: str, at: float, revision: int) -> None:
        kind, key = change.kind, change.key
        found = self._db.execute("select body from record where kind = ? and id = ?", [kind, key]).fetchone()
        stored: dict[str, Any] = json.loads(found[0]) if found else {}
        old = self._masked(kind, stored) if found else self._from_the_start(change)
        kept: dict[str, str] = {}
        if change.record is None:
            self._db.execute("delete from record where kind = ? and id = ?", [kind, key])
            new = None
            kept = {name: stored[name] for name in KINDS[kind].secrets if stored.get(name)}
        else:
            body = self._pack(kind, key, change.record)
            self._db.execute(
                "insert into record (kind, id, body) values (?, ?, ?) on conflict (kind, id) do update set body = excluded.body",
                [kind, key, json.dumps(body)],
            )
            new = self._masked(kind, body)
            for name in KINDS[kind].secrets & stored.keys():
                if getattr(change.record, name) != self._key.unseal(stored[name], f"{kind}/{key}/{name}"):
                    new[name] = "(changed)"
                    kept[name] = stored[name]
        fields = KINDS[kind].record.declared.fields
        kept = {name: sealed for name, sealed in kept.items() if name in fields and not fields[name].forgotten}
        self._journal(
            revision,
            at,
            who,
            kind,
            key,
            json.dumps(old) if old is not None else None,
            json.dumps(new) if new is not None else None,
            json.dumps(kept) if kept else None,
        )

    def _from_the_start(self, change: Change) -> dict[str, Any] | None:
        """What was there before anything was stored."""
        record = KINDS[change.kind].always.get(change.key)
        return self._masked(change.kind, record.model_dump(exclude={"id"})) if record is not None else None

    def _journal(
        self,
        revision: int,
        at: float,
        who: str,
        kind: str,
        key: str,
        before: str | None,
        after: str | None,
        kept: str | None = None,
    ) -> None:
        self._db.execute(
            "insert into journal (revision, at, who, kind, key, before, after, kept) values (?, ?, ?, ?, ?, ?, ?, ?)",
            [revision, at, who, kind, key, before, after, kept],
        )

    # ---- what finds records ------------------------------------------------------------------------------------------

    def indexed_as(self) -> int:
        """What the index was made for (`index_anew`); 0: for nothing."""
        with sentences():
            found = self._db.execute("select value from state where name = 'indexed'").fetchone()
        return int(found[0]) if found else 0

    def index_anew(self, mark: int, texts: Iterable[tuple[str, str, str | None]]) -> None:
        """All words by which records are found, in place of those that are there."""
        with sentences(), self._db.atomic():
            self._db.execute("delete from folded")
            self._index(texts)
            self._db.execute("insert or replace into state (name, value) values ('indexed', ?)", [mark])

    def _index(self, texts: Iterable[tuple[str, str, str | None]]) -> None:
        for kind, key, text in texts:
            if text is None:
                self._db.execute("delete from folded where kind = ? and id = ?", [kind, key])
            else:
                self._db.execute(
                    "insert into folded (kind, id, text) values (?, ?, ?)"
                    " on conflict (kind, id) do update set text = excluded.text where text <> excluded.text",
                    [kind, key, text],
                )

    def found(self, words: Sequence[str], kinds: Collection[str] | None, limit: int) -> list[tuple[str, str]]:
        """Kind and id of the records in whose text each of these folded words is somewhere, those that begin with the first one first."""
        long = [word for word in words if len(word) >= 3]  # a trigram at least
        conditions, values = [], []
        if long:
            conditions.append("row in (select rowid from folded_words where folded_words match ?)")
            values.append(" AND ".join('"' + word.replace('"', '""') + '"' for word in long))
        for word in words:
            if len(word) < 3:
                conditions.append("instr(text, ?) > 0")
                values.append(word)
        if kinds is not None:
            conditions.append(f"kind in ({', '.join('?' * len(kinds))})")
            values += kinds
        with sentences():
            return self._db.execute(
                f"select kind, id from folded where {' and '.join(conditions) or '1'}"
                " order by instr(' ' || text, ' ' || ?) = 0, length(text), row limit ?",
                [*values, words[0] if words else "", limit],
            ).fetchall()

    def _pack(self, kind: str, key: str, record: Record) -> dict[str, Any]:
        body = record.model_dump(exclude={"id"})
        for name in KINDS[kind].secrets:
            body[name] = self._key.seal(body[name], f"{kind}/{key}/{name}")
        return body

    def _unpack(self, kind: str, key: str, body: dict[str, Any]) -> Record:
        for name in KINDS[kind].secrets & body.keys():  # one that came with a later version is not there yet
            body[name] = self._key.unseal(body[name], f"{kind}/{key}/{name}")
        record: type[Record] = KINDS[kind].record
        return record(id=key, **{name: value for name, value in body.items() if name in record.declared.fields})

    def _masked(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {name: HIDDEN if name in KINDS[kind].secrets else value for name, value in body.items()}
