"""Rights: what each role may do with whose records, and the use-cases within them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from appliance.config.admin import Admin, NotFound
from appliance.config.kinds import KINDS
from appliance.config.model import Extension, Line, Refused, User
from appliance.config.rights import (
    ALL,
    OWN,
    ROOT,
    SEE,
    Actor,
    Forbidden,
    Right,
    actor_of,
    actor_of_key,
    key_of,
    named,
    owner_actor,
    owner_of,
)
from appliance.config.rights.acting import Acting
from appliance.config.saving.batch import Wanted
from appliance.config.store import Store
from appliance.words import Said

PASSWORD = "correct horse battery"
ROOT_FOLDER = Path(__file__).parents[1]


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Admin]:
    """Anna (full) with extension 100, Ben (read-only) with 101, Cora (own) with 102, and 103 of nobody."""
    store = Store(tmp_path)
    made = Admin(store)
    made.complete_setup(username="anna", full_name="Anna", password=PASSWORD, first_extension="100", country="DE")
    for name, role in (("ben", "read-only"), ("cora", "own")):
        made.create("user", {"username": name, "role": role}, "root", password=PASSWORD)
    for number, name in (("100", "anna"), ("101", "ben"), ("102", "cora"), ("103", "")):
        made.create("extension", {"number": number, "user": user(made, name).id if name else ""}, "root")
    yield made
    store.close()


def user(admin: Admin, name: str) -> User:
    return next(each for each in admin.snapshot.users.values() if each.username == name)


def extension(admin: Admin, number: str) -> Extension:
    return admin.snapshot.extension_by_number[number]


def line(admin: Admin, number: str) -> Line:
    return admin.snapshot.lines_of[extension(admin, number).id][0]


def as_(admin: Admin, name: str) -> Acting:
    return Acting(admin, actor_of(user(admin, name), admin.snapshot))


def portal(admin: Admin, name: str) -> Acting:
    return Acting(admin, owner_actor(user(admin, name), admin.snapshot))


def test_a_right_covers_no_more_than_itself() -> None:
    assert Right("*", "see").covers(Right("line", "see", "own"))
    assert not Right("line", "see", "own").covers(Right("line", "see"))
    assert not Right("line", "see").covers(Right("line", "change"))
    assert not Right("line", "see").covers(Right("*", "see"))
    assert Right("line", "change").covers(Right("line", "change", "all", frozenset({"label"})))
    assert not Right("line", "change", "all", frozenset({"label"})).covers(Right("line", "change"))
    assert ROOT.covers(ALL)
    assert ROOT.covers(OWN)
    assert not Actor("x", rights=SEE).covers(OWN)


def test_what_belongs_to_whom_follows_the_references(admin: Admin) -> None:
    ben = user(admin, "ben")
    assert owner_of(ben, admin.snapshot) == ben.id
    assert owner_of(extension(admin, "101"), admin.snapshot) == ben.id
    assert owner_of(line(admin, "101"), admin.snapshot) == ben.id
    assert owner_of(line(admin, "103"), admin.snapshot) == ""
    assert owner_of(admin.snapshot.settings, admin.snapshot) == ""


def test_nobody_has_a_right_that_was_not_given(admin: Admin) -> None:
    nobody = Acting(admin, Actor("nobody"))
    for kind in KINDS:
        assert dict(nobody.records(kind)) == {}
        with pytest.raises(Forbidden):
            nobody.create(kind, {})
    with pytest.raises(NotFound):
        nobody.update("extension", extension(admin, "100").id, {"name": "x"})
    for ask in (nobody.journal, nobody.licence_usage, nobody.suggest_number):
        with pytest.raises(Forbidden):
            ask()


def test_no_secret_is_seen_by_anybody(admin: Admin) -> None:
    for acting in (Acting(admin, ROOT), as_(admin, "anna"), as_(admin, "ben"), portal(admin, "cora")):
        assert acting.records("line")
        for kind in KINDS:
            for record in acting.records(kind).values():
                assert all(getattr(record, name) == "" for name in KINDS[kind].secrets)
    assert line(admin, "102").sip_password


def test_an_own_login_sees_its_own_rows_alone(admin: Admin) -> None:
    cora = portal(admin, "cora")
    assert list(cora.records("user")) == [user(admin, "cora").id]
    assert [each.number for each in cora.snapshot.extensions.values()] == ["102"]
    assert list(cora.records("line")) == [line(admin, "102").id]
    assert dict(cora.records("settings")) == {}
    assert cora.find("line", line(admin, "101").id) is None
    assert cora.find("line", line(admin, "102").id) is not None


def test_an_own_login_changes_what_is_personal_of_its_own(admin: Admin) -> None:
    cora, mine = portal(admin, "cora"), line(admin, "102")
    cora.update("line", mine.id, {"label": "desk"})
    assert line(admin, "102").label == "desk"
    assert cora.reveal_sip_password(mine.id) == mine.sip_password
    assert admin.journal()[0].who == "cora"
    for values in (
        {"sip_username": "999"},
        {"label": "x", "sip_username": "999"},
        {"extension": extension(admin, "103").id},
    ):
        with pytest.raises(Forbidden):
            cora.update("line", mine.id, values)
    with pytest.raises(Forbidden):
        cora.renew_sip_password(mine.id)
    with pytest.raises(Forbidden):
        cora.delete("line", mine.id)
    with pytest.raises(Forbidden):
        cora.update("user", user(admin, "cora").id, {"role": "full"})
    with pytest.raises(Forbidden):
        cora.update("extension", extension(admin, "102").id, {"number": "110"})


@pytest.mark.parametrize("name", ["cora", "anna"])
def test_on_the_page_for_everybody_nothing_of_others_is_there(admin: Admin, name: str) -> None:
    """Not even for who may change everything on the admin page."""
    acting, theirs = portal(admin, name), line(admin, "101")
    for ask in (
        lambda: acting.reveal_sip_password(theirs.id),
        lambda: acting.update("line", theirs.id, {"label": "x"}),
        lambda: acting.delete("extension", extension(admin, "101").id),
        lambda: acting.consequences("extension", extension(admin, "101").id),
        lambda: acting.set_password(user(admin, "ben").id, "another long password"),
        lambda: acting.add_line(extension(admin, "101").id, {}),
    ):
        with pytest.raises(NotFound):
            ask()


def test_who_may_look_changes_nothing_and_is_shown_no_password(admin: Admin) -> None:
    ben = as_(admin, "ben")
    assert len(ben.records("line")) == 4
    for ask in (
        lambda: ben.update("extension", extension(admin, "103").id, {"name": "x"}),
        lambda: ben.create("extension", {"number": "104"}),
        lambda: ben.delete("extension", extension(admin, "103").id),
        lambda: ben.reveal_sip_password(line(admin, "103").id),
        lambda: ben.reveal_sip_password(line(admin, "101").id),
    ):
        with pytest.raises(Forbidden):
            ask()
    ben.set_password(user(admin, "ben").id, "another long password")
    assert admin.authenticate("ben", "another long password") is not None


def test_nobody_gives_more_than_they_have(admin: Admin) -> None:
    """Who looks after the users can make nobody an administrator, nor take over one who is."""
    rights = tuple(Right("user", verb) for verb in ("see", "add", "change", "delete"))
    clerk = Acting(admin, Actor("clerk", user(admin, "cora").id, rights))
    ben, anna, cora = (user(admin, name).id for name in ("ben", "anna", "cora"))
    clerk.create("user", {"username": "dora", "role": "own"}, password=PASSWORD)
    clerk.update("user", cora, {"full_name": "Cora"})
    for ask in (
        lambda: clerk.create("user", {"username": "emil", "role": "full"}, password=PASSWORD),
        lambda: clerk.update("user", cora, {"role": "full"}),
        lambda: clerk.update("user", cora, {"role": "read-only"}),
        lambda: clerk.set_password(anna, "another long password"),
        lambda: clerk.set_password(ben, "another long password"),
        lambda: clerk.update("user", anna, {"full_name": "x"}),
        lambda: clerk.delete("user", anna),
    ):
        with pytest.raises(Forbidden):
            ask()


def test_own_rows_cannot_be_given_away_nor_taken(admin: Admin) -> None:
    cora = user(admin, "cora").id
    rights = (*(Right("extension", "see", rows) for rows in ("all",)), Right("extension", "change", "own"))
    acting = Acting(admin, Actor("cora", cora, rights))
    acting.update("extension", extension(admin, "102").id, {"name": "mine"})
    with pytest.raises(Forbidden):
        acting.update("extension", extension(admin, "102").id, {"user": user(admin, "ben").id})
    with pytest.raises(Forbidden):
        acting.update("extension", extension(admin, "101").id, {"user": cora})


def test_rights_are_those_of_the_newest_records(admin: Admin) -> None:
    cora = portal(admin, "cora")
    assert len(cora.records("line")) == 1
    admin.update("extension", extension(admin, "103").id, {"user": user(admin, "cora").id}, "root")
    assert len(cora.records("line")) == 2
    admin.update("extension", extension(admin, "102").id, {"user": ""}, "root")
    with pytest.raises(NotFound):
        cora.reveal_sip_password(line(admin, "102").id)


def test_what_is_seen_is_made_once_for_all_who_see_the_same(admin: Admin) -> None:
    assert as_(admin, "anna").snapshot is as_(admin, "ben").snapshot
    assert Acting(admin, named("x")).snapshot is as_(admin, "ben").snapshot
    assert portal(admin, "anna").snapshot is not portal(admin, "anna").snapshot


# ---- batches, undo, search -------------------------------------------------------------------------------------------------


def test_a_batch_is_saved_when_the_actor_may_do_all_of_it(admin: Admin) -> None:
    clerk = Acting(admin, Actor("clerk", rights=(Right("extension", "see"), Right("extension", "change"))))
    first, second = extension(admin, "102"), extension(admin, "103")
    changes = [Wanted("extension", each.id, {"name": "x"}) for each in (first, second)]
    assert [result.changes for result in clerk.save_all(changes, dry=True)] == [True, True]
    assert extension(admin, "102").name == ""
    clerk.save_all(changes)
    assert extension(admin, "103").name == "x"
    for one in (
        Wanted("extension", first.id, None),
        Wanted("extension", "", {"number": "104"}, new=True),
        Wanted("extension", first.id, {}, inside={"name": "y"}),
        Wanted("extension", "", {"number": "104"}, new=True, back=True),
    ):
        with pytest.raises(Forbidden):
            clerk.save_all([*changes, one])


def test_what_is_not_seen_is_gone_in_a_batch(admin: Admin) -> None:
    cora, theirs = portal(admin, "cora"), line(admin, "101")
    for key in (theirs.id, "nothing"):
        (result,) = cora.save_all([Wanted("line", key, {"label": "x"})], dry=True)
        assert (result.key, result.before, result.after) == (key, None, None)
        assert [problem.said.key for problem in result.problems if isinstance(problem.said, Said)] == ["fields.gone"]
    with pytest.raises(Refused):
        cora.save_all([Wanted("line", theirs.id, {"label": "x"})])
    assert line(admin, "101").label == ""


def test_results_hold_no_secret(admin: Admin) -> None:
    anna = as_(admin, "anna")
    (result,) = anna.save_all([Wanted("line", line(admin, "100").id, {"label": "desk"})])
    assert isinstance(result.after, Line)
    assert (result.after.label, result.after.sip_password) == ("desk", "")
    saved = anna.update("user", user(admin, "ben").id, {"full_name": "Ben"}, password="another long password")
    assert isinstance(saved, User)
    assert saved.password_hash == ""
    assert admin.authenticate("ben", "another long password") is not None


def test_undo_needs_the_rights_of_what_it_does(admin: Admin) -> None:
    anna = as_(admin, "anna")
    anna.update("extension", extension(admin, "103").id, {"name": "x"})
    changed = admin.snapshot.revision
    with pytest.raises(Forbidden):
        as_(admin, "ben").undo(changed)
    results, _ = anna.undo(changed, dry=True)
    assert len(results) == 1
    assert extension(admin, "103").name == "x"
    anna.undo(changed)
    assert extension(admin, "103").name == ""
    anna.delete("extension", extension(admin, "103").id)
    with pytest.raises(Forbidden):
        as_(admin, "ben").undo(admin.snapshot.revision)
    anna.undo(admin.snapshot.revision)
    assert extension(admin, "103").number == "103"


def test_a_search_finds_what_the_actor_may_see(admin: Admin) -> None:
    assert ("extension", extension(admin, "101").id) in as_(admin, "ben").search("101")
    assert portal(admin, "cora").search("101") == []
    assert portal(admin, "cora").search("102")[0] in {
        ("extension", extension(admin, "102").id),
        ("line", line(admin, "102").id),
    }
    assert Acting(admin, Actor("nobody")).search("101") == []


def test_the_history_of_others_is_not_there(admin: Admin) -> None:
    assert as_(admin, "ben").history("extension", extension(admin, "101").id)
    gone = extension(admin, "103").id
    admin.delete("extension", gone, "root")
    assert as_(admin, "ben").history("extension", gone)
    for key in (extension(admin, "101").id, gone):
        with pytest.raises(NotFound):
            portal(admin, "cora").history("extension", key)


# ---- what is delegated, and to programs ----------------------------------------------------------------------------------


def group(admin: Admin, **fields: object) -> str:
    return admin.create(
        "permission-group", {"name": f"Group {len(admin.snapshot.of('permission-group'))}", **fields}, "root"
    ).id


def delegated(admin: Admin, *groups: str) -> Acting:
    admin.update("user", user(admin, "cora").id, {"role": "delegated", "groups": groups}, "root")
    return as_(admin, "cora")


def test_groups_add_up(admin: Admin) -> None:
    numbers, people = group(admin, change=("extension",)), group(admin, see=("user", "history"))
    cora = delegated(admin, numbers, people)
    cora.update("extension", extension(admin, "103").id, {"name": "x"})
    assert len(cora.records("extension")) == 4, "what may be changed may be seen"
    assert cora.actor.may("see", "history")
    assert dict(cora.records("line")) == {}
    for ask in (
        lambda: cora.update("user", user(admin, "cora").id, {"full_name": "x"}),
        lambda: cora.create("extension", {"number": "104"}),
        lambda: cora.journal(),
    ):
        with pytest.raises(Forbidden):
            ask()
    admin.delete("permission-group", numbers, "root")
    with pytest.raises(NotFound):
        as_(admin, "cora").update("extension", extension(admin, "103").id, {"name": "y"})


def test_groups_are_of_no_use_to_another_role(admin: Admin) -> None:
    every = group(admin, change=("extension",))
    admin.update("user", user(admin, "ben").id, {"groups": (every,)}, "root")
    with pytest.raises(Forbidden):
        as_(admin, "ben").update("extension", extension(admin, "103").id, {"name": "x"})


def test_own_rows_of_a_group(admin: Admin) -> None:
    cora = delegated(admin, group(admin, rows="own", change=("extension", "line")))
    assert [each.number for each in cora.snapshot.extensions.values()] == ["102"]
    cora.update("extension", extension(admin, "102").id, {"name": "x"})
    with pytest.raises(NotFound):
        cora.update("extension", extension(admin, "103").id, {"name": "x"})


def test_who_hands_out_rights_hands_out_no_more_than_their_own(admin: Admin) -> None:
    kinds = ("user", "permission-group", "api-key", "extension")
    mine = group(admin, add=kinds, change=kinds, delete=kinds)
    cora, strong = delegated(admin, mine), group(admin, do=("backup",))
    weak = cora.create("permission-group", {"name": "weak", "see": "extension, user"}).id
    cora.create("user", {"username": "dora", "role": "delegated", "groups": weak}, password=PASSWORD)
    made = cora.create("api-key", {"name": "door", "role": "delegated", "groups": [weak]}).id
    assert cora.issue_key(made)
    for ask in (
        lambda: cora.create("permission-group", {"name": "x", "do": "backup"}),
        lambda: cora.update("permission-group", weak, {"see": "line"}),
        lambda: cora.update("permission-group", strong, {"name": "x"}),
        lambda: cora.update("user", user(admin, "cora").id, {"groups": [mine, strong]}),
        lambda: cora.update("user", user(admin, "dora").id, {"groups": strong}),
        lambda: cora.create("api-key", {"name": "x", "role": "full"}),
        lambda: cora.create("api-key", {"name": "y", "role": "delegated", "groups": [strong]}),
        lambda: cora.update("api-key", made, {"role": "read-only"}),
    ):
        with pytest.raises(Forbidden):
            ask()
    boss = admin.create("api-key", {"name": "boss", "role": "full"}, "root").id
    with pytest.raises(Forbidden):
        cora.issue_key(boss)


def test_what_a_group_is_about_has_to_be_something(admin: Admin) -> None:
    for wrong in ("nothing", "extension, nothing", "*"):
        with pytest.raises(Refused):
            group(admin, see=wrong)


def test_a_key_lets_a_program_in_until_its_last_day(admin: Admin, tmp_path: Path) -> None:
    today = date(2026, 11, 27)
    record = admin.create("api-key", {"name": "Door", "expires": "2026-11-28"}, "root")
    assert key_of(f"{record.id}.", admin.snapshot, today) is None, "before it is made there is none"
    text = Acting(admin, ROOT).issue_key(record.id)
    found = key_of(text, admin.snapshot, today)
    assert found is not None
    program = Acting(admin, actor_of_key(found, admin.snapshot))
    assert len(program.records("extension")) == 4
    assert program.actor.name == "Door (API)"
    with pytest.raises(Forbidden):
        program.update("extension", extension(admin, "103").id, {"name": "x"})
    assert key_of(text, admin.snapshot, date(2026, 11, 28)) is not None
    for wrong, day in (
        (text, date(2026, 11, 29)),
        (text[:-1], today),
        (f"nobody.{text}", today),
        ("", today),
        (record.id, today),
    ):
        assert key_of(wrong, admin.snapshot, day) is None
    renewed = Acting(admin, ROOT).issue_key(record.id)
    assert key_of(text, admin.snapshot, today) is None
    assert key_of(renewed, admin.snapshot, today) is not None
    everything = b"".join(file.read_bytes() for file in tmp_path.glob("config.db*"))
    assert renewed.partition(".")[2].encode() not in everything
    assert admin.journal()[0].event == Said.of("journal.key-made", name="Door")


@pytest.mark.parametrize("day", ["tomorrow", "2026-13-01", "2026-02-30", "20261231", "26-12-31"])
def test_the_last_day_is_a_day(admin: Admin, day: str) -> None:
    with pytest.raises(Refused, match="2031-12-31"):
        admin.create("api-key", {"name": "x", "expires": day}, "root")


# ---- the way around ------------------------------------------------------------------------------------------------------

# The use-cases that ask for no right, for nobody has one yet: the wizard and the check of a password.
OPEN = frozenset({"snapshot", "authenticate", "complete_setup"})


def reaching(folder: str) -> dict[str, set[str]]:
    """By file the names of `Admin` that are used of something called `admin`."""
    found: dict[str, set[str]] = {}
    for file in (ROOT_FOLDER / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and _is_admin(node.value):
                found.setdefault(str(file.relative_to(ROOT_FOLDER)), set()).add(node.attr)
    return found


def _is_admin(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "admin") or (
        isinstance(node, ast.Name) and node.id == "admin"
    )


@pytest.mark.parametrize("folder", ["webui", "appliance/commands", "appliance/box"])
def test_pages_and_commands_use_the_use_cases_within_rights_alone(folder: str) -> None:
    around = {file: names - OPEN for file, names in reaching(folder).items() if names - OPEN}
    assert not around, (
        f"through Acting (webui.login.guard.acting, appliance.commands.terminal.use_cases), please: {around}"
    )


def test_the_check_finds_who_goes_around() -> None:
    call = ast.parse("desk().admin.update('user', key, values, 'anna')").body[0]
    assert any(isinstance(node, ast.Attribute) and _is_admin(node.value) for node in ast.walk(call))
