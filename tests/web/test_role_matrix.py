"""Every page of the admin port asked by every role, beside a table of who may that was written apart from the routes. A page without a row fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from flask import Flask
from werkzeug.routing import Rule

from appliance.config.rights import owner_actor
from tests.web.made import PASSWORD, Visitor
from webui.desk import Desk
from webui.portal import create_portal

LOOKS, NUMBERS, ALL = (
    "read-only",
    "delegated",
    "full",
)  # the delegated one: a group that may change extensions and see the call history
ROLES = ("stranger", "none", "own", LOOKS, NUMBERS, ALL)
LOGGED_IN = {LOOKS, NUMBERS, ALL}

# Method and address -> who may. The first row that fits counts.
TABLE: tuple[tuple[str, str, set[str]], ...] = (
    ("GET", r"/(static/.*|healthz|backup/restored|encryption/authority\.crt)", set(ROLES)),
    ("GET|POST", r"/(login.*|logout)", set(ROLES)),
    ("GET|POST", r"/setup.*", set()),
    ("GET|POST", r"/account(/.*)?", LOGGED_IN),
    ("GET", r"/(api|licences.*|search|pick/.*)", LOGGED_IN),
    ("GET", r"/", LOGGED_IN),  # the delegated one is sent on to a page of its own
    # what the delegated one may
    ("GET", r"/calls(\.csv|\.json|/.*)?|/live/chart", LOGGED_IN),
    ("GET", r"/(dial-plan|encryption)", LOGGED_IN),
    ("GET", r"/extensions(\.csv)?|/extensions/(cells|x1|x1/history)", LOGGED_IN),
    ("POST", r"/extensions/columns", LOGGED_IN),
    ("POST", r"/extensions/(x1|bulk|bulk/preview|bulk/save)", {NUMBERS, ALL}),
    # what needs more than to look, although it is only asked
    ("GET", r"/(backup/file|reset|welcome|updates/kept/x1|changes/1/undo)", {ALL}),
    ("GET", r".*/(add|delete|login|key|import.*)", {ALL}),
    # how somebody wants to see a list
    ("POST", r"/[a-z-]+/columns", {LOOKS, ALL}),
    ("POST", r".*", {ALL}),
    ("GET", r".*", {LOOKS, ALL}),
)


class Asked(NamedTuple):
    method: str
    path: str


def routes(app: Flask) -> Iterator[Asked]:
    for rule in sorted(app.url_map.iter_rules(), key=str):
        for method in sorted({"GET", "POST"} & (rule.methods or set())):
            yield Asked(method, address(rule))


def address(rule: Rule) -> str:
    return re.sub(r"<[^>]+>", lambda found: "1" if found[0].startswith("<int:") else "x1", str(rule))


def expected(asked: Asked) -> set[str]:
    for methods, pattern, who in TABLE:
        if asked.method in methods.split("|") and re.fullmatch(pattern, asked.path):
            return who
    raise AssertionError(f"{asked}: nobody has said who may")


def test_every_row_of_the_table_is_used(app: Flask) -> None:
    used = set()
    for asked in routes(app):
        used.add(
            next(
                n
                for n, (methods, pattern, _) in enumerate(TABLE)
                if asked.method in methods.split("|") and re.fullmatch(pattern, asked.path)
            )
        )
    assert used == set(range(len(TABLE)))


@pytest.fixture
def visitors(app: Flask, desk: Desk) -> dict[str, Visitor]:
    group = desk.admin.create(
        "permission-group", {"name": "Numbers", "change": "extension", "see": "history"}, "root"
    ).id
    for name, role in (("dora", "own"), ("emil", NUMBERS)):
        desk.admin.create("user", {"username": name, "role": role, "groups": group}, "root", password=PASSWORD)
    found = {}
    for name, role in (("carl", "none"), ("dora", "own"), ("ben", LOOKS), ("emil", NUMBERS), ("anna", ALL)):
        found[role] = Visitor(app.test_client(), f"192.0.2.{len(found) + 1}")
        found[role].log_in(name)
    found["stranger"] = Visitor(app.test_client(), "198.51.100.1")
    found["stranger"].get("/login")
    return found


@pytest.mark.parametrize("role", ROLES)
def test_each_page_is_for_who_may(app: Flask, desk: Desk, visitors: dict[str, Visitor], role: str) -> None:
    wrong, tried = [], 0
    ends = ("/logout", "/account/sessions/end", "/account")
    for asked in (each for each in routes(app) if each.path not in ends or each.method == "GET"):
        desk.now.now += 1  # type: ignore[attr-defined]  # so that nothing is asked too fast
        visitor = visitors[role]
        answer = visitor.get(asked.path) if asked.method == "GET" else visitor.post(asked.path)
        refused = answer.status_code == 403 or (
            answer.status_code == 303 and (answer.location or "").startswith("/login")
        )
        if asked.path.startswith("/login"):
            refused = False
        if refused == (role in expected(asked)):
            wrong.append(f"{role} {asked.method} {asked.path}: {answer.status_code} {answer.location or ''}")
        if answer.status_code >= 500:
            wrong.append(f"{role} {asked.method} {asked.path}: {answer.status_code}")
        tried += 1
    assert not wrong
    assert tried > 100


def test_on_the_page_for_everybody_all_roles_have_the_same(desk: Desk) -> None:
    portal = create_portal(desk)
    users = list(desk.admin.snapshot.users.values())
    assert {user.role for user in users} == {"full", "read-only", "none"}
    rights = {user.role: owner_actor(user, desk.admin.snapshot).rights for user in users}
    assert rights["none"] == ()
    assert rights["full"] == rights["read-only"]
    for asked in routes(portal):
        stranger = Visitor(portal.test_client())
        stranger.get("/login")
        answer = stranger.get(asked.path) if asked.method == "GET" else stranger.post(asked.path)
        free = re.fullmatch(r"/(static/.*|healthz|authority\.crt|login.*|logout|phone/.*|)", asked.path) is not None
        assert free or (answer.status_code == 303 and answer.location.startswith("/login")), asked
