"""Runs with a copy of the product that has one kind of record more: what pages, API, tables, text, command line, search and undo make of it.

Started by test_new_record.py where the copy is; what was seen goes out as JSON.
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

import appliance
from appliance.__main__ import main
from appliance.words import LANGUAGES, Said, words_of
from tests.web.made import Clock, FakeBox, Visitor, make_desk
from tests.web.programs import of_page
from webui.app import create_app
from webui.desk import Desk

CONTACT = {"name": "Ada Lovelace", "number": "0301", "category": "supplier", "note": "Likes engines", "listed": "yes", "user": ""}


def text_of(answer: Any) -> str:
    return answer.get_data(as_text=True)  # type: ignore[no-any-return]


def on_pages(anna: Visitor, desk: Desk) -> dict[str, Any]:
    told: dict[str, Any] = {"empty": "Phone book" in text_of(anna.get("/contacts")), "form": text_of(anna.get("/contacts/add"))}
    added = anna.post("/contacts/add", CONTACT)
    key = next(iter(desk.admin.snapshot.of("contact")))
    told["added"] = [added.status_code, added.location == f"/contacts/{key}"]
    told["twice"] = text_of(anna.post("/contacts/add", CONTACT))
    told["list"] = text_of(anna.get("/contacts?q=lovelace&is.category=supplier"))
    anna.get(f"/contacts/{key}")
    told["changed"] = anna.post(f"/contacts/{key}", {**CONTACT, "listed": "no", "note": "Éngines"}).status_code
    told["history"] = text_of(anna.get(f"/contacts/{key}/history"))
    revision = desk.admin.snapshot.revision
    told["undone"] = anna.post(f"/changes/{revision}/undo").status_code
    told["record"] = desk.admin.snapshot.of("contact")[key].model_dump(exclude={"id"})
    told["search"] = text_of(anna.get("/search?q=lovelace"))
    told["menu"] = text_of(anna.get("/search?q=phone book"))
    return told


def in_tables(anna: Visitor, desk: Desk) -> dict[str, Any]:
    anna.get("/contacts/import")
    fields = {"csrf_token": anna.token, "file": (io.BytesIO(b"Name;Number\nBert;0302\nZoe;0303\n"), "book.csv")}
    page = text_of(anna._client.post("/contacts/import", data=fields, base_url="https://localhost", headers={"Referer": "https://localhost/"}))
    kept = re.search(r'name="text" value="([^"]+)"', page)
    assert kept is not None
    anna.post("/contacts/import", {"text": kept[1], "do": "save"})
    return {"csv": text_of(anna.get("/contacts.csv")), "count": len(desk.admin.snapshot.of("contact"))}


def by_api(anna: Visitor) -> dict[str, Any]:
    program = of_page(anna)
    listed = program.get("/contacts")
    document = program.get("/openapi.json")
    return {"api": json.dumps(listed), "operations": sorted(path for path in document["paths"] if "contacts" in path)}


def by_commands(data: Path) -> dict[str, Any]:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, [*arguments, "--data", str(data)])
        return done.output if done.exit_code == 0 else f"{done.exit_code} {done.output}"

    return {
        "command": [run("contact", "add", "Carl", "--number", "0304"), run("contact", "list"), run("contact", "delete", "Carl", "--yes")],
        "text": run("config", "export"),
    }


if __name__ == "__main__":
    data = Path(sys.argv[1])
    desk = make_desk(data, Clock(), FakeBox())
    desk.admin.complete_setup(username="anna", full_name="", password="correct horse battery", first_extension="100", country="DE")
    anna = Visitor(create_app(desk).test_client())
    anna.log_in("anna")
    found = {"appliance": appliance.__file__, **on_pages(anna, desk), **in_tables(anna, desk), **by_api(anna)}
    found["titles"] = {language: words_of(language).say(Said("kind.contact-many")) for language in LANGUAGES}
    desk.admin._store.close()
    sys.stdout.write(json.dumps({**found, **by_commands(data)}))
