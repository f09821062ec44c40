"""A kind of record is a file and its words: a copy of the product gets one as docs/new-record.md says it, and nothing else of it is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/new-record.md"


def files() -> dict[str, str]:
    """What the document says to write: name to contents."""
    return dict(re.findall(r"`(contacts?\.[a-z.]+)`:?\n\n```\w+\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What was seen of a copy of the product with a kind more."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "appliance", copy / "appliance", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files().items():
        assert not (copy / "appliance/config/kinds" / name).exists()
        (copy / "appliance/config/kinds" / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tests.records.copied_kind", str(copy / "data")],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["appliance"] == str(copy / "appliance/__init__.py")
    return found


def test_the_document_names_the_class_and_three_languages() -> None:
    assert set(files()) == {"contacts.py", "contact.en.toml", "contact.de.toml", "contact.cs.toml"}


def test_it_has_a_list_and_a_form(seen: Any) -> None:
    assert seen["empty"]
    for part in ("Add contact", 'name="number"', "As it is dialled from here.", "We buy from them.", "Shown on telephones", "Looked after by"):
        assert part in seen["form"]
    assert seen["added"] == [303, True]
    assert "Ada Lovelace stands in the phone book already." in seen["twice"]
    assert ">Ada Lovelace</a>" in seen["list"]
    assert ">Supplier<" in seen["list"]


def test_its_changes_are_told_and_taken_back(seen: Any) -> None:
    assert seen["changed"] == seen["undone"] == 303
    assert "Note: " in seen["history"]
    assert "Éngines" in seen["history"]
    assert seen["record"]["note"] == "Likes engines"
    assert seen["record"]["listed"] is True


def test_search_finds_it_and_its_page(seen: Any) -> None:
    assert "Ada Lovelace" in seen["search"]
    assert 'href="/contacts"' in seen["menu"]


def test_it_goes_out_and_in_as_a_table(seen: Any) -> None:
    assert seen["count"] == 3
    assert "Bert,0302,customer" in seen["csv"].replace("Customer", "customer")


def test_programs_have_it(seen: Any) -> None:
    assert "Ada Lovelace" in seen["api"]
    assert any(path.endswith("/contacts") for path in seen["operations"])
    assert len(seen["operations"]) >= 2


def test_the_command_line_and_the_text_have_it(seen: Any) -> None:
    added, listed, deleted = seen["command"]
    assert "Carl" in added
    assert "Ada Lovelace" in listed
    assert "0304" in listed
    assert "Carl" in deleted
    assert "Ada Lovelace" in seen["text"]
    assert "Likes engines" in seen["text"]


def test_it_is_called_in_three_languages(seen: Any) -> None:
    assert seen["titles"] == {"en": "Phone book", "de": "Telefonbuch", "cs": "Telefonní seznam"}
