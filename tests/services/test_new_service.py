"""A service is a folder: a copy of the product gets one more, and nothing else of it is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from appliance.config import folders
from appliance.config.kinds.services import SERVICES as KIND
from appliance.services import scripts
from appliance.services.echo import script as echo
from appliance.words import Said, Words
from appliance.words.catalogue import merged
from tests.box import Box, office
from tests.clock import run

ROOT = Path(__file__).parents[2]
COUNT = {
    "service.toml": 'number = "*70"\nargument = "number"\n',
    "en.toml": """[count]
title = "Counting"
name = "the counting"
help = "Dial it and a number, hear as many tones."
welcome = "Count along."
""",
    "script.py": '''"""As many tones as the number behind it says."""

import msgspec

from appliance.calls.api import Call, Said


class Counted(msgspec.Struct):
    tones: int = 0


async def script(call: Call, state: Counted) -> None:
    await call.answered(call.caller)
    if not state.tones:
        await call.play(call.caller, Said.of("count.welcome"))
    while state.tones < int(call.argument):
        await call.play(call.caller, ((440, 0, 300), (0, 0, 200)))
        state.tones += 1
        call.keep(state)
''',
}


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What was seen of a copy of the product with a service more."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "appliance", copy / "appliance", ignore=shutil.ignore_patterns("__pycache__"))
    write(copy / "appliance/services/count", COUNT)
    done = subprocess.run(
        [sys.executable, "-m", "tests.services.copied_product", str(copy / "data")],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["appliance"] == str(copy / "appliance/__init__.py")
    return found


def test_it_can_be_dialled_and_goes_on_after_a_restart(seen: Any) -> None:
    assert seen["answer"] == 200
    assert seen["tones"] == 3
    assert seen["record"] == ["answered", "*703", "Counting", True]
    assert seen["without"] == 404, "without the number that its row wants behind it"


def test_its_number_is_told_by_the_plan(seen: Any) -> None:
    assert "*703 is the counting." in seen["plan"]


def test_its_sentences_are_in_the_catalogue(seen: Any) -> None:
    assert seen["words"] == "Count along."


def test_the_office_changes_its_number_and_conflicts_are_told_by_name(seen: Any) -> None:
    assert seen["numbers"] == {
        "first": "*70",
        "its number for another": "*701 is in use by the counting.",
        "changed": "*71",
        "off": "",
    }
    assert 'name="count.number"' in seen["page"]
    assert "Dial it and a number, hear as many tones." in seen["page"]


# ---- what stands in the folders -----------------------------------------------------------------------------------------


def test_each_folder_is_a_record_a_script_and_words() -> None:
    assert set(folders.ROWS) == set(KIND.always) == set(scripts.SERVICES)
    assert {"title", "name", "help"} <= {key.partition(".")[2] for key in merged("en") if key.startswith("echo.")}
    assert not set(folders.ROWS) & set(scripts.DESTINATIONS)


@pytest.mark.parametrize("name", ["service.toml", "en.toml", "script.py"])
def test_the_document_shows_the_echo_test_as_it_is(name: str) -> None:
    text = (ROOT / "docs/new-service.md").read_text()
    chapter = text.partition(f"`{name}`\n")[2].partition("\n## ")[0]
    shown = chapter.partition("```")[2].partition("\n")[2].partition("```")[0]
    assert shown == (ROOT / "appliance/services/echo" / name).read_text()


def test_the_test_in_the_document_is_the_echo_tests() -> None:
    text = (ROOT / "docs/new-service.md").read_text().partition("## 4.")[2]
    code = text.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {"Box": Box, "office": office, "echo": echo}
    exec("async def scene():\n" + textwrap.indent(code, "    "), names)
    run(names["scene"]())


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("count", 'number = "seventy"', "digits"),
        ("count", 'argument = "number"', "number"),
        ("count", 'number = "*70"\nargument = "name"', "argument"),
        ("count", 'number = "*70"\ncolour = "red"', "colour"),
        ("count", "number", "service.toml"),
        ("Count-1", 'number = "*70"', "small letters"),
    ],
)
def test_a_row_that_cannot_be_is_told_with_its_file(tmp_path: Path, name: str, row: str, said: str) -> None:
    write(tmp_path / name, {"service.toml": row})
    with pytest.raises(folders.BrokenFolder, match=said):
        folders.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("count", '[claims]\nin-use = "Mine."'), ("count", '[other]\nname = "x"'), ("claims", '[claims]\ncount = "x"')],
)
def test_the_sentences_of_a_folder_are_nobody_elses(tmp_path: Path, name: str, words: str) -> None:
    write(tmp_path / "words" / "en", {"plan.toml": '[claims]\nin-use = "Theirs."'})
    write(tmp_path / "services" / name, {"en.toml": words})
    with pytest.raises(ValueError, match=r"stand under|stands in"):
        merged("en", tmp_path)


def test_what_a_service_does_not_say_in_a_language_is_said_in_english() -> None:
    german = Words("de", {"other.a": "Anderes"}, Words("en", {"count.phones": "{count|# phone|# phones}"}))
    assert german.say(Said.of("count.phones", count=2)) == "2 phones"
    assert german.has("count.phones")
    assert not german.has("count.nothing")


@pytest.mark.parametrize(
    "script",
    [
        "",
        "def script(call, state: NoState): ...",
        "async def script(call): ...",
        "async def script(call, state): ...",
        "async def script(call, state: int): ...",
    ],
)
def test_a_folder_without_a_script_stops_the_start(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "broken", {"script.py": f"from appliance.calls.api import NoState\n\n\n{script}\n"})
    monkeypatch.setattr("appliance.services.__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "appliance.services.broken.script", raising=False)
    monkeypatch.delitem(sys.modules, "appliance.services.broken", raising=False)
    with pytest.raises(folders.BrokenFolder, match=r"script\.py"):
        scripts.load("broken")
