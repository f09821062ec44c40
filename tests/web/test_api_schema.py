"""The document of the API and what is really answered: schemathesis asks every operation what its description allows, and what it forbids.

No answer may be a fault of ours, none may be one that the document does not have, and what it has must have the shape that it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any
from wsgiref.types import WSGIApplication

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from appliance import cti
from appliance.config.kinds import KINDS
from appliance.config.rights import ROOT
from appliance.config.rights.acting import Acting
from appliance.words import LANGUAGES, words_of
from tests.web.made import PASSWORD, Clock, FakeBox, leg, make_desk, phone
from tests.web.programs import BASE
from webui.api.document import document
from webui.api.everything import OPERATIONS
from webui.app import create_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 15  # of each operation, beside those that its description names
schema = schemathesis.openapi.from_dict(msgspec.json.decode(msgspec.json.encode(document(OPERATIONS, words_of("en"), BASE))))


@schemathesis.serializer("application/toml", "text/csv")
def as_it_is(_: Any, value: Any) -> bytes:
    """Whatever was thought of is no text of a configuration, or is one by chance."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


class Office:
    """The application, and what makes a request that of an administrator's page."""

    def __init__(self, app: WSGIApplication, headers: dict[str, str], ids: dict[str, str]) -> None:
        self.app, self.headers, self.ids = app, headers, ids
        self.asked = count()
        self.answers: dict[str, set[int]] = {}


def read_whole(app: WSGIApplication) -> WSGIApplication:
    """Whoever asks reads the answer to its end: a file that is sent is closed then."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        answer: Any = app(environ, start_response)
        try:
            return [b"".join(answer)]
        finally:
            answer.close()

    return application


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """With somebody and something of everything, on a clock on which nobody asks too fast."""
    seconds = count(0, 10)
    box = FakeBox(
        calls=[cti.CallView("c1", 1.0, None, leg("120", "Anna", secure=True), [leg("121", "Ben", secure=False)], "121")],
        phones=[phone("120", "Anna", line="l1", secure=True, agent="Snom", since=5.0)],
        status=cti.Status("1", 0.0, True, [cti.ProcessView("web", 1, "running", 1.0, 0, 1, 1)], {"calls": 1}, [], "epoll", {}),
    )
    desk = replace(make_desk(tmp_path_factory.mktemp("api"), Clock(), box), elapsed=lambda: float(next(seconds)))
    admin = desk.admin
    admin.complete_setup(username="anna", full_name="Anna", password=PASSWORD, first_extension="100", country="DE")
    admin.create("extension", {"number": "120", "name": "Anna"}, "anna")
    admin.create("api-key", {"name": "Door"}, "anna")  # the one that is changed and deleted
    acting = Acting(admin, ROOT)
    key = acting.issue_key(acting.create("api-key", {"name": "Fuzz", "role": "full"}).id)
    admin.create("permission-group", {"name": "Desk"}, "anna")
    there = {row.path: next(iter(admin.snapshot.of(row.name) or row.always), "") for row in KINDS.values()}
    ids = there | {"live-calls": "c1", "changes": "1"}
    office = Office(read_whole(create_app(desk)), {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}, ids)
    yield office
    desk.sessions.close()
    desk.history.close()
    admin._store.close()


@schema.exclude(operation_id="events").parametrize()  # it does not end
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_has(case: Any, office: Office) -> None:
    known = office.ids.get(case.path.split("/")[1])
    if known and next(office.asked) % 2:  # half of them are there
        for name in case.path_parameters or {}:
            case.path_parameters[name] = known
    response = case.call_and_validate(
        app=office.app, base_url=f"https://localhost{BASE}", headers=office.headers, checks=CHECKS
    )
    office.answers.setdefault(f"{case.method} {case.path}", set()).add(response.status_code)


def test_operations_were_really_carried_out(office: Office) -> None:
    """The test above has asked as somebody who may do everything: a 401 everywhere would be in the document too."""
    declared = {f"{row.method} {row.path}" for row in OPERATIONS if row.do is not None}
    done = {name for name in declared if min(office.answers.get(name, {500})) < 300}
    assert len(done) > 0.7 * len(declared), f"never carried out: {sorted(declared - done)}"


def test_operations_are_named_once() -> None:
    names = [row.name for row in OPERATIONS]
    assert len(names) == len(set(names))
    assert len({(row.method, row.path) for row in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_document_speaks_each_language(language: str) -> None:
    made = document(OPERATIONS, words_of(language), BASE)
    assert made["info"]["description"] == words_of(language).patterns["api.description"]
    assert all(row["summary"] for methods in made["paths"].values() for row in methods.values())
