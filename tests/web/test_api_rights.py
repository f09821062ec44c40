"""The role matrix of the API: every operation asked by every role is answered as its right says; nothing is without one."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from flask import Flask

from appliance.config.model import Role, User
from appliance.config.rights import actor_of
from tests.web.made import PASSWORD, Visitor
from tests.web.programs import BASE, of_page
from webui.api.everything import OPERATIONS
from webui.api.operations import Operation
from webui.desk import Desk

ROLES = get_args(Role)
# Whoever may use one may use it for what is theirs, or asks for rights at the records themselves.
ANYBODY = {"me", "document", "search", "batch", "parts", "part-text"}


def test_what_everybody_may_is_listed_here() -> None:
    assert {row.name for row in OPERATIONS if not row.may} == ANYBODY


@pytest.mark.parametrize("role", ROLES)
def test_each_operation_asks_for_its_right(app: Flask, desk: Desk, role: str) -> None:
    user = desk.admin.create("user", {"username": "dora", "role": role}, "anna", password=PASSWORD)
    assert isinstance(user, User)
    visitor = Visitor(app.test_client(), address=f"192.0.2.{ROLES.index(role) + 1}")
    visitor.log_in("dora")
    page = of_page(visitor)
    rights = actor_of(user, desk.admin.snapshot)
    for row in OPERATIONS:
        if row.do is None:
            continue
        desk.now.now += 10  # type: ignore[attr-defined]  # nobody asks too fast
        response = page.ask(row.method, address(row), body(row), If_Match="*")
        allowed = bool(rights.rights) and (not row.may or rights.may(*row.may.split()))  # type: ignore[arg-type]
        if allowed:
            assert (
                (response.status_code not in (401, 405) and response.status_code < 500) or response.status_code == 503
            ), row.name
        else:
            assert response.status_code == (403 if rights.rights else 401), (row.name, response.status_code)
    assert desk.admin.snapshot.users[user.id].role == role


def address(row: Operation) -> str:
    return re.sub(r"{\w+}", "x1", row.path)


def body(row: Operation) -> object:
    if row.raw:
        return b"nothing"
    return {} if row.body is not None else None


def test_every_route_of_the_application_is_an_operation(app: Flask) -> None:
    api = app.extensions["api"]
    declared = {(row.method, row.rule) for row in OPERATIONS if row.do is not None}
    there = {
        (method, rule.rule)
        for rule in api.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert there == declared
    assert BASE == "/api/v1"
