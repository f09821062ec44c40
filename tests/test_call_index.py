"""What calls are found by: every filter and search, page by page, beside a plain reading of all records; and how the index heals itself."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from appliance.calls.history.records import CallRecords, RecordsDamaged
from appliance.calls.history.records.index import AT_ONCE, statement
from appliance.calls.history.records.query import NOTHING, BadQuery, CallQuery, Sought, result_of
from appliance.calls.process import Archive
from appliance.config.search import folded
from appliance.words import Said

START = datetime(2026, 3, 28, tzinfo=UTC).timestamp()  # the night to summer time in Berlin is the next one
NAMES = ("Anna Berger", "Jürgen Groß", "Łukasz Đặng", "Ötzi", 'Say "hi" OR NOT*', "")
OUTCOMES = (("answered", 16, "caller"), ("answered", 102, "system"), ("busy", 17, "callee"), ("no answer", 19, "caller"), ("failed", 41, "system"))


def call(number: int, rng: random.Random) -> dict[str, Any]:
    outcome, cause, hung_up_by = rng.choice(OUTCOMES)
    people = [{"number": str(rng.randrange(8, 14)), "name": rng.choice(NAMES), "fate": "missed"} for _ in range(rng.randrange(3))]
    return {
        "id": f"c{number}", "started": START + rng.randrange(4 * 86400), "answered": None, "ended": START + 9e6,
        "caller_number": str(rng.randrange(8, 14)), "caller_name": rng.choice(NAMES), "dialled": str(rng.randrange(98, 113)),
        "callee_number": rng.choice(("", "100", "7")), "callee_name": rng.choice((*NAMES, None)), "outcome": outcome, "cause": cause,
        "hung_up_by": hung_up_by, "said": Said("call.system"), "people": people, "parts": [], "selftest": rng.random() < 0.05, "legs": [],
    }  # fmt: skip


@pytest.fixture
def records(tmp_path: Path) -> Iterator[CallRecords]:
    with contextlib.closing(CallRecords(tmp_path)) as records:
        yield records


def sought(query: CallQuery, own: tuple[str, ...] | None = None) -> Sought:
    return query.sought(UTC, {"u1": ("10", "100"), "u2": ()}.__getitem__, own)


def fits(record: dict[str, Any], query: CallQuery) -> bool:
    """The same question, asked of one record the slow way."""
    called = {record["dialled"], record["callee_number"], *(one["number"] for one in record["people"])}
    texts = [record["caller_number"], record["caller_name"], *called, record["callee_name"], *(one["name"] for one in record["people"])]
    words = folded(" ".join(filter(None, texts))).split()
    ways = {"made": {record["caller_number"]}, "received": called}.get(query.direction, called | {record["caller_number"]})
    day = datetime.fromtimestamp(record["started"], UTC).date()
    return (
        not record["selftest"]
        and all(any(word in one if len(word) > 2 else one.startswith(word) for one in words) for word in folded(query.q).split())
        and (not query.result or query.result == result_of(record["outcome"], record["cause"], record["hung_up_by"]))
        and (not query.extension or query.extension in ways)
        and (not query.person or not ways.isdisjoint(("10", "100") if query.person == "u1" else ()))
        and (query.first is None or day >= query.first)
        and (query.last is None or day <= query.last)
    )


QUERIES = [
    CallQuery(q=text, result=result, extension=extension, person=person, direction=direction, first=first, last=last)  # type: ignore[arg-type]
    for text, result, (extension, person), direction, (first, last) in itertools.product(
        ("", "anna", "JURGEN gross", "lukasz dang", "1", "10", "100", "9 anna", "ötz", 'say "hi"', "or not*", "nobody"),
        ("", "answered", "missed", "failed"), (("", ""), ("10", ""), ("1", ""), ("", "u1"), ("", "u2"), ("100", "u1")), ("", "made", "received"),
        ((None, None), (date(2026, 3, 29), date(2026, 3, 30))),
    )
    if direction == "" or extension or person
]  # fmt: skip


def test_every_combination_finds_what_a_plain_reading_finds(records: CallRecords) -> None:
    rng = random.Random(7)
    made = [call(number, rng) for number in range(150)]
    records.keep(made)
    for query in rng.sample(QUERIES, 300):
        expected = {record["id"] for record in made if fits(record, query)}
        rows = list(records.each(sought(query)))
        assert {row.id for row in rows} == expected, query
        assert [row.started for row in rows] == sorted((row.started for row in rows), reverse=True)


def test_pages_lead_through_all_calls_both_ways(records: CallRecords) -> None:
    records.keep([{**call(n, random.Random(n)), "started": START + n // 3, "selftest": False} for n in range(50)])
    everything = [row.id for row in records.each()]
    down = [records.page(count=7)]
    while down[-1].older:
        down.append(records.page(before=down[-1].older, count=7))
    assert [row.id for page in down for row in page.rows] == everything
    up = [records.page(after=1, count=7)]
    assert up[0].older == 0
    while up[-1].newer:
        up.append(records.page(after=up[-1].newer, count=7))
    assert [row.id for page in reversed(up) for row in page.rows] == everything
    assert (down[0].newer, records.page(before=1)) == (0, ([], 0, 0))


def test_a_call_that_has_ended_is_looked_up_beside_what_is_sought(records: CallRecords) -> None:
    made = [{**call(n, random.Random(n)), "caller_number": f"20{n}", "started": START, "selftest": n == 3} for n in range(4)]
    records.keep(made)
    ids = ["c0", "c2", "c3", "gone"]
    assert [row.id for row in records.among(ids)] == ["c2", "c0"]
    assert [row.id for row in records.among(ids, sought(CallQuery(extension="202")))] == ["c2"]


def test_a_day_is_one_of_the_office() -> None:
    query = CallQuery.read({"from": "2026-03-29", "to": "2026-03-29"})
    _, since, until = query.sought(timezone(timedelta(hours=-5)), lambda person: ())
    assert (since, until) == (START + 29 * 3600, START + 53 * 3600)
    assert CallQuery.read(query.args) == query


@pytest.mark.parametrize(
    ("args", "field"),
    [({"from": "yesterday"}, "from"), ({"to": "1999-12-31"}, "to"), ({"from": "2026-03-02", "to": "2026-03-01"}, "to"),
     ({"result": "lost"}, "result"), ({"direction": "up"}, "direction")],
)  # fmt: skip
def test_what_makes_no_sense_is_said_at_its_field(args: dict[str, str], field: str) -> None:
    with pytest.raises(BadQuery) as error:
        CallQuery.read(args)
    assert error.value.field == field


def test_who_may_see_only_own_calls_sees_no_others_whatever_is_asked(records: CallRecords) -> None:
    rng = random.Random(3)
    made = [call(number, rng) for number in range(200)]
    records.keep(made)
    for query in (CallQuery(), CallQuery(extension="11"), CallQuery(person="u1"), CallQuery(q="anna", direction="made")):
        own = {record["id"] for record in made if fits(record, CallQuery(extension="9"))}
        assert {row.id for row in records.each(sought(query, ("9",)))} <= own
    assert list(records.each(sought(CallQuery(), ()))) == []
    assert sought(CallQuery(), ()).expression == f"({NOTHING})"


@pytest.mark.parametrize(("expression", "index"), [("", "INTEGER PRIMARY KEY"), ('"ann" AND "\x01f\x01"', "VIRTUAL TABLE INDEX")])
@pytest.mark.parametrize("up", [False, True])
def test_no_question_sorts_or_reads_all_calls(records: CallRecords, expression: str, index: str, up: bool) -> None:
    """A page of a million calls costs as much as one of a thousand: the order of time is that of the index."""
    asked, values = statement(expression, 5, 9, up, 51)
    plan = " ".join(row[3] for row in records._db.execute(f"explain query plan {asked}", values))
    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert "moment>? AND moment<?" in plan.replace("rowid", "moment") or index.startswith("VIRTUAL")


def test_the_calls_of_a_page_are_looked_up_by_key(records: CallRecords) -> None:
    plan = [row[3] for row in records._db.execute(
        "explain query plan select c.id from json_each('[1]') j join found.entry e on e.moment = j.value join call c on c.id = e.call order by j.key"
    )]  # fmt: skip
    assert not [line for line in plan if line.startswith("SCAN") and "j" not in line.split()]


def test_calls_of_before_become_findable_in_small_steps_the_newest_first(tmp_path: Path) -> None:
    count = AT_ONCE + 50
    with contextlib.closing(CallRecords(tmp_path)) as records:
        records.keep([{**call(n, random.Random(n)), "started": START + n, "selftest": n % 7 == 0} for n in range(count)])
        records.write({**call(-1, random.Random(0)), "selftest": True})
    for log in ("", "-wal", "-shm"):
        (tmp_path / f"found.db{log}").unlink(missing_ok=True)
    with contextlib.closing(CallRecords(tmp_path)) as records:
        assert records.page().rows == []
        records.keep([{**call(count, random.Random(1)), "started": START - 1, "selftest": False}])  # and one ends meanwhile
        assert [row.id for row in records.page().rows] == [f"c{count}"]
        assert records.not_indexed() >= count
        assert records.index_more()
        assert records.page(count=1).rows[0].id == f"c{count - 1}"
        steps = 1
        while records.index_more():
            steps += 1
        assert (records.not_indexed(), steps) == (0, 2)
        assert len(list(records.each())) == 1 + sum(n % 7 != 0 for n in range(count))
        assert not records.index_more()


def test_calls_that_an_older_version_wrote_without_the_index_are_entered(tmp_path: Path) -> None:
    with contextlib.closing(CallRecords(tmp_path)) as records:
        records.keep([{**call(1, random.Random(1)), "selftest": False}])
        records._db.execute("create temp table older as select * from call")
        records._db.execute("update older set id = 'older'")
        records._db.execute("insert into call select * from older")
    with contextlib.closing(CallRecords(tmp_path)) as records:
        assert records.not_indexed() == 1
        records.keep([{**call(3, random.Random(1)), "selftest": False}])  # leaves no gap behind it
        while records.index_more():
            pass
        assert {row.id for row in records.each()} == {"c1", "older", "c3"}


def test_another_calls_db_is_not_found_by_the_index_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with contextlib.closing(CallRecords(tmp_path / "other")) as records:
        records.keep([{**call(n, random.Random(n)), "id": f"other{n}", "selftest": False} for n in range(3)])
    with contextlib.closing(CallRecords(tmp_path)) as records:
        records.keep([{**call(n, random.Random(n)), "selftest": False} for n in range(5)])
        records._db.execute("pragma wal_checkpoint(truncate)")
    for log in ("-wal", "-shm"):
        (tmp_path / f"calls.db{log}").unlink(missing_ok=True)
    (tmp_path / "other/calls.db").rename(tmp_path / "calls.db")
    with contextlib.closing(CallRecords(tmp_path)) as records:
        while records.index_more():
            pass
        assert sorted(row.id for row in records.each()) == ["other0", "other1", "other2"]


@pytest.mark.parametrize("moment", ["at the start", "while it runs"])
def test_a_damaged_index_is_made_anew_and_no_call_is_lost(tmp_path: Path, moment: str, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(CallRecords(tmp_path)) as records:
        records.keep([{**call(n, random.Random(n)), "selftest": False} for n in range(300)])
        records._db.execute("pragma found.wal_checkpoint(truncate)")
    if moment == "while it runs":
        records = CallRecords(tmp_path)
    file = tmp_path / "found.db"
    whole = file.read_bytes()
    with file.open("r+b") as damaged:
        damaged.seek(100 if moment == "at the start" else 4096)
        damaged.write(b"\xff" * (len(whole) - 8192))
    if moment == "at the start":
        records = CallRecords(tmp_path)
    with contextlib.closing(records), contextlib.closing(CallRecords(tmp_path)) as page:
        records.page(CallQuery(q="anna").sought(UTC, lambda person: ()))
        records.write({**call(300, random.Random(1)), "selftest": False})
        while records.index_more():
            pass
        assert len(list(page.each())) == 301
    assert "made anew" in caplog.text


def test_results_are_counted_by_the_hour(records: CallRecords) -> None:
    hours = (("answered", 16, "caller", 0), ("answered", 16, "caller", 0), ("busy", 17, "callee", 0), ("failed", 41, "system", 2))
    records.keep([
        {**call(n, random.Random(n)), "outcome": outcome, "cause": cause, "hung_up_by": by, "started": START + hour * 3600 + n, "selftest": False}
        for n, (outcome, cause, by, hour) in enumerate(hours)
    ])  # fmt: skip
    assert records.results(START, START + 3 * 3600, 3600) == {(0, "answered"): 2, (0, "missed"): 1, (2, "failed"): 1}
    assert records.results(START + 1, START + 2 * 3600, 3600) == {(0, "answered"): 1, (0, "missed"): 1}


def damaged(data: Path) -> CallRecords:
    """Records whose calls are damaged, which opening them does not see; the registrations are whole."""
    with contextlib.closing(CallRecords(data)) as records:
        records.keep([{**call(n, random.Random(n)), "selftest": False} for n in range(400)], [{"line": "l1", "contact": "sip:a"}])
        pages = [number for (number,) in records._db.execute("select pageno from dbstat where name = 'call'")] if _dbstat(records) else []
        root = records._db.execute("select rootpage from sqlite_schema where name = 'call'").fetchone()[0]
        size = records._db.execute("pragma page_size").fetchone()[0]
        records._db.execute("pragma wal_checkpoint(truncate)")
    with (data / "calls.db").open("r+b") as file:
        for number in {root, *pages}:
            file.seek((number - 1) * size)
            file.write(b"\xff" * size)
    return CallRecords(data)


def _dbstat(records: CallRecords) -> bool:
    try:
        records._db.execute("select 1 from dbstat limit 1")
    except Exception:
        return False
    return True


def test_damage_that_opening_does_not_see_ends_no_call_and_no_registration(tmp_path: Path) -> None:
    page = damaged(tmp_path)
    with pytest.raises(RecordsDamaged):
        page.find("c1")
    archive = Archive(tmp_path)
    archive._call(lambda records: records.write({**call(1000, random.Random(1)), "selftest": False}))
    assert archive.begun_anew == 1
    assert archive._call(lambda records: records.registrations()) == [{"line": "l1", "contact": "sip:a"}]
    assert [row.id for row in archive._call(lambda records: records.page().rows)] == ["c1000"]
    assert [row.id for row in page.page().rows] == ["c1000"]  # the page follows
    assert len(list((tmp_path / "aside").glob("calls.db.*"))) >= 1
    archive._call(lambda records: records.close())
    page.close()
