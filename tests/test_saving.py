"""Batches, undo and search on a real SQLite file: one revision or none, everything comes back, everything is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config.admin import Admin, Wanted, new_id
from appliance.config.kinds import KINDS
from appliance.config.licensing import Limits
from appliance.config.model import Extension, Line, Refused, Snapshot, User
from appliance.config.store import Store

PASSWORD = "correct horse battery"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def admin(store: Store) -> Admin:
    return Admin(store, now=lambda: 1000.0, limits=lambda: Limits(users=50))


def people(count: int) -> list[Wanted]:
    """Each with an extension."""
    found = []
    for number in range(count):
        person = new_id()
        found += [
            Wanted("user", person, {"username": f"u{number}", "full_name": f"Říha N{number}"}, new=True),
            Wanted("extension", "", {"number": str(200 + number), "user": person}, new=True),
        ]
    return found


def state(admin: Admin) -> dict[str, object]:
    return {kind: dict(admin.snapshot.of(kind)) for kind in KINDS}


def test_thirty_people_with_their_extensions_are_one_save(admin: Admin) -> None:
    results = admin.save_all(people(30), "root")
    assert admin.snapshot.revision == 1
    assert [result.problems for result in results] == [()] * 60
    assert {user.full_name for user in admin.snapshot.users.values()} == {f"Říha N{number}" for number in range(30)}
    assert {admin.snapshot.users[one.user].username for one in admin.snapshot.extensions.values()} == {f"u{n}" for n in range(30)}
    assert {line.sip_username for line in admin.snapshot.lines.values()} == {str(200 + number) for number in range(30)}


def test_one_wrong_row_saves_nothing_and_is_told_at_its_place(admin: Admin) -> None:
    wanted = people(3)
    wanted[3] = wanted[3]._replace(values={"number": "200"})
    dry = admin.save_all(wanted, "root", dry=True)
    # both want the number, and neither had it before
    assert [bool(result.problems) for result in dry] == [False, True, False, True, False, False]
    with pytest.raises(Refused) as refused:
        admin.save_all(wanted, "root")
    assert {problem.field for problem in refused.value.problems} == {"1.number", "3.number"}
    assert admin.snapshot.revision == 0


def test_the_licence_counts_within_a_batch(store: Store) -> None:
    admin = Admin(store, limits=lambda: Limits(users=2))
    results = admin.save_all(people(4), "root", dry=True)
    assert [bool(result.problems) for result in results[::2]] == [False, False, True, True]
    assert not any(result.problems for result in results[1::2] if "user" not in str(result.problems))


def test_numbers_are_exchanged_in_one_save(admin: Admin) -> None:
    one, two = (admin.create("extension", {"number": number}, "root") for number in ("100", "101"))
    admin.save_all(
        [
            Wanted("extension", one.id, {"number": "101"}, usernames="keep"),
            Wanted("extension", two.id, {"number": "100"}, usernames="keep"),
        ],
        "root",
    )
    assert [admin.snapshot.extensions[each.id].number for each in (one, two)] == ["101", "100"]


def test_a_user_and_the_extension_that_goes_with_a_change_of_both(admin: Admin) -> None:
    """The reference is cleared in the record as the batch makes it."""
    admin.save_all(people(1), "root")
    (user,), (extension,) = admin.snapshot.users.values(), admin.snapshot.extensions.values()
    admin.save_all([Wanted("extension", extension.id, {"name": "Hall"}), Wanted("user", user.id, None)], "root")
    (now,) = admin.snapshot.extensions.values()
    assert (now.name, now.user) == ("Hall", "")


def test_an_extension_keeps_a_line_and_the_first_goes_with_it(admin: Admin) -> None:
    extension = admin.create("extension", {"number": "100"}, "root")
    (line,) = admin.snapshot.lines_of[extension.id]
    (result,) = admin.save_all([Wanted("line", line.id, None)], "root", dry=True)
    assert result.problems
    admin.save_all([Wanted("line", line.id, None), Wanted("extension", extension.id, None)], "root")
    assert not admin.snapshot.lines


# ---- undo --------------------------------------------------------------------------------------------------------------


def test_undo_of_a_deletion_brings_lines_and_secrets_back(admin: Admin) -> None:
    extension = admin.create("extension", {"number": "100"}, "root")
    before = state(admin)
    admin.delete("extension", extension.id, "root")
    results, undone = admin.undo(admin.snapshot.revision, "anna")
    assert state(admin) == before  # the SIP password too
    assert not undone.kept
    assert {result.kind for result in results} == {"extension", "line"}
    assert admin.journal(limit=1)[0].who == "anna"


def test_undo_of_a_batch_and_of_the_undo(admin: Admin) -> None:
    admin.save_all(people(5), "root")
    before = state(admin)
    admin.save_all([Wanted("extension", key, {"encrypt": "required"}) for key in admin.snapshot.extensions], "root")
    after = state(admin)
    admin.undo(2, "root")
    assert state(admin) == before
    admin.undo(3, "root")
    assert state(admin) == after


def test_undo_leaves_what_somebody_has_changed_since(admin: Admin) -> None:
    extension = admin.create("extension", {"number": "100", "name": "A"}, "root")
    admin.update("extension", extension.id, {"name": "B", "ring_seconds": 20}, "root")
    admin.update("extension", extension.id, {"name": "C"}, "bert")
    _, undone = admin.undo(2, "root")
    now = admin.snapshot.extensions[extension.id]
    assert (now.name, now.ring_seconds) == ("C", 60)
    ((problem,),) = undone.kept.values()
    assert problem.field == "name"
    assert problem.message == "bert has changed it since, so it stays as it is: “C”."


def test_undo_of_an_addition_deletes_it_unless_it_was_changed(admin: Admin) -> None:
    first = admin.create("user", {"username": "a"}, "root")
    admin.create("user", {"username": "b"}, "root")
    admin.update("user", first.id, {"full_name": "A"}, "bert")
    _, undone = admin.undo(1, "root")
    assert first.id in admin.snapshot.users
    assert undone.kept
    admin.undo(2, "root")
    assert {user.username for user in admin.snapshot.users.values()} == {"a"}


def test_undo_brings_no_password_of_a_person_back(admin: Admin) -> None:
    admin.create("user", {"username": "boss", "role": "full"}, "root", password=PASSWORD)
    user = admin.create("user", {"username": "anna", "role": "full"}, "root", password=PASSWORD)
    admin.delete("user", user.id, "root")
    admin.undo(3, "root")
    assert admin.snapshot.users[user.id].password_hash == ""
    admin.set_password(user.id, PASSWORD, "root")
    admin.set_password(user.id, "another horse battery", "root")
    admin.undo(admin.snapshot.revision, "root")
    assert admin.authenticate("anna", "another horse battery") is not None


def test_undo_goes_through_the_checks(admin: Admin) -> None:
    gone = admin.create("extension", {"number": "100"}, "root")
    admin.delete("extension", gone.id, "root")
    admin.create("extension", {"number": "100"}, "root")
    results, _ = admin.undo(2, "root", dry=True)
    assert any(problem.field == "number" for result in results for problem in result.problems)
    with pytest.raises(Refused):
        admin.undo(2, "root")


def test_a_renewed_sip_password_comes_back(admin: Admin) -> None:
    extension = admin.create("extension", {"number": "100"}, "root")
    (line,) = admin.snapshot.lines_of[extension.id]
    admin.renew_sip_password(line.id, "root")
    admin.undo(2, "root")
    assert admin.snapshot.lines[line.id].sip_password == line.sip_password


# ---- search ------------------------------------------------------------------------------------------------------------


def found(admin: Admin, query: str, *kinds: str) -> set[str]:
    snapshot = admin.snapshot
    names = {kind: KINDS[kind] for kind in KINDS}
    return {names[kind].name_of(snapshot.of(kind)[key]) for kind, key in admin.search(query, kinds or None)}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("riha n2", {"Říha N2", "202"}),  # the extension by its user
        ("ŘÍHA N2", {"Říha N2", "202"}),
        ("20", {"200", "201", "202"}),
        ("ha n2", {"Říha N2", "202"}),
        ("nobody", set()),
        ('"', set()),
        ("100 OR 101", set()),
    ],
)
def test_records_are_found_by_their_words_and_those_they_lead_to(admin: Admin, query: str, names: set[str]) -> None:
    admin.save_all(people(3), "root")
    assert found(admin, query, "user", "extension") == names


def test_what_is_found_follows_every_save(admin: Admin) -> None:
    admin.save_all(people(2), "root")
    user = next(user for user in admin.snapshot.users.values() if user.username == "u0")
    assert found(admin, "riha", "extension") == {"200", "201"}
    admin.update("user", user.id, {"full_name": "Straße"}, "root")
    assert found(admin, "strasse", "extension") == {"200"}
    assert found(admin, "riha", "extension") == {"201"}
    admin.delete("user", user.id, "root")
    assert found(admin, "strasse") == set()


def test_an_index_of_another_version_is_made_anew(admin: Admin, store: Store) -> None:
    admin.save_all(people(2), "root")
    store.index_anew(7, [])
    assert found(admin, "riha", "user") == {"Říha N0", "Říha N1"}


def test_an_index_by_value_holds_what_the_records_hold() -> None:
    snapshot = Snapshot().with_record("user", User(id="u", username="ANNA"))
    snapshot = snapshot.with_record("extension", Extension(id="e", number="100", user="u"))
    snapshot = snapshot.with_record("line", Line(id="l", extension="e", sip_username="100"))
    assert [one.id for one in snapshot.having("user", "username", "anna")] == ["u"]  # as logins are compared
    assert [one.id for one in snapshot.having("extension", "user", "u")] == ["e"]
    assert list(snapshot.having("line", "sip_username", "101")) == []
