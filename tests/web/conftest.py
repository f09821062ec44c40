"""Fixtures of the page tests: a desk, the pages on it, and visitors with and without a login."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.web.chromium import browser, page, playwright  # noqa: F401
from tests.web.made import PASSWORD, Clock, FakeBox, Visitor, make_desk
from tests.web.served import Served, served
from webui.app import create_app
from webui.desk import Desk


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def box() -> FakeBox:
    return FakeBox()


@pytest.fixture
def new_desk(tmp_path: Path, clock: Clock, box: FakeBox) -> Iterator[Desk]:
    """A box that is not set up yet."""
    made = make_desk(tmp_path, clock, box)
    yield made
    made.sessions.close()
    made.history.close()
    made.admin._store.close()


@pytest.fixture
def desk(new_desk: Desk) -> Desk:
    """A box with the administrator anna (full), ben (read-only) and carl (none)."""
    admin = new_desk.admin
    admin.complete_setup(
        username="anna", full_name="Anna Berger", password=PASSWORD, first_extension="100", country="DE"
    )
    for username, name, role in (("ben", "Ben Carter", "read-only"), ("carl", "Carl Dahl", "none")):
        admin.create("user", {"username": username, "full_name": name, "role": role}, "anna", password=PASSWORD)
    return new_desk


@pytest.fixture
def made(tmp_path: Path, box: FakeBox) -> Iterator[Desk]:
    """A box that is not set up yet, on this machine's clock: for a browser, which has no other."""
    desk = make_desk(tmp_path / "data", time.time, box)
    yield desk
    desk.sessions.close()
    desk.history.close()
    desk.admin._store.close()


@pytest.fixture
def site(made: Desk) -> Iterator[Served]:
    with served(create_app(made), made) as running:
        yield running


@pytest.fixture
def app(desk: Desk) -> Flask:
    return create_app(desk)


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    return Visitor(app.test_client())


@pytest.fixture
def anna(app: Flask) -> Visitor:
    made = Visitor(app.test_client())
    made.log_in("anna")
    return made


@pytest.fixture
def ben(app: Flask) -> Visitor:
    made = Visitor(app.test_client())
    made.log_in("ben")
    return made
