"""config.db: what is saved is read back, all or nothing, by every process, and secrets stay sealed."""

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.calls.history.records import CallRecords
from appliance.config.model import KINDS, Extension, Line, Record, Service, User, service_number, services
from appliance.config.store import HIDDEN, BoxKey, Change, Conflict, Store
from appliance.storage.database import StorageDamaged, StorageFailed

SECRET = "hT7wq2-MnB4x-secret"
LINE = Line(id="l", extension="e", sip_username="100", sip_password=SECRET)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def put(store: Store, *records: Record) -> int:
    changes = [Change(type(record).__name__.lower(), record.id, record) for record in records]
    return store.save(changes, "anna", 1000.0, store.revision())


def test_empty_is_revision_0(store: Store) -> None:
    assert store.revision() == 0
    assert store.load().revision == 0
    assert store.journal() == []


def test_several_records_are_one_revision(store: Store) -> None:
    assert put(store, Extension(id="e", number="100"), LINE) == 1
    assert store.load().lines_of["e"] == (LINE,)
    assert [row.revision for row in store.journal()] == [1, 1]


def test_a_failing_change_leaves_nothing_behind(store: Store) -> None:
    unknown = Change("trunk", "t", LINE)
    with pytest.raises(KeyError):
        store.save([Change("line", "l", LINE), unknown], "anna", 1.0, 0)
    assert store.revision() == 0
    assert store.load().lines == {}
    assert store.journal() == []


def test_an_old_base_is_a_conflict_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    put(other, LINE)
    with pytest.raises(Conflict):
        store.save([Change("line", "l", None)], "bert", 2.0, 0)
    assert store.load().lines == {"l": LINE}
    assert store.revision() == 1
    other.close()


def test_no_secret_is_on_the_disk(store: Store, tmp_path: Path) -> None:
    put(store, LINE, User(id="u", username="anna", password_hash="$argon2id$hash"))
    put(store, LINE.model_copy(update={"sip_password": SECRET + "2"}))
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
            assert b"$argon2id$hash" not in file.read_bytes(), file
            assert file.stat().st_mode & 0o077 == 0, file
    newest, *_, first = store.journal()
    assert newest.before is not None
    assert newest.after is not None
    assert (newest.before["sip_password"], newest.after["sip_password"]) == (HIDDEN, "(changed)")
    assert first.after is not None
    assert first.after["sip_password"] == HIDDEN


def test_a_sealed_secret_cannot_be_moved_to_another_record(tmp_path: Path) -> None:
    key = BoxKey(tmp_path / "keys/box.key")
    sealed = key.seal(SECRET, "line/l/sip_password")
    assert key.unseal(sealed, "line/l/sip_password") == SECRET
    assert key.seal(SECRET, "line/l/sip_password") != sealed
    for broken in (f"{sealed[:-2]}{int(sealed[-2:], 16) ^ 1:02x}", sealed[:10], "", "no hex"):
        with pytest.raises(StorageFailed):
            key.unseal(broken, "line/l/sip_password")
    with pytest.raises(StorageFailed):
        key.unseal(sealed, "line/m/sip_password")


def spoil_body(data: Path) -> None:
    with sqlite3.connect(data / "config.db") as database:
        database.execute("update record set body = '{'")
    database.close()


SPOILS: dict[str, Callable[[Path], Any]] = {
    "record": spoil_body,
    "key shortened": lambda data: (data / "keys/box.key").write_bytes(b"short"),
    "key exchanged": lambda data: (data / "keys/box.key").write_bytes(b"x" * 32),
    "key missing": lambda data: (data / "keys/box.key").unlink(),
    "database": lambda data: (data / "config.db").write_bytes(b"no database at all" * 100),
    "database cut off": lambda data: (data / "config.db").write_bytes((data / "config.db").read_bytes()[:10_000]),
    "database empty": lambda data: (data / "config.db").write_bytes(b""),
    "database missing": lambda data: (data / "config.db").unlink(),
}


@pytest.mark.parametrize("name", SPOILS)
def test_damage_is_named_without_the_secret(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, LINE)
    store.close()
    SPOILS[name](tmp_path)
    left = {file: file.read_bytes() for file in (tmp_path / "config.db", tmp_path / "keys/box.key") if file.exists()}
    with pytest.raises(StorageDamaged, match="Restore") as failed:
        Store(tmp_path).load()
    assert SECRET not in str(failed.value)
    assert {file: file.read_bytes() for file in left} == left  # nothing begins anew in its place
    assert (tmp_path / "config.db").exists() == (name != "database missing")
    assert (tmp_path / "keys/box.key").exists() == (name != "key missing")  # no new key hides the loss


@pytest.mark.parametrize("cut", ["before the key", "before the tables"])
def test_a_first_start_that_was_cut_is_no_damage(cut: str, tmp_path: Path) -> None:
    """The database comes first, so the key is what may be missing; an empty file is a database that was being made."""
    Store(tmp_path).close()
    (tmp_path / "keys/box.key").unlink()
    if cut == "before the tables":
        (tmp_path / "config.db").write_bytes(b"")
    Store(tmp_path).close()
    Store(tmp_path).close()


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be used"):
        Store(tmp_path / "file/data")


def open_both(data: Path, ready: Any, answers: Any) -> None:
    ready.wait()
    try:
        Store(data).close()
        CallRecords(data).close()
        answers.put("")
    except BaseException as error:
        answers.put(repr(error))
        raise


def test_all_processes_may_make_the_first_start_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=open_both, args=(tmp_path, ready, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=30) for _ in processes] == [""] * 4
    for process in processes:
        process.join()


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20).map(str.strip)
RECORDS = st.one_of(
    st.builds(User, id=st.sampled_from("abc"), username=TEXT, full_name=TEXT, password_hash=TEXT),
    st.builds(
        Extension,
        id=st.sampled_from("abc"),
        number=st.from_regex(r"[0-9]{1,12}", fullmatch=True),
        name=TEXT,
        ring_seconds=st.integers(5, 600),
    ),
    st.builds(Line, id=st.sampled_from("abc"), extension=TEXT, sip_username=TEXT, sip_password=TEXT, label=TEXT),
)
CHANGES = st.lists(
    st.one_of(
        RECORDS.map(lambda record: Change(type(record).__name__.lower(), record.id, record)),
        st.builds(Change, st.sampled_from(["user", "extension", "line"]), st.sampled_from("abc"), st.none()),
    ),
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(saves=st.lists(CHANGES, max_size=5))
def test_what_is_saved_is_read_back_and_the_journal_tells_it(
    saves: list[list[Change]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("data")
    store = Store(data)
    expected: dict[tuple[str, str], Record] = {}
    for changes in saves:
        store.save(changes, "anna", 1.0, store.revision())
        for kind, key, record in changes:
            if record is None:
                expected.pop((kind, key), None)
            else:
                expected[kind, key] = record
    rows = list(reversed(store.journal(limit=1000)))
    store.close()

    again = Store(data)
    snapshot = again.load()
    again.close()
    assert snapshot.revision == len(saves)
    assert {(kind, key): record for kind in KINDS for key, record in snapshot.of(kind).items()} == expected

    replayed: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row.after is None:
            replayed.pop((row.kind, row.key), None)
        else:
            replayed[row.kind, row.key] = dict(row.after)
    for (kind, key), record in expected.items():
        told = replayed.pop((kind, key))
        for name, value in record.model_dump(mode="json", exclude={"id"}).items():
            assert name in KINDS[kind].secrets or told[name] == value
    assert replayed == {}


NUMBERS = st.integers(0, 5)
ACTIONS = st.lists(st.tuples(st.sampled_from(["put", "drop", "look"]), NUMBERS, NUMBERS), max_size=12)


@given(ACTIONS)
@settings(max_examples=40)
def test_what_is_read_as_a_difference_is_what_is_read_as_a_whole(tmp_path_factory: Any, actions: list[tuple[str, int, int]]) -> None:
    store = Store(tmp_path_factory.mktemp("difference"))
    try:
        known = store.load()
        for action, key, value in actions:
            if action == "look":
                known = store.load(known)
            elif action == "put":
                put(store, Extension(id=f"e{key}", number=f"{100 + value}"), Line(id=f"l{key}", extension=f"e{key}"))
            elif f"e{key}" in store.load().extensions:
                store.save([Change("extension", f"e{key}", None)], "anna", 1.0, store.revision())
        whole, difference = store.load(), store.load(known)
        assert difference == whole
        assert list(difference.extensions) == list(whole.extensions) or known.revision != 0
    finally:
        store.close()


def test_a_difference_reads_only_what_has_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, *(Extension(id=f"e{n}", number=f"{1000 + n}") for n in range(200)))
    known = store.load()
    put(store, Extension(id="e7", number="77"), LINE)
    store.save([Change("extension", "e9", None)], "anna", 1.0, store.revision())
    read: list[str] = []
    unpack = Store._unpack
    monkeypatch.setattr(Store, "_unpack", lambda self, kind, key, body: (read.append(key), unpack(self, kind, key, body))[1])
    found = store.load(known)
    assert sorted(read) == ["e7", "l"]
    assert (found.extensions["e7"].number, found.extensions.get("e9"), found.lines["l"]) == ("77", None, LINE)
    assert len(found.extensions) == 199


def test_another_configuration_of_the_same_number_is_read_as_a_whole(store: Store, tmp_path: Path) -> None:
    """A restored backup may have had the known revision's number with other records."""
    put(store, Extension(id="e", number="100"))
    other = Store(tmp_path / "other")
    other.save([Change("extension", "x", Extension(id="x", number="200"))], "bert", 5.0, 0)
    known = other.load()
    other.close()
    assert known.revision == store.revision()
    assert set(store.load(known).extensions) == {"e"}


# config.db as a box has it that was last written before services had records; the copy that is made of it needs a key beside it.
BEFORE_SERVICES = """
create table _sqlite_migrations (id integer primary key, migration_set text, name text, applied_at text);
insert into _sqlite_migrations values (1, 'switchroom-config', 'first_tables', '2026-11-27 13:07:06.942481+00:00');
insert into _sqlite_migrations values (2, 'switchroom-config', 'journal_by_revision', '2026-11-27 13:07:06.942834+00:00');
create unique index idx__sqlite_migrations_migration_set_name on _sqlite_migrations (migration_set, name);
create table journal (id integer primary key, revision integer not null, at real not null, who text not null, kind text not null,
    key text not null, before text, after text);
create index idx_journal_revision on journal (revision);
create table record (kind text, id text, body text not null, primary key (kind, id));
create table state (name text primary key, value integer);
insert into state values ('revision', 1);
"""
SETTINGS = '{"completed": true, "name": "", "country": "DE", "first_extension": "100", "realm": "office"%s}'


@pytest.mark.parametrize(
    ("stored", "service"),
    [
        (', "echo_number": "*55"', (True, "*55")),
        (', "echo_number": "*60"', (True, "*60")),
        (', "echo_number": ""', (False, "*60")),  # as it was switched off once
        ("", (True, "*60")),  # not set up, or of another kind altogether
    ],
)
def test_the_number_of_the_echo_test_is_taken_over(tmp_path: Path, stored: str, service: tuple[bool, str]) -> None:
    (tmp_path / "keys").mkdir()
    BoxKey(tmp_path / "keys/box.key")
    body = SETTINGS % stored
    with sqlite3.connect(tmp_path / "config.db") as old:
        old.executescript(BEFORE_SERVICES)
        old.execute("insert into record values ('settings', 'settings', ?)", [body])
        old.execute("insert into journal values (1, 1, 1.8e9, 'anna', 'settings', 'settings', null, ?)", [body])
    old.close()
    store = Store(tmp_path)
    snapshot = store.load()
    assert (services(snapshot)["echo"].on, services(snapshot)["echo"].number) == service
    assert (snapshot.claims.find(service[1]) is not None) == service[0]
    assert (snapshot.settings.completed, snapshot.settings.country, snapshot.settings.realm) == (True, "DE", "office")
    assert '"echo_number"' not in str(store._db.execute("select body from record").fetchall())
    store.save([Change("service", "echo", Service(id="echo", number="*61"))], "bert", 1.9e9, 1)
    assert service_number(store.load(), "echo") == "*61"
    (row, _) = store.journal()
    assert (row.before, row.after) == (
        {"on": service[0], "number": service[1]},
        {"on": True, "number": "*61"},
    ), "also of a service of which nothing was stored before"
    store.close()
    Store(tmp_path).close()
