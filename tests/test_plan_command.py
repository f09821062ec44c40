"""`switchroom plan`: where a call would go, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from appliance.__main__ import main
from appliance.config.admin import Admin
from appliance.config.store import Store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = Store(tmp_path)
    admin = Admin(store)
    for number in ("100", "101"):
        admin.create("extension", {"number": number, "name": f"Phone {number}"}, "test")
    store.close()
    return tmp_path


def asked(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", *arguments, "--data", str(data)])


def test_a_number_is_explained_step_by_step(data: Path) -> None:
    result = asked(data, "101", "--from", "100")
    assert result.exit_code == 0
    assert result.output.splitlines()[:2] == ["Phone 100 (100) dials 101.", "101 is extension 101 (Phone 101)."]
    assert "  The caller is told: nobody answered." in result.output.splitlines()


def test_at_another_time_it_is_the_same_and_says_so(data: Path) -> None:
    now = json.loads(asked(data, "101", "--from", "100", "--json").output)
    then = json.loads(asked(data, "101", "--from", "100", "--at", "2026-12-24T10:00", "--json").output)
    assert then[:-1] == now
    assert "it is the same at any other" in then[-1]["sentence"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("101", "--from", "999"), "There is no extension 999."),
        (("101", "--from", "100", "--at", "Christmas"), "does not match"),
        (("101",), "--from"),
    ],
)
def test_what_cannot_be_asked_is_said(data: Path, arguments: tuple[str, ...], said: str) -> None:
    result = asked(data, *arguments)
    assert result.exit_code != 0
    assert said in result.output + (result.stderr if result.stderr_bytes else "")


def test_where_there_is_no_system(tmp_path: Path) -> None:
    assert asked(tmp_path / "none", "101", "--from", "100").exit_code == 3
