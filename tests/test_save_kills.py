"""Every statement that writes, in every kind of save, is a point at which the process is killed: the configuration, its journal and what finds its records
are then of one revision, the old or the new one, and the next save goes on from there."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from appliance.config.admin import Admin, Wanted
from appliance.config.kinds import KINDS
from appliance.config.licensing import Limits
from appliance.config.store import Store

MOST = 400  # statements of one save here

Save = Callable[[Admin], object]


def _extensions(admin: Admin) -> list[str]:
    return sorted(admin.snapshot.extensions)


SAVES: Mapping[str, Save] = {
    "add": lambda admin: admin.create("extension", {"number": "300", "name": "Hall"}, "anna"),
    "change": lambda admin: admin.update("extension", _extensions(admin)[0], {"name": "Other"}, "anna"),
    "renumber": lambda admin: admin.update("extension", _extensions(admin)[0], {"number": "305"}, "anna", usernames="change"),
    "delete": lambda admin: admin.delete("user", "u1", "anna"),
    "bulk edit": lambda admin: admin.save_all(
        [Wanted("extension", key, {"encrypt": "required"}) for key in _extensions(admin)], "anna"
    ),
    "import": lambda admin: admin.save_all(
        [
            wanted
            for n in range(4)
            for wanted in (
                Wanted("user", f"new{n}", {"username": f"new{n}"}, new=True),
                Wanted("extension", f"ext{n}", {"number": f"40{n}", "user": f"new{n}"}, new=True),
            )
        ],
        "anna",
    ),
    "undo": lambda admin: admin.undo(admin.snapshot.revision, "anna"),
}


def office(data: Path) -> None:
    with closing(Store(data)) as store:
        admin = Admin(store, limits=lambda: Limits(users=50), now=lambda: 5.0)
        admin.save_all(
            [
                wanted
                for n in range(3)
                for wanted in (
                    Wanted("user", f"u{n}", {"username": f"u{n}", "full_name": f"Řehoř {n}"}, new=True),
                    Wanted("extension", f"e{n}", {"number": f"20{n}", "user": f"u{n}"}, new=True),
                )
            ],
            "root",
        )


def state(data: Path) -> tuple[object, ...]:
    """Revision, records, and what finds them; the journal's rows are of no later revision."""
    with closing(Store(data)) as store:
        admin = Admin(store, limits=lambda: Limits(users=50), now=lambda: 6.0)
        snapshot = admin.snapshot
        plain = {
            kind: sorted(
                tuple((name, value) for name, value in one.model_dump(exclude={"sip_password"}).items() if name != "id" or kind != "line")
                for one in snapshot.of(kind).values()
            )
            for kind in KINDS
        }
        assert all(row.revision <= snapshot.revision for row in admin.journal(limit=500))
        found = sorted((kind, key) for kind, key in admin.search("", limit=500) if kind != "line")
        assert found == sorted((kind, key) for kind in KINDS if KINDS[kind].searched and kind != "line" for key in snapshot.of(kind))
        return snapshot.revision, str(plain)


def killed(data: Path, save: Save, point: int) -> bool:
    """Whether the process was killed at that statement, before it was carried out; else the save has ended."""
    child = os.fork()
    if child == 0:  # no way out of here but these two
        try:
            store = Store(data)
            admin = Admin(store, limits=lambda: Limits(users=50), now=lambda: 6.0)
            count = 0

            def told(statement: str) -> None:
                nonlocal count
                count += not statement.lstrip().lower().startswith("select")
                if count == point:
                    os.kill(os.getpid(), signal.SIGKILL)

            store._db.set_trace_callback(told)
            save(admin)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("kind", SAVES)
def test_one_revision_whatever_the_point(kind: str, tmp_path: Path) -> None:
    office(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    assert not killed(tmp_path / "after", SAVES[kind], MOST)
    before, after = state(tmp_path / "before"), state(tmp_path / "after")
    assert before != after
    seen = set()
    for point in range(1, MOST):
        data = tmp_path / str(point)
        shutil.copytree(tmp_path / "before", data)
        if not killed(data, SAVES[kind], point):
            break
        found = state(data)
        assert found in (before, after), f"killed at statement {point}"
        seen.add(found == after)
        with closing(sqlite3.connect(data / "config.db")) as db:
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        shutil.rmtree(data)
    assert point > 8
    assert False in seen
