"""`switchroom user` and `switchroom extension`: the fields, checks and sentences of the pages."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from appliance.__main__ import main
from appliance.config.admin import Admin
from appliance.config.model import KINDS, Refused
from appliance.config.store import Store

PASSWORD = "correct horse battery"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    Store(tmp_path).close()
    return tmp_path


def run(data: Path, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, [*arguments, "--data", str(data)], input=typed)


def listed(data: Path, kind: str) -> list[dict[str, str]]:
    return list(json.loads(run(data, kind, "list", "--json").stdout))


@contextlib.contextmanager
def admin_of(data: Path) -> Iterator[Admin]:
    store = Store(data)
    try:
        yield Admin(store)
    finally:
        store.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["add", "set", "change"])
def test_every_field_that_people_see_is_an_option(data: Path, kind: str, command: str) -> None:
    row = KINDS[kind]
    done = run(data, kind, command, "--help")
    if command == "add" and row.always:
        assert done.exit_code == 2
        return
    for name, declared in row.record.declared.fields.items():
        wanted = not declared.secret and (not declared.hidden or (command == "add" and name == row.parent))
        assert (f"--{name.replace('_', '-')} " in done.stdout) == (wanted and (name != row.named_by or command != "add")), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_and_shown(data: Path, kind: str) -> None:
    with admin_of(data) as admin:
        user = admin.create("user", {"username": "anna"}, "root")
        admin.create("extension", {"number": "100", "user": user.id}, "root")
        admin.create("permission-group", {"name": "Helpdesk"}, "root")
        admin.create("api-key", {"name": "Door"}, "root")
    single = list(KINDS[kind].always) == [kind]
    names = [] if single else [next(iter(row.values())) for row in listed(data, kind)]
    for name in names or [""]:
        shown = json.loads(run(data, kind, "show", *filter(None, [name]), "--json").stdout)
        assert shown["id"]
        assert not set(shown) & KINDS[kind].secrets
        assert run(data, kind, "show", *filter(None, [name])).exit_code == 0


def test_a_record_is_shown_with_its_past_and_its_password_only_when_asked(data: Path) -> None:
    run(data, "extension", "add", "100")
    run(data, "extension", "set", "100", "--name", "Lab")
    shown = json.loads(run(data, "extension", "show", "100", "--json").stdout)
    assert [entry["changes"] for entry in shown["history"]] == ["Name: empty → “Lab”", "added"]
    assert "sip_password" not in run(data, "line", "show", "100", "--json").stdout
    assert len(json.loads(run(data, "line", "show", "100", "--reveal", "--json").stdout)["sip_password"]) == 24
    assert "SIP password shown" in run(data, "line", "show", "100").stdout


def test_a_line_is_added_to_an_extension_by_its_number(data: Path) -> None:
    run(data, "extension", "add", "100")
    assert run(data, "line", "add", "100-2", "--extension", "100", "--label", "Door").exit_code == 0
    assert [(row["sip_username"], row["label"]) for row in listed(data, "line")] == [("100", ""), ("100-2", "Door")]
    assert listed(data, "extension")[0]["lines"] == "100, 100-2"


def test_a_list_is_searched_as_the_page_is(data: Path) -> None:
    for number, name in (("100", "Straße"), ("101", "Hall")):
        run(data, "extension", "add", number, "--name", name)
    found = json.loads(run(data, "extension", "list", "--search", "STRASSE", "--json").stdout)
    assert [row["number"] for row in found] == ["100"]


def test_settings_and_services_are_set(data: Path) -> None:
    assert run(data, "settings", "set", "--name", "Office", "--time-zone", "Europe/Prague").exit_code == 0
    assert run(data, "service", "set", "echo", "--number", "*61", "--on", "no").exit_code == 0
    assert json.loads(run(data, "settings", "show", "--json").stdout)["time_zone"] == "Europe/Prague"
    assert [(row["service"], row["number"], row["on"]) for row in listed(data, "service")] == [("echo", "*61", "no")]
    assert "not known" in run(data, "settings", "set", "--time-zone", "Mars").stderr


def test_everything_is_added_and_listed(data: Path) -> None:
    done = run(
        data,
        "user",
        "add",
        "jürgen",
        "--full-name",
        "Jürgen Groß",
        "--role",
        "full",
        "--password",
        typed=f"{PASSWORD}\n",
    )
    assert (done.exit_code, done.stdout) == (0, "User jürgen was added.\n")
    done = run(
        data,
        "extension",
        "add",
        "105",
        "--name",
        "Lab",
        "--user",
        "jürgen",
        "--encrypt",
        "required",
        "--ring-seconds",
        "20",
        "--json",
    )
    assert json.loads(done.stdout) == {"number": "105", "sip_username": "105"}
    assert listed(data, "extension") == [
        {"number": "105", "name": "Lab", "user": "jürgen", "encrypt": "required", "ring_seconds": "20", "lines": "105"}
    ]
    assert listed(data, "user") == [
        {"username": "jürgen", "full_name": "Jürgen Groß", "email": "", "role": "full", "groups": "", "language": "", "extensions": "105"}
    ]
    with admin_of(data) as admin:
        assert admin.authenticate("jürgen", PASSWORD) is not None


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("user", {"username": "a b"}, ""),
    ("user", {"username": "dora", "role": "emperor"}, ""),
    ("user", {"username": "dora", "role": "full"}, ""),
    ("user", {"username": "dora", "full_name": "x" * 81}, ""),
    ("user", {"username": "dora"}, "sunshine2024"),
    ("user", {"username": "dora"}, "short"),
    ("user", {"username": "anna"}, ""),
    ("extension", {"number": "112"}, ""),
    ("extension", {"number": "100"}, ""),
    ("extension", {"number": "12a"}, ""),
    ("extension", {"number": "101", "encrypt": "maybe"}, ""),
    ("extension", {"number": "101", "ring_seconds": "1"}, ""),
    ("extension", {"number": "101", "ring_seconds": "soon"}, ""),
    ("extension", {"number": "101", "name": "A\nB"}, ""),
]


@pytest.mark.parametrize(("kind", "values", "password"), REFUSED)
def test_what_the_page_refuses_is_refused_in_the_same_words(
    data: Path, kind: str, values: dict[str, Any], password: str
) -> None:
    with admin_of(data) as admin:
        admin.create("user", {"username": "anna"}, "root")
        admin.create("extension", {"number": "100"}, "root")
        revision = admin.snapshot.revision
        with pytest.raises(Refused) as refused:
            admin.create(kind, values, "root", password=password)
    key, *options = values.items()
    arguments = [part for name, value in options for part in (f"--{name.replace('_', '-')}", value)]
    done = run(data, kind, "add", key[1], *arguments, *(["--password"] if password else []), typed=f"{password}\n")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [problem.message for problem in refused.value.problems]
    with admin_of(data) as admin:
        assert admin.snapshot.revision == revision


def test_changing_and_deleting(data: Path) -> None:
    run(data, "user", "add", "anna")
    assert "needs a password" in run(data, "user", "change", "anna", "--role", "full").stderr
    done = run(
        data, "user", "change", "anna", "--role", "full", "--username", "anne", "--password", typed=f"{PASSWORD}\n"
    )
    assert done.exit_code == 0
    assert listed(data, "user") == [
        {"username": "anne", "full_name": "", "email": "", "role": "full", "groups": "", "language": "", "extensions": ""}
    ]
    assert "only administrator" in run(data, "user", "delete", "anne", "--yes").stderr
    run(data, "extension", "add", "100", "--user", "anne")
    unsaid = run(data, "extension", "change", "100", "--number", "200")
    assert unsaid.exit_code == 1
    assert "--sip-usernames keep, or change" in unsaid.stderr
    assert (
        run(data, "extension", "change", "100", "--number", "200", "--sip-usernames", "keep", "--user", "").exit_code
        == 0
    )
    assert [(row["number"], row["lines"], row["user"]) for row in listed(data, "extension")] == [("200", "100", "")]
    asked = run(data, "extension", "delete", "200", typed="n\n")
    assert "Nobody can dial 200 any more." in asked.stderr
    assert len(listed(data, "extension")) == 1
    assert run(data, "extension", "delete", "200", typed="y\n").exit_code == 0
    assert listed(data, "extension") == []


def test_what_is_not_there_is_said(data: Path, tmp_path: Path) -> None:
    assert run(data, "extension", "change", "999", "--name", "x").stderr == "There is no extension 999.\n"
    assert run(data, "extension", "add", "--user", "nobody").stderr == "There is no user nobody.\n"
    assert run(data, "user", "add", "dora", "--password", typed="\n").stderr == "No password was given.\n"
    assert run(tmp_path / "nothing", "user", "list").exit_code == 3


def test_who_has_lost_password_and_login_code_gets_back_in(data: Path) -> None:
    with admin_of(data) as admin:
        anna = admin.create("user", {"username": "anna", "role": "full"}, "root", password=PASSWORD)
        admin.keep("user", anna.id, {"totp_seed": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}, "anna", "switched on the second factor")
    word = run(data, "login", "reset", "Anna").stdout.strip()
    assert "There is no user emil." in run(data, "login", "reset", "emil").output
    with admin_of(data) as admin:
        now = admin.authenticate("anna", word)
        assert now is not None
        assert (now.totp_seed, now.password_given) == ("", True)
        assert all(word not in str(row) for row in admin.journal())
