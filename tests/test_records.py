"""Call records and registrations on a real file."""

from datetime import UTC
from pathlib import Path

import pytest

from appliance.calls.history import records as module
from appliance.calls.history.records import CallRecords, CallRow
from appliance.calls.history.records.query import CallQuery
from appliance.storage.database import Migrations, StorageFailed, open_database
from appliance.words import Person, Said, english

RECORD = {
    "id": "c1", "started": 10.0, "answered": 12.0, "ended": 20.0, "caller_number": "100", "caller_name": "Anna 100%", "dialled": "101", "callee_number": "101",
    "callee_name": "Bert", "outcome": "answered", "cause": 16, "hung_up_by": "caller", "said": Said("call.system"), "people": [], "parts": [], "selftest": False,
    "legs": [{"side": "caller", "codec": "PCMA", "signalling_secure": True, "media_secure": True, "packets_sent": 400}],
}  # fmt: skip


@pytest.fixture
def records(tmp_path: Path):
    records = CallRecords(tmp_path)
    yield records
    records.close()


def found(records: CallRecords, text: str) -> list[CallRow]:
    return records.page(CallQuery(q=text).sought(UTC, lambda person: ())).rows


def test_written_found_and_searched(records: CallRecords) -> None:
    records.write(RECORD)
    records.write({**RECORD, "id": "c2", "started": 11.0, "answered": None, "caller_name": "Carl"})
    records.write({**RECORD, "id": "c3", "started": 12.0, "selftest": True})
    assert [row.id for row in records.page().rows] == ["c2", "c1"]
    assert [row.id for row in found(records, "100%")] == ["c1"]
    row = records.find("c1")
    assert row is not None
    assert (row.seconds, row.protection[0]) == (8.0, True)
    assert records.find("nothing") is None
    assert records.remove_selftest() == 1
    assert records.find("c3") is None


def test_search_is_blind_to_accents_and_reads_words(records: CallRecords) -> None:
    records.write({**RECORD, "caller_name": "Jürgen Groß"})
    records.write({**RECORD, "id": "c2", "caller_name": "Łukasz", "callee_name": None})
    for query, ids in (("jurgen", ["c1"]), ("GROSS", ["c1"]), ("gross 101", ["c1"]), ("lukasz", ["c2"]), ("lukasz bert", [])):
        assert [row.id for row in found(records, query)] == ids, query


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({}, ""),
        ({"hung_up_by": "Anna Berger (admin page)"}, ""),
        ({"hung_up_by": "system", "cause": 16}, ""),
        ({"hung_up_by": "system", "cause": 102}, "cut off"),
        ({"answered": None, "outcome": "busy"}, "busy"),
        ({"answered": None, "outcome": "failed"}, "failed"),
    ],
)
def test_a_call_that_went_wrong_is_told_from_a_good_one(records: CallRecords, changes: dict[str, object], trouble: str) -> None:
    records.write({**RECORD, **changes})
    assert records.page().rows[0].trouble == trouble


def test_people_and_parts_come_back(records: CallRecords) -> None:
    people, parts = [{"number": "101", "name": "Bert", "fate": "answered"}], [{"who": 1, "kind": "talking", "seconds": 8.0}]
    records.write({**RECORD, "people": people, "parts": parts, "said": Said.of("call.busy", callee=Person("Bert", "101"))})
    row = records.page().rows[0]
    assert (row.people, row.parts, row.said.facts) == (people, parts, {"callee": Person("Bert", "101")})


def test_records_of_before_there_were_keys_are_told_as_they_are(tmp_path: Path) -> None:
    older = Migrations("switchroom-calls")
    older("first_tables")(module.first_tables)
    database = open_database(tmp_path / "calls.db", older)
    old = {name: value for name, value in RECORD.items() if name not in ("said", "people", "parts")} | {"legs": "[]"}
    for id, sentence in (("c1", "Anna <b>talked</b> to \"Bert\"."), ("c2", None)):
        values = {**old, "id": id, "sentence": sentence}
        database.execute(f"insert into call ({', '.join(values)}) values ({', '.join('?' * len(values))})", [*values.values()])
    database.commit()
    database.close()
    records = CallRecords(tmp_path)
    rows = [records.find("c1"), records.find("c2")]
    assert [english().say(row.said) for row in rows if row is not None] == ["Anna <b>talked</b> to \"Bert\".", ""]
    assert [(row.people, row.parts) for row in rows if row is not None] == [([], [])] * 2
    records.close()


@pytest.mark.parametrize("stored", ["", "{", '{"type":"said","key":"call.of-the-future","facts":{}}'])
def test_a_sentence_that_this_version_does_not_know_hides_no_call(records: CallRecords, stored: str) -> None:
    records.write(RECORD)
    records._db.execute("update call set said = ?", [stored])
    assert english().say_any(records.page().rows[0].said) == "What was kept here cannot be read by this version."


def test_registrations_are_replaced_and_removed(records: CallRecords) -> None:
    first, again, other = ({"line": line, "contact": f"sip:{line}", "flow": flow} for line, flow in (("l1", 1), ("l1", 2), ("l2", 3)))
    records.keep(saved=[first])
    records.keep(saved=[again, other])
    assert [row["flow"] for row in records.registrations()] == [2, 3]
    records.keep(removed=[("l1", "sip:l1")])
    assert [row["line"] for row in records.registrations()] == ["l2"]


def test_what_a_turn_leaves_is_kept_whole_or_not_at_all(records: CallRecords) -> None:
    body = {"line": "l1", "contact": "sip:a"}
    with pytest.raises(StorageFailed):
        records.keep([RECORD, {**RECORD, "id": "c2", "started": None}], [body])
    assert (records.page().rows, records.registrations()) == ([], [])
    records.keep([RECORD, {**RECORD, "id": "c2"}], [body])
    assert ({row.id for row in records.page().rows}, records.registrations()) == ({"c1", "c2"}, [body])


def test_the_oldest_calls_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIM_EVERY", 1)
    records = CallRecords(tmp_path, most=3)
    for number in (4, 1, 5, 2, 3):
        records.write({**RECORD, "id": f"c{number}", "started": float(number)})
    assert [row.id for row in records.page().rows] == ["c5", "c4", "c3"]
    records.close()
