"""Use-cases on a real SQLite file: what is saved, refused, journalled."""

import sqlite3
from pathlib import Path

import pytest

from appliance.config.admin import Admin, Wanted
from appliance.config.licensing import Limits
from appliance.config.model import Extension, Refused, User, service_number
from appliance.config.reading.consequences import consequences
from appliance.config.store import Change, Conflict, Store
from appliance.words import Day, Said, english


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def admin(store: Store) -> Admin:
    return Admin(store, now=lambda: 1000.0)


def words(refused: pytest.ExceptionInfo[Refused]) -> str:
    return str(refused.value)


def test_an_extension_comes_with_its_first_line(admin: Admin) -> None:
    assert admin.suggest_number() == "100"
    extension = admin.create("extension", {"number": "100", "name": "Anna"}, "root")
    (line,) = admin.snapshot.lines_of[extension.id]
    assert line.sip_username == "100"
    assert len(line.sip_password) == 24
    assert admin.suggest_number() == "101"


def test_a_number_in_use_is_refused_with_the_name_of_what_uses_it(admin: Admin) -> None:
    admin.create("extension", {"number": "100", "name": "Anna"}, "root")
    with pytest.raises(Refused) as refused:
        admin.create("extension", {"number": "100"}, "root")
    assert words(refused) == "100 is in use by extension 100 (Anna)."
    assert refused.value.problems[0].field == "number"
    with pytest.raises(Refused, match="emergency"):
        admin.create("extension", {"number": "112"}, "root")
    with pytest.raises(Refused, match="digits"):
        admin.create("extension", {"number": "*60"}, "root")


def test_the_sixteenth_extension_on_five_users_is_refused(admin: Admin) -> None:
    for number in range(200, 215):
        admin.create("extension", {"number": str(number)}, "root")
    revision = admin.snapshot.revision
    with pytest.raises(Refused) as refused:
        admin.create("extension", {"number": "215"}, "root")
    assert words(refused).startswith("This box is licensed for 5 users, which allows 15 extensions; 15 are in use, and they all go on working.")
    assert admin.snapshot.revision == revision
    assert len(admin.snapshot.extensions) == 15
    assert admin.licence_usage().extensions_left == 0


def test_the_sixth_user_of_a_free_box_is_refused_and_those_above_a_limit_go_on(store: Store) -> None:
    limits = Limits(users=14)
    admin = Admin(store, limits=lambda: limits)
    made = [
        admin.create("user", {"username": f"user{number}", "role": "full"}, "root", password="correct horse battery")
        for number in range(14)
    ]
    limits = Limits()
    with pytest.raises(Refused) as refused:
        admin.create("user", {"username": "onetoomany"}, "root")
    assert words(refused).startswith("This box is licensed for 5 users, and 14 are set up; they all go on working.")
    assert "install a licence" in words(refused)
    assert admin.licence_usage().users_left == 0
    admin.update("user", made[13].id, {"full_name": "Still here"}, "root")
    assert admin.authenticate("user13", "correct horse battery") is not None


def test_a_box_over_its_limit_without_an_administrator_may_have_one(store: Store) -> None:
    limits = Limits()
    admin = Admin(store, limits=lambda: limits)
    for number in range(5):
        admin.create("user", {"username": f"user{number}"}, "root")
    with pytest.raises(Refused, match="licensed"):
        admin.create("user", {"username": "another"}, "root")
    admin.create("user", {"username": "boss", "role": "full"}, "root", password="correct horse battery")
    with pytest.raises(Refused, match="licensed"):
        admin.create("user", {"username": "second", "role": "full"}, "root", password="correct horse battery")


def test_an_expired_licence_refuses_only_adding(store: Store) -> None:
    limits = Limits()
    admin = Admin(store, limits=lambda: limits)
    extension = admin.create("extension", {"number": "100"}, "root")
    limits = Limits(users=50, adding_refused=Said.of("licence.expired", day=Day("2026-05-31")))
    with pytest.raises(Refused, match="expired"):
        admin.create("extension", {"number": "101"}, "root")
    admin.update("extension", extension.id, {"name": "still works"}, "root")


def test_every_change_is_a_journal_row_and_no_secret_is_in_it(admin: Admin, tmp_path: Path) -> None:
    extension = admin.create("extension", {"number": "100"}, "anna")
    (line,) = admin.snapshot.lines_of[extension.id]
    password = admin.reveal_sip_password(line.id, "bert")
    assert password == line.sip_password
    renewed = admin.renew_sip_password(line.id, "anna")
    rows = admin.journal()
    assert [(row.who, row.kind) for row in rows] == [
        ("anna", "line"),
        ("bert", "line"),
        ("anna", "line"),
        ("anna", "extension"),
    ]
    assert rows[0].after is not None
    assert rows[0].after["sip_password"] == "(changed)"
    assert english().say(rows[1].event) == "SIP password shown"
    everything = b"".join(file.read_bytes() for file in tmp_path.glob("config.db*"))
    assert password.encode() not in everything
    assert renewed.encode() not in everything


def test_renumbering_says_what_becomes_of_the_sip_usernames(admin: Admin) -> None:
    extension = admin.create("extension", {"number": "100"}, "root")
    admin.add_line(extension.id, {"label": "mobile"}, "root")
    admin.add_line(extension.id, {"sip_username": "van"}, "root")
    names = lambda: [line.sip_username for line in admin.snapshot.lines_of[extension.id]]  # noqa: E731
    with pytest.raises(Refused) as refused:
        admin.update("extension", extension.id, {"number": "200", "name": "Anna"}, "root")
    assert [problem.field for problem in refused.value.problems] == ["usernames"]
    assert names() == ["100", "100-2", "van"]
    admin.update("extension", extension.id, {"number": "200"}, "root", usernames="keep")
    assert names() == ["100", "100-2", "van"]
    admin.update("extension", extension.id, {"number": "300"}, "root")  # no username is made of 200: nothing to choose
    admin.update("extension", extension.id, {"number": "100"}, "root")
    admin.create("extension", {"number": "400"}, "root")
    admin.update("extension", extension.id, {"number": "40"}, "root", usernames="change")
    assert names() == ["40", "40-2", "van"]


def test_a_username_that_is_taken_gets_the_next_one(admin: Admin) -> None:
    first, second = (admin.create("extension", {"number": number}, "root") for number in ("100", "101"))
    admin.update("extension", first.id, {"number": "200"}, "root", usernames="keep")
    admin.update("extension", second.id, {"number": "100"}, "root", usernames="change")
    assert [line.sip_username for line in admin.snapshot.lines_of[second.id]] == ["100-2"]


def test_deleting_tells_what_breaks_and_takes_the_lines_along(admin: Admin) -> None:
    user = admin.create("user", {"username": "anna", "full_name": "Anna"}, "root")
    extension = admin.create("extension", {"number": "100", "user": user.id}, "root")
    told, held = consequences(admin.snapshot, [("extension", extension.id)])
    assert [english().say(said) for said in told] == [
        "Nobody can dial 100 any more.",
        "line 100 goes with it.",
        "The phone with the SIP username 100 can neither call nor be called.",
    ]
    assert not held
    told, _ = consequences(admin.snapshot, [("user", user.id)])
    assert english().say(told[-1]) == "extension 100 stays; “User” becomes empty there."
    admin.delete("user", user.id, "root")
    assert admin.snapshot.extensions[extension.id].user == ""
    admin.delete("extension", extension.id, "root")
    assert not admin.snapshot.lines


def test_set_up_once(admin: Admin) -> None:
    values = {"username": "anna", "full_name": "Anna", "first_extension": "10", "country": "DE"}
    with pytest.raises(Refused, match="at least 10"):
        admin.complete_setup(password="short", **values)
    assert not admin.snapshot.settings.completed
    admin.complete_setup(password="correct horse battery", **values)
    assert admin.snapshot.settings.completed
    assert admin.suggest_number() == "10"
    with pytest.raises(Refused, match="already"):
        admin.complete_setup(password="correct horse battery", **values)
    user = admin.authenticate("Anna", "correct horse battery")
    assert isinstance(user, User)
    assert admin.authenticate("anna", "wrong") is None
    assert admin.authenticate("nobody", "correct horse battery") is None
    with pytest.raises(Refused, match="only administrator"):
        admin.delete("user", user.id, "root")


def test_sip_credentials_are_no_login(admin: Admin) -> None:
    extension = admin.create("extension", {"number": "100"}, "root")
    (line,) = admin.snapshot.lines_of[extension.id]
    assert admin.authenticate(line.sip_username, line.sip_password) is None


def test_another_process_is_noticed_and_an_old_base_is_a_conflict(admin: Admin, tmp_path: Path) -> None:
    other = Store(tmp_path)
    try:
        before = other.load()
        admin.create("extension", {"number": "100"}, "root")
        with pytest.raises(Conflict):
            other.save([Change("extension", "x", Extension(id="x", number="101"))], "other", 1.0, before.revision)
        assert len(other.load().extensions) == 1
        Admin(other).create("extension", {"number": "101"}, "other")
    finally:
        other.close()
    assert sorted(admin.snapshot.extension_by_number) == ["100", "101"]


def test_bad_input_is_told_at_the_field_and_nothing_is_saved(admin: Admin) -> None:
    with pytest.raises(Refused) as refused:
        admin.create(
            "extension", {"number": "100", "ring_seconds": "soon", "encrypt": "maybe", "colour": "red"}, "root"
        )
    assert {problem.field for problem in refused.value.problems} == {"ring_seconds", "encrypt", "colour"}
    with pytest.raises(Refused, match="Control characters"):
        admin.create("extension", {"number": "100", "name": "A\r\nB"}, "root")
    assert admin.snapshot.revision == 0


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    from appliance.storage.database import StorageFailed

    Store(tmp_path).close()
    file = tmp_path / "config.db"
    with sqlite3.connect(file) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    data = bytearray(file.read_bytes())
    data[100:4000] = b"x" * 3900
    file.write_bytes(data)
    with pytest.raises(StorageFailed, match="Restore a backup"):
        Store(tmp_path)


def test_no_form_reaches_what_has_a_use_case_of_its_own(admin: Admin) -> None:
    user = admin.create("user", {"username": "anna"}, "root")
    extension, other = (admin.create("extension", {"number": number}, "root") for number in ("100", "101"))
    (line,) = admin.snapshot.lines_of[extension.id]
    before = admin.snapshot.revision
    for kind, key, values in (
        ("user", user.id, {"password_hash": "x"}),
        ("settings", "settings", {"completed": True}),
        ("line", line.id, {"extension": other.id}),
    ):
        with pytest.raises(Refused, match="cannot be set here"):
            admin.update(kind, key, values, "root")
    with pytest.raises(Refused, match="cannot be set here"):
        admin.create("user", {"username": "bert", "password_hash": "x"}, "root")
    assert admin.snapshot.revision == before
    admin.update("line", line.id, {"extension": extension.id, "label": "desk"}, "root")


def test_the_last_administrator_who_can_log_in_stays(admin: Admin) -> None:
    anna = admin.complete_setup(
        username="anna", full_name="Anna", password="correct horse", first_extension="100", country="DE"
    )
    with pytest.raises(Refused, match="needs a password"):
        admin.create("user", {"username": "bert", "role": "full"}, "anna")
    bert = admin.create("user", {"username": "bert"}, "anna")
    with pytest.raises(Refused, match="needs a password"):
        admin.update("user", bert.id, {"role": "full"}, "anna")
    for refused in (
        lambda: admin.delete("user", anna.id, "bert"),
        lambda: admin.update("user", anna.id, {"role": "read-only"}, "bert"),
    ):
        with pytest.raises(Refused, match="only administrator"):
            refused()
    admin.update("user", bert.id, {"role": "full"}, "anna", password="battery staple")
    admin.delete("user", anna.id, "bert")


def office(settings: dict[str, str], echo: dict[str, str], mark: str = "") -> list[Wanted]:
    """A form of both: their places are 0 and 1."""
    return [Wanted("settings", "settings", settings, mark), Wanted("service", "echo", echo, mark)]


def test_records_of_one_form_are_changed_together(admin: Admin) -> None:
    told: list[int] = []
    admin._announce = told.append
    admin.save_all(office({"country": "AT"}, {"number": "*61"}), "anna")
    assert (admin.snapshot.settings.country, service_number(admin.snapshot, "echo")) == ("AT", "*61")
    assert told == [1]
    admin.save_all(office({"country": "AT"}, {"number": "*61"}), "anna")
    assert told == [1], "nothing was changed"


@pytest.mark.parametrize(
    ("settings", "echo", "found"),
    [
        ({"country": "XX"}, {"number": "*61"}, {"0.country"}),
        ({"name": "Graz"}, {"number": "112"}, {"1.number"}),
        ({"name": "x" * 41}, {"number": "1" * 13}, {"0.name", "1.number"}),
        ({"country": "AT"}, {"number": "144"}, {"0.country", "1.number"}),
        ({"completed": "yes"}, {"number": "*61"}, {"0.completed"}),
    ],
)
def test_or_not_at_all(admin: Admin, settings: dict[str, str], echo: dict[str, str], found: set[str]) -> None:
    before = admin.snapshot
    with pytest.raises(Refused) as refused:
        admin.save_all(office(settings, echo), "anna")
    assert {problem.field for problem in refused.value.problems} == found
    assert admin.snapshot == before


def test_what_somebody_else_has_changed_meanwhile_is_told_at_its_record(admin: Admin) -> None:
    mark = admin.snapshot.mark
    admin.update("service", "echo", {"number": "*61"}, "ben")
    admin.save_all(office({"name": "Graz"}, {"number": "*60"}, mark), "anna")
    assert service_number(admin.snapshot, "echo") == "*61", "it was not a wish, the form only showed it"
    with pytest.raises(Refused) as refused:
        admin.save_all(office({"name": "Graz"}, {"number": "*62"}, mark), "anna")
    assert [problem.field for problem in refused.value.problems] == ["1.number"]
    assert refused.value.values == {"0.name": "Graz", "1.number": "*62"}


@pytest.mark.parametrize("kind", ["settings", "service"])
def test_what_is_there_from_the_start_is_neither_added_nor_deleted(admin: Admin, kind: str) -> None:
    key = {"settings": "settings", "service": "echo"}[kind]
    with pytest.raises(Refused, match="can be added"):
        admin.create(kind, {}, "anna")
    with pytest.raises(Refused, match="cannot be deleted"):
        admin.delete(kind, key, "anna")
