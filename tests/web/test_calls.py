"""The page of the call history: filters, pages, rows that change alone, files."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from appliance.words import Person, Said
from tests.web.made import Clock, Visitor
from webui.desk import Desk


def past_call(desk: Desk, clock: Clock, number: int, **changes: Any) -> None:
    started = clock.now - number * 60
    desk.history.write({
        "id": f"call-{number}", "started": started, "answered": None, "ended": started + 9, "caller_number": f"{100 + number}", "caller_name": "Anna",
        "dialled": "200", "callee_number": "", "callee_name": "", "outcome": "no answer", "cause": 19, "hung_up_by": "caller",
        "said": Said.of("call.told", words=f"Nobody answered call {number}."), "people": [], "parts": [], "selftest": False, "legs": [], **changes,
    })  # fmt: skip


def text_of(response: Any) -> str:
    return str(response.get_data(as_text=True))


def rows_of(response: Any) -> list[str]:
    return re.findall(r'<tr class="row-link" id="call-(.*?)"', text_of(response))


def test_history_is_turned_page_by_page_both_ways(anna: Visitor, desk: Desk, clock: Clock) -> None:
    assert "No calls yet" in text_of(anna.get("/calls"))
    for number in range(120):
        past_call(desk, clock, number)
    first = anna.get("/calls")
    assert rows_of(first) == [f"call-{n}" for n in range(50)]
    links = re.findall(r'href="(/calls\?[^"]*)">', text_of(first))
    second = anna.get(next(link for link in links if "before" in link).replace("&amp;", "&"))
    assert rows_of(second) == [f"call-{n}" for n in range(50, 100)]
    oldest = anna.get("/calls?after=1")
    assert rows_of(oldest) == [f"call-{n}" for n in range(70, 120)]
    assert ("Newer" in text_of(first), "Newer" in text_of(second), "Older" in text_of(second), "Older" in text_of(oldest)) == (False, True, True, False)
    assert rows_of(anna.get("/calls?before=junk")) == rows_of(first)


def test_filters_narrow_the_calls_and_stand_in_every_address(anna: Visitor, desk: Desk, clock: Clock) -> None:
    user = desk.admin.create("user", {"username": "jurgen", "full_name": "Jürgen Groß"}, "anna")
    desk.admin.create("extension", {"number": "103", "name": "Jürgen", "user": user.id}, "anna")
    for number in range(60):
        answered = clock.now - number * 60 + 2 if number % 2 else None
        past_call(desk, clock, number, answered=answered, outcome="answered" if number % 2 else "busy", cause=16 if number % 2 else 17)
    past_call(desk, clock, 1500, dialled="103")
    assert rows_of(anna.get("/calls?q=107")) == ["call-7"]
    assert len(rows_of(anna.get("/calls?result=answered"))) == 30
    assert rows_of(anna.get("/calls?who=103")) == ["call-3", "call-1500"]
    assert rows_of(anna.get("/calls?who=jurgen+GROSS&direction=received")) == ["call-1500"]
    assert rows_of(anna.get("/calls?who=103+J%C3%BCrgen&direction=made")) == ["call-3"]
    assert rows_of(anna.get("/calls?to=2027-01-14")) == ["call-1500"]
    assert "No call fits" in text_of(anna.get("/calls?result=failed"))
    page = text_of(anna.get("/calls?result=missed&q=anna"))
    assert 'href="/calls.csv?q=anna&amp;result=missed"' in page
    assert 'data-rows="/calls/rows?q=anna&amp;result=missed"' in page
    assert [name for name in ("103 Jürgen", "Jürgen Groß") if name in text_of(anna.get("/calls/who?who=jurg"))] == ["103 Jürgen", "Jürgen Groß"]


@pytest.mark.parametrize(
    ("address", "told"),
    [("/calls?from=tomorrow", "is no day"), ("/calls?from=2027-01-10&to=2027-01-01", "before the first"), ("/calls?who=Nobody", "nobody has the name"),
     ("/calls?result=lost&direction=x", "none of the choices")],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_told_and_the_rest_is_found(anna: Visitor, desk: Desk, clock: Clock, address: str, told: str) -> None:
    past_call(desk, clock, 1)
    response = anna.get(address)
    assert (response.status_code, told in text_of(response), rows_of(response)) == (200, True, ["call-1"])


def test_a_call_that_ends_is_one_row(anna: Visitor, desk: Desk, clock: Clock) -> None:
    for number in range(5):
        past_call(desk, clock, number)
    assert rows_of(anna.get("/calls/rows?ids=call-2+call-9")) == ["call-2"]
    assert rows_of(anna.get("/calls/rows?q=104&ids=call-2+call-4")) == ["call-4"]
    assert "<table" not in text_of(anna.get("/calls/rows?ids=call-2"))


def test_what_is_sought_comes_as_a_file_as_it_is_read(ben: Visitor, desk: Desk, clock: Clock) -> None:
    for number in range(1200):
        past_call(desk, clock, number, caller_name="=cmd()" if number == 3 else "Łukasz; \"Q\"")
    desk.history.write({**json.loads("{}"), **_answered(clock)})
    table = list(csv.DictReader(io.StringIO(text_of(ben.get("/calls.csv")).removeprefix("\ufeff"))))
    assert (len(table), table[0]["from name"], table[4]["from name"]) == (1201, "Bob", "'=cmd()")
    assert table[5] | {"from name": 'Łukasz; "Q"', "result": "missed", "talked s": "0.0"} == table[5]
    calls = json.loads(text_of(ben.get("/calls.json?q=bob")))
    assert (calls[0]["sentence"], calls[0]["talked_seconds"], calls[0]["started"]) == ("the system", 7.0, "2027-01-15T08:00:05Z")
    assert json.loads(text_of(ben.get("/calls.json?q=nobody"))) == []
    response = ben.get("/calls.csv?result=answered")
    assert 'filename="calls-2027-01-15.csv"' in response.headers["Content-Disposition"]


def _answered(clock: Clock) -> dict[str, Any]:
    return {
        "id": "bob", "started": clock.now + 5, "answered": clock.now + 8, "ended": clock.now + 15, "caller_number": "300", "caller_name": "Bob",
        "dialled": "301", "callee_number": "301", "callee_name": "Eve", "outcome": "answered", "cause": 16, "hung_up_by": "caller",
        "said": Said.of("call.system", who=Person("Bob", "300")), "people": [], "parts": [], "selftest": False, "legs": [],
    }  # fmt: skip


def test_a_file_is_not_collected_before_it_is_sent(anna: Visitor, desk: Desk, clock: Clock) -> None:
    past_call(desk, clock, 1)
    response = anna._client.get("/calls.csv", base_url="https://localhost", headers={"Accept-Encoding": "gzip"}, buffered=False)
    assert response.is_streamed
    assert "Content-Encoding" not in response.headers


def test_one_call_is_told_in_a_sentence_with_its_detail_folded(anna: Visitor, desk: Desk, clock: Clock) -> None:
    past_call(desk, clock, 7)
    detail = text_of(anna.get("/calls/call-7"))
    assert "Nobody answered call 7." in detail
    assert "nobody" in detail
    assert detail.index("Nobody answered") < detail.index('<details class="card" id="call-technical">') < detail.index("(Q.850)")
    assert anna.get("/calls/nothing").status_code == 404
