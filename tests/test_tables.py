"""Tables of records: what goes out comes in again, what a spreadsheet program makes of them is understood, what is wrong is told at its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from appliance.__main__ import main
from appliance.config.admin import Admin
from appliance.config.kinds import KINDS
from appliance.config.licensing import Limits
from appliance.config.model import Extension, Refused, Snapshot, User
from appliance.config.reading.listing import listed
from appliance.config.store import Store
from appliance.exchange import table
from appliance.exchange.preview import preview
from appliance.words import LANGUAGES

PEOPLE = """Full name;E-mail address;Number
Anna Nováková;anna@example.com;200
Bert Groß;;"201, 202"
Łukasz Đặng;l@example.com;
"""


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    store = Store(tmp_path)
    yield Admin(store, limits=lambda: Limits(users=500))
    store.close()


def bring(admin: Admin, kind: str, data: bytes | str, mapping: list[str] | None = None) -> list[str]:
    """Import it; what each line does."""
    sheet = table.read(data.encode() if isinstance(data, str) else data)
    found = table.wanted(kind, sheet, mapping or table.guessed(sheet, kind), admin.snapshot)
    foreseen = preview(admin.save_all(found.wanted, "root", dry=True), admin.snapshot)
    if not foreseen.refused:
        admin.save_all(found.wanted, "root")
    return [f"{line} {row.kind} {row.name} {row.action}" for line, row in zip(found.lines, foreseen.rows, strict=True)]


def test_people_with_extensions_and_addresses_are_one_file(admin: Admin) -> None:
    assert bring(admin, "user", PEOPLE) == [
        "2 user anna add",
        "2 extension 200 add",
        "3 user bert.gross add",
        "3 extension 201 add",
        "3 extension 202 add",
        "4 user l add",
    ]
    assert admin.snapshot.revision == 1
    owners = {one.number: admin.snapshot.users[one.user].full_name for one in admin.snapshot.extensions.values()}
    assert owners == {"200": "Anna Nováková", "201": "Bert Groß", "202": "Bert Groß"}
    assert admin.snapshot.extension_by_number["200"].name == "Anna Nováková"
    assert {line.sip_username for line in admin.snapshot.lines.values()} == {"200", "201", "202"}


def test_a_second_time_changes_what_is_there(admin: Admin) -> None:
    bring(admin, "user", "username,full_name,extension.number\nanna,Anna,200\n")
    bring(admin, "extension", "number,name\n300,Hall\n")
    assert bring(admin, "user", "username,full_name,extension.number\nANNA,,\nbert,Bert,300\n") == [
        "2 user anna change",
        "3 user bert add",
        "3 extension 300 change",
    ]
    bert = next(user for user in admin.snapshot.users.values() if user.username == "bert")
    assert admin.snapshot.extension_by_number["300"].user == bert.id
    assert admin.snapshot.extension_by_number["300"].name == "Hall"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [name for name, row in KINDS.items() if not row.always and not row.parent])
def test_what_goes_out_comes_in_again(admin: Admin, kind: str, language: str) -> None:
    bring(admin, "user", PEOPLE)
    records = listed(admin.snapshot, kind)
    out = "".join(table.written(kind, records, admin.snapshot, language, ";"))
    before = admin.snapshot.revision
    assert {line.rpartition(" ")[2] for line in bring(admin, kind, out)} <= {"same"}
    assert admin.snapshot.revision == before


@given(st.text(max_size=40), st.sampled_from([",", ";", "\t"]))
def test_no_cell_is_a_formula_and_each_comes_back(name: str, delimiter: str) -> None:
    snapshot = Snapshot().with_record("user", User.model_construct(id="u", username="anna", full_name=name, email="", role="none", language=""))
    lines = list(table.written("user", snapshot.users.values(), snapshot, "en", delimiter))
    sheet = table.read("".join(lines).encode("utf-8", "replace"))
    place = table.guessed(sheet, "user").index("full_name")
    written = name.encode("utf-8", "replace").decode().strip()
    if "\0" not in written and "\r" not in written and not written.startswith("'"):
        assert sheet.rows[0][place] == written
    assert not any(cell.startswith(table.FORMULA) for cell in lines[1].removesuffix("\r\n").split(delimiter))


@pytest.mark.parametrize(
    "data",
    [
        PEOPLE.encode("utf-8-sig"),
        PEOPLE.replace("Łukasz Đặng", "Jürgen").encode("cp1252", "replace"),
        PEOPLE.encode("utf-16"),
        PEOPLE.replace(";", "\t").encode(),
        PEOPLE.replace("\n", "\r\n").encode(),
    ],
)
def test_what_programs_make_of_a_file_is_understood(data: bytes, admin: Admin) -> None:
    assert len(bring(admin, "user", data)) == 6


@pytest.mark.parametrize(
    "data",
    [b"", b"\n\n", b"a," * 100, b"\0\0\0", b"x" * (table.LARGEST + 1), b"number\n" + b"1\n" * (table.MOST_ROWS + 1)],
)
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        table.read(data)


def test_what_is_wrong_is_told_at_its_line_and_nothing_is_saved(admin: Admin) -> None:
    admin.create("extension", {"number": "200", "name": "Hall"}, "root")
    sheet = table.read(b"number,name,user\n201,Ok,\n112,Fire,\n202,X,nobody\n201,Twice,\n")
    with pytest.raises(Refused) as refused:
        table.wanted("extension", sheet, table.guessed(sheet, "extension"), admin.snapshot)
    assert {problem.field for problem in refused.value.problems} == {"4.user", "5.number"}
    told = bring(admin, "extension", "number,name\n201,Ok\n112,Fire\n")
    assert told == ["2 extension 201 add", "3 extension 112 refused"]
    assert set(admin.snapshot.extension_by_number) == {"200"}


def test_an_owner_is_found_by_what_people_call_them(admin: Admin) -> None:
    admin.create("user", {"username": "jg", "full_name": "Jürgen Groß"}, "root")
    bring(admin, "extension", "number,user\n200,JURGEN GROSS\n201,jg\n")
    assert {one.user for one in admin.snapshot.extensions.values()} == set(admin.snapshot.users)


def test_columns_that_say_nothing_are_left_out_and_can_be_given(admin: Admin) -> None:
    sheet = table.read(b"Durchwahl,Wer,Notiz\n200,Anna,x\n")
    assert table.guessed(sheet, "extension") == ["", "", ""]
    assert bring(admin, "extension", b"Durchwahl,Wer,Notiz\n200,Anna,x\n", ["number", "name", ""]) == ["2 extension 200 add"]
    assert table.guessed(table.read(b"Nummer;Name\n"), "extension")[1] == "name"


def test_no_secret_is_a_column() -> None:
    for kind, row in KINDS.items():
        assert not row.secrets & {column.field for column in table.columns_of(kind) if column.kind == kind}
    assert Extension.declared.fields.keys() >= {"number", "name"}


def test_the_commands(tmp_path: Path) -> None:
    Store(tmp_path).close()
    file = tmp_path / "people.csv"
    file.write_text("Full name,Number\nAnna,200\n=cmd(),201\n")

    def run(*arguments: str, typed: str = "") -> str:
        done = CliRunner().invoke(main, [*arguments, "--data", str(tmp_path)], input=typed)
        return done.stdout + done.stderr

    assert "Nothing was changed." in run("user", "import", str(file), typed="n\n")
    assert "Line 2: user Anna (anna) will be added." in run("user", "import", str(file), "--yes")
    assert [row["number"] for row in json.loads(run("extension", "list", "--json"))] == ["200", "201"]
    assert "'=cmd()" in run("user", "export")
    assert "no column Age" in run("user", "import", str(file), "--map", "Age=email")
    assert "Nothing changes." in run("user", "import", str(file), "--yes", "--map", "Number=")
