"""Sessions of the pages, kept on the server so that they can be listed and ended there.

The browser holds a random cookie; the file holds its SHA-256, so that a stolen file opens no session. A session ends after `IDLE`
seconds without a click, after `ABSOLUTE` seconds in any case, on logout, when its user or an administrator ends it, and when its user's password or
role changes. The file lives beside the control sockets and survives a restart of this process. At most `BOUND` sessions exist; the ones unused the
longest go first, strangers before people who are logged in.

Browsers send their cookies to every port of a host. So each port has a cookie of its own name, and what the one of the page for
everybody holds begins with `OF_PORTAL`: such a session opens nothing on the admin page, whatever name it is sent under, for the file knows only the whole.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from flask import Flask, Request, Response
from flask import request as asked
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.datastructures import CallbackDict

COOKIE = "__Host-switchroom"
PORTAL_COOKIE = "__Host-switchroom-portal"
OF_PORTAL = "p."  # what a cookie of the page for everybody begins with
IDLE = 3600.0
ABSOLUTE = 12 * 3600.0
BOUND = 2_000
WHERE = "where"  # in its contents: from where somebody has logged in
LONGEST_AGENT = 300  # characters

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    key TEXT PRIMARY KEY, user TEXT NOT NULL, created REAL NOT NULL, seen REAL NOT NULL, contents TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secret (value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS key_used (key TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS used (user TEXT PRIMARY KEY, step INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Stored:
    user: str  # id of the user record, "" for a stranger
    created: float
    seen: float
    contents: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A session as its user sees it in a list. `key` opens nothing."""

    key: str
    created: float
    seen: float
    agent: str  # what the browser says of itself
    address: str
    portal: bool


def key_of(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


class Sessions:
    """The file of sessions. Used from several threads: one connection, one lock."""

    def __init__(self, file: Path) -> None:
        self._lock = Lock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        file.chmod(0o600)
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")

    def secret(self) -> str:
        """What signs the tokens in forms: made once, kept as long as the sessions are."""
        with self._lock:
            row = self._db.execute("SELECT value FROM secret").fetchone()
            if row is None:
                row = (secrets.token_urlsafe(32),)
                self._db.execute("INSERT INTO secret VALUES (?)", row)
            return str(row[0])

    def token(self) -> str:
        """A name nobody can guess."""
        return secrets.token_urlsafe(32)

    def find(self, cookie: str, now: float, *, portal: bool = False) -> Stored | None:
        """The session of a cookie; one of the other port is none."""
        if cookie.startswith(OF_PORTAL) != portal:
            return None
        with self._lock:
            row = self._db.execute(
                "SELECT user, created, seen, contents FROM session WHERE key = ? AND seen > ? AND created > ?",
                (key_of(cookie), now - IDLE, now - ABSOLUTE),
            ).fetchone()
        return Stored(row[0], row[1], row[2], json.loads(row[3])) if row else None

    def save(self, cookie: str, stored: Stored) -> None:
        row = (key_of(cookie), stored.user, stored.created, stored.seen, json.dumps(stored.contents))
        with self._lock:
            new = not self._db.execute("SELECT 1 FROM session WHERE key = ?", row[:1]).fetchone()
            self._db.execute("INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?)", row)
            if new:
                self._prune(stored.seen)

    def _prune(self, now: float) -> None:
        self._db.execute("DELETE FROM session WHERE seen <= ? OR created <= ?", (now - IDLE, now - ABSOLUTE))
        (count,) = self._db.execute("SELECT count(*) FROM session").fetchone()
        if count > BOUND:
            self._db.execute(
                "DELETE FROM session WHERE key IN (SELECT key FROM session ORDER BY user != '', seen LIMIT ?)",
                (count - BOUND,),
            )

    def touch(self, cookie: str, now: float) -> None:
        with self._lock:
            self._db.execute("UPDATE session SET seen = ? WHERE key = ?", (now, key_of(cookie)))

    def end(self, cookie: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM session WHERE key = ?", (key_of(cookie),))

    def end_all_of(self, user: str, *, but: str = "") -> None:
        """Every session of a user, except the one with the cookie `but`."""
        with self._lock:
            self._db.execute("DELETE FROM session WHERE user = ? AND key != ?", (user, key_of(but)))

    def of(self, user: str, now: float) -> list[Listed]:
        """Those of a user, the one used last first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT key, created, seen, contents FROM session WHERE user = ? AND seen > ? AND created > ? ORDER BY seen DESC",
                (user, now - IDLE, now - ABSOLUTE),
            ).fetchall()
        found = []
        for key, created, seen, contents in rows:
            where = json.loads(contents).get(WHERE, {})
            found.append(
                Listed(key, created, seen, where.get("agent", ""), where.get("address", ""), where.get("portal", False))
            )
        return found

    def end_one_of(self, user: str, key: str) -> bool:
        """Whether there was such a session of this user."""
        with self._lock:
            return self._db.execute("DELETE FROM session WHERE user = ? AND key = ?", (user, key)).rowcount > 0

    def use_step(self, user: str, step: int) -> bool:
        """Take a code's step of time for used, and all before it; False when it was already."""
        with self._lock:
            done = self._db.execute(
                "INSERT INTO used VALUES (?, ?) ON CONFLICT (user) DO UPDATE SET step = excluded.step WHERE excluded.step > step",
                (user, step),
            )
            return done.rowcount > 0

    def use_key(self, key: str, now: float) -> None:
        """A program has come with the key of this record."""
        with self._lock:
            self._db.execute(
                "INSERT INTO key_used VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET at = excluded.at WHERE excluded.at > at + 60", (key, now)
            )

    def key_used(self, key: str) -> float:
        """When that was last, to a minute; 0.0: not since this file was made."""
        with self._lock:
            row = self._db.execute("SELECT at FROM key_used WHERE key = ?", (key,)).fetchone()
        return float(row[0]) if row else 0.0

    def close(self) -> None:
        with self._lock:
            self._db.close()


class Session(CallbackDict[str, Any], SessionMixin):
    """What pages see as `flask.session`; `user` is the id of who is logged in."""

    def __init__(self, cookie: str = "", stored: Stored | None = None) -> None:
        def changed(_: Any) -> None:
            self.modified = True

        super().__init__(stored.contents if stored else {}, changed)
        self.cookie = cookie
        self.user = stored.user if stored else ""
        self.created = stored.created if stored else 0.0
        self.seen = stored.seen if stored else 0.0
        self.modified = False
        self.live = False  # set by the guard for requests that a page makes by itself: they do not count as a click
        self.ended = False


class ServerSideSessions(SessionInterface):
    """Flask's session, kept in `Sessions`."""

    def __init__(self, sessions: Sessions, now: Callable[[], float], *, portal: bool = False) -> None:
        self._sessions, self._now, self._portal = sessions, now, portal
        self._name = PORTAL_COOKIE if portal else COOKIE

    def open_session(self, app: Flask, request: Request) -> Session:
        cookie = request.cookies.get(self._name, "")
        stored = self._sessions.find(cookie, self._now(), portal=self._portal) if cookie else None
        return Session(cookie, stored) if stored else Session()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        assert isinstance(session, Session)
        if session.ended:
            self._sessions.end(session.cookie)
            response.delete_cookie(self._name, path="/", secure=True, httponly=True, samesite="Lax")
        elif session.modified:
            now = self._now()
            if not session.cookie:
                session.cookie = OF_PORTAL * self._portal + secrets.token_urlsafe(32)
                response.set_cookie(self._name, session.cookie, path="/", secure=True, httponly=True, samesite="Lax")
            self._sessions.save(session.cookie, Stored(session.user, session.created or now, now, dict(session)))
        elif session.cookie and not session.live and self._now() - session.seen > 30:
            self._sessions.touch(session.cookie, self._now())

    def begin(self, session: Session, user: str) -> None:
        """A new cookie for a user who has just logged in: the old one may be known to someone else."""
        if session.cookie:
            self._sessions.end(session.cookie)
        session.clear()
        session.cookie, session.user, session.created, session.modified = "", user, self._now(), True
        agent = asked.user_agent.string[:LONGEST_AGENT]
        session[WHERE] = {"agent": agent, "address": asked.remote_addr or "", "portal": self._portal}
