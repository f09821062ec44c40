"""Call records and registrations on a real file."""

from pathlib import Path

import pytest

from appliance import records as module
from appliance.records import CallRecords

RECORD = {
    "id": "c1", "started": 10.0, "answered": 12.0, "ended": 20.0, "caller_number": "100", "caller_name": "Anna 100%", "dialled": "101", "callee_number": "101",
    "callee_name": "Bert", "outcome": "answered", "cause": 16, "hung_up_by": "caller", "sentence": "Anna talked to Bert.", "selftest": False,
    "legs": [{"side": "caller", "codec": "PCMA", "signalling_secure": True, "media_secure": True, "packets_sent": 400}],
}  # fmt: skip


@pytest.fixture
def records(tmp_path: Path):
    records = CallRecords(tmp_path)
    yield records
    records.close()


def test_written_found_and_searched(records: CallRecords) -> None:
    records.write(RECORD)
    records.write({**RECORD, "id": "c2", "started": 11.0, "answered": None, "caller_name": "Carl"})
    records.write({**RECORD, "id": "c3", "started": 12.0, "selftest": True})
    assert [row.id for row in records.search()] == ["c2", "c1"]
    assert [row.id for row in records.search("100%")] == ["c1"]
    assert [row.id for row in records.search(limit=1, offset=1)] == ["c1"]
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
        assert [row.id for row in records.search(query)] == ids, query


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
    assert records.search()[0].trouble == trouble


def test_registrations_are_replaced_and_removed(records: CallRecords) -> None:
    records.save_registration("l1", "sip:a", {"line": "l1", "contact": "sip:a", "flow": 1})
    records.save_registration("l1", "sip:a", {"line": "l1", "contact": "sip:a", "flow": 2})
    records.save_registration("l2", "sip:b", {"line": "l2", "contact": "sip:b", "flow": 3})
    assert [row["flow"] for row in records.registrations()] == [2, 3]
    records.remove_registration("l1", "sip:a")
    assert [row["line"] for row in records.registrations()] == ["l2"]


def test_the_oldest_calls_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIM_EVERY", 1)
    records = CallRecords(tmp_path, most=3)
    for number in (4, 1, 5, 2, 3):
        records.write({**RECORD, "id": f"c{number}", "started": float(number)})
    assert [row.id for row in records.search()] == ["c5", "c4", "c3"]
    records.close()
