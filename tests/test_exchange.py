"""The configuration as text: out, wiped, in and out again is the same octets; what would change is said; what cannot be read is told at its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from appliance.__main__ import main
from appliance.config.admin import Admin, Wanted, new_id
from appliance.config.declare import Reference, Several
from appliance.config.kinds import KINDS
from appliance.config.licensing import Limits
from appliance.config.model import Refused
from appliance.config.store import Store
from appliance.exchange import text
from appliance.exchange.preview import preview
from appliance.words import Said, english

PASSWORD = "correct horse battery"
PASSPHRASE = "ten letters or more"


@pytest.fixture
def stores() -> Iterator[list[Store]]:
    made: list[Store] = []
    yield made
    for store in made:
        store.close()


@pytest.fixture
def admin(tmp_path: Path, stores: list[Store]) -> Admin:
    return opened(tmp_path / "office", stores)


@pytest.fixture
def other(tmp_path: Path, stores: list[Store]) -> Admin:
    """A box that was wiped."""
    return opened(tmp_path / "wiped", stores)


def opened(data: Path, stores: list[Store]) -> Admin:
    stores.append(Store(data))
    return Admin(stores[-1], limits=lambda: Limits(users=500))


def office(admin: Admin) -> None:
    user = new_id()
    admin.save_all(
        [
            Wanted("user", user, {"username": "anna", "full_name": 'Anna "Ž"\\', "email": "anna@example.com"}, new=True),
            Wanted("user", "", {"username": "boss", "role": "full"}, new=True, password=PASSWORD),
            Wanted("extension", "", {"number": "200", "name": "Empfang", "user": user, "ring_seconds": 90}, new=True),
            Wanted("extension", "", {"number": "201"}, new=True),
            Wanted("service", "echo", {"number": "*61"}),
            Wanted("settings", "settings", {"country": "DE", "name": "Büro"}),
        ],
        "root",
    )


def test_out_wiped_in_and_out_is_the_same_text(admin: Admin, other: Admin) -> None:
    office(admin)
    written = text.written(admin.snapshot)
    read = text.read(written, other.snapshot, text.secrets_of(admin.snapshot))
    other.save_all(read.wanted, "root")
    assert other.snapshot.revision == 1
    assert text.written(other.snapshot) == written
    assert text.secrets_of(other.snapshot) == text.secrets_of(admin.snapshot)
    assert other.authenticate("boss", PASSWORD) is not None


@pytest.mark.parametrize("kind", [name for name, row in KINDS.items() if not row.always])
def test_every_value_of_every_field_comes_back(kind: str, admin: Admin, other: Admin) -> None:
    """Each value that a field says it may have, of whatever kind comes to be."""
    row = KINDS[kind]
    admin.create("user", {"username": "owner"}, "root")
    admin.create("extension", {"number": "9000"}, "root")
    wanted = []
    for name, field in row.record.declared.fields.items():
        for value in () if field.hidden or field.secret or isinstance(field, Reference | Several) else field.tried():
            wanted.append({**required(admin, kind, len(wanted)), name: value})
    for values in wanted:
        results = admin.save_all([Wanted(kind, "", values, new=True)], "root", dry=True)
        if not any(result.problems for result in results):
            admin.save_all([Wanted(kind, "", values, new=True)], "root")
    assert len(admin.snapshot.of(kind)) > 1
    written = text.written(admin.snapshot)
    other.save_all(text.read(written, other.snapshot, text.secrets_of(admin.snapshot)).wanted, "root")
    assert text.written(other.snapshot) == written


def required(admin: Admin, kind: str, number: int) -> dict[str, Any]:
    """What a record of the kind cannot be without."""
    row, values = KINDS[kind], {}
    for name, leads in row.references.items():
        if leads.required:
            values[name] = next(iter(admin.snapshot.of(leads.kind)))
    field = row.record.declared.fields[row.named_by]
    tried = str(next(each for each in field.tried() if each))
    values[row.named_by] = f"{300 + number}" if tried.isdigit() else f"{tried}{number}"
    return values


def test_without_secrets_new_lines_get_new_passwords(admin: Admin, other: Admin) -> None:
    office(admin)
    other.save_all(text.read(text.written(admin.snapshot), other.snapshot).wanted, "root")
    ours, theirs = (sorted(line.sip_password for line in each.snapshot.lines.values()) for each in (admin, other))
    assert all(len(password) == 24 for password in theirs)
    assert not set(ours) & set(theirs)


def test_the_text_applied_to_its_own_configuration_changes_nothing(admin: Admin) -> None:
    office(admin)
    read = text.read(text.written(admin.snapshot), admin.snapshot)
    foreseen = preview(admin.save_all(read.wanted, "root", dry=True), admin.snapshot)
    assert {row.action for row in foreseen.rows} == {"same"}
    admin.save_all(read.wanted, "root")
    assert admin.snapshot.revision == 1


def said(admin: Admin, changed: str) -> list[str]:
    read = text.read(changed, admin.snapshot)
    foreseen = preview(admin.save_all(read.wanted, "root", dry=True), admin.snapshot)
    return [english().say(row.said) for row in foreseen.rows if row.action != "same"] + [english().say(foreseen.summary)]


def test_what_would_change_is_said(admin: Admin) -> None:
    office(admin)
    written = text.written(admin.snapshot)
    changed = written.replace('name = "Empfang"', 'name = "Reception"') + '\n[extension.300]\nnumber = "300"\nuser = "anna"\n'
    assert said(admin, changed) == [
        "extension 200: Name “Empfang” → “Reception”",
        "extension 300 will be added.",
        "1 is added, 1 changes, 0 are deleted.",
    ]


def test_a_new_extension_by_hand_gets_its_line(admin: Admin) -> None:
    office(admin)
    written = text.written(admin.snapshot) + '\n[extension.300]\nnumber = "300"\nuser = "anna"\n'
    admin.save_all(text.read(written, admin.snapshot).wanted, "root")
    extension = admin.snapshot.extension_by_number["300"]
    assert [line.sip_username for line in admin.snapshot.lines_of[extension.id]] == ["300"]
    assert admin.snapshot.users[extension.user].username == "anna"


def test_who_is_missing_in_a_kind_is_deleted_and_a_kind_that_is_missing_stays(admin: Admin) -> None:
    office(admin)
    admin.save_all(text.read("[extension]\n", admin.snapshot).wanted, "root")
    assert not admin.snapshot.extensions
    assert not admin.snapshot.lines
    assert len(admin.snapshot.users) == 2


@pytest.mark.parametrize(
    ("written", "fields"),
    [
        ("[extension", {""}),
        ("[phone.a]\n", {"phone"}),
        ("extension = 3\n", {"extension"}),
        ("[extension]\n200 = 3\n", {"extension 200"}),
        ('[extension.200]\nnumber = "200"\ncolour = "red"\n', {"extension 200.colour"}),
        ('[extension.200]\nnumber = "200"\nuser = "nobody"\n', {"extension 200.user"}),
        ('[line.200]\nsip_password = "given in clear"\n', {"line 200.sip_password"}),
        ("[extension.200]\nnumber = 200\n", {"extension 200.number"}),
    ],
)
def test_what_cannot_be_read_is_told_at_its_place(written: str, fields: set[str], admin: Admin) -> None:
    office(admin)
    with pytest.raises(Refused) as refused:
        text.read(written, admin.snapshot)
    assert {problem.field for problem in refused.value.problems} == fields
    assert all(problem.message for problem in refused.value.problems)


def test_two_of_one_name_are_told_apart_by_their_ids(admin: Admin, other: Admin) -> None:
    """Data that was never checked may have two."""
    office(admin)
    extension = admin.snapshot.extension_by_number["201"]
    snapshot = admin.snapshot.with_record("extension", extension.model_copy(update={"id": "twin"}))
    written = text.written(snapshot)
    assert f'[extension."201 ({extension.id})"]' in written
    assert '[extension."201 (twin)"]' in written
    ids = [one.key for one in text.read(written, other.snapshot).wanted if one.kind == "extension"]
    assert {"twin", extension.id} <= set(ids)


# ---- the command ---------------------------------------------------------------------------------------------------------


def run(data: Path, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, [*arguments, "--data", str(data)], input=typed)


def test_the_commands_carry_an_office_from_box_to_box(tmp_path: Path, admin: Admin, other: Admin, stores: list[Store]) -> None:
    office(admin)
    file, secrets = tmp_path / "office.toml", tmp_path / "office.secrets"
    done = run(tmp_path / "office", "config", "export", "--secrets", str(secrets), typed=f"{PASSPHRASE}\n")
    assert done.exit_code == 0, done.stderr
    file.write_text(done.stdout)
    assert b"password" not in secrets.read_bytes().partition(b"\n")[2].partition(b"\n")[2]
    assert secrets.stat().st_mode & 0o077 == 0
    wrong = run(tmp_path / "wiped", "config", "plan", str(file), "--secrets", str(secrets), typed="another one of them\n")
    assert wrong.exit_code == 1
    assert "passphrase" in wrong.stderr
    done = run(tmp_path / "wiped", "config", "plan", str(file), "--secrets", str(secrets), typed=f"{PASSPHRASE}\n")
    assert "extension 200 will be added." in done.stdout
    assert other.snapshot.revision == 0
    arguments = ("config", "apply", str(file), "--secrets", str(secrets), "--yes")
    assert run(tmp_path / "wiped", *arguments, typed=f"{PASSPHRASE}\n").stdout.endswith("Applied.\n")
    assert text.secrets_of(other.snapshot) == text.secrets_of(admin.snapshot)
    assert run(tmp_path / "wiped", "config", "export").stdout == file.read_text()
    assert run(tmp_path / "wiped", "config", "apply", str(file)).stdout == "Nothing changes.\n"
    (newest,) = admin.journal(limit=1)
    assert newest.event == Said("journal.secrets")
