"""The dashboard: this day's calls with their links, the chart and its table, phones that dropped, and whether the office can rely on it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from html import unescape

import pytest

from appliance import cti
from appliance.config.model import Snapshot
from appliance.upkeep import scheduled
from appliance.upkeep.scheduled import Trial
from appliance.words import Said
from tests.web.made import PASSWORD, Clock, FakeBox, Visitor, phone
from tests.web.test_calls import past_call, text_of
from webui.desk import Desk
from webui.work import ready, today
from webui.work.ready import Facts, State

NO_BACKUP = scheduled.State()


def office(desk: Desk, *numbers: str, encrypt: str = "preferred") -> dict[str, str]:
    """Extensions; number -> line id."""
    for number in numbers:
        desk.admin.create("extension", {"number": number, "name": f"Desk {number}", "encrypt": encrypt}, "anna")
    return {line.sip_username: line.id for line in desk.admin.snapshot.lines.values()}


def test_this_days_calls_lead_into_the_history(anna: Visitor, desk: Desk, clock: Clock) -> None:
    desk.admin.update("settings", "settings", {"time_zone": "Asia/Tokyo"}, "anna")
    now = datetime.fromtimestamp(clock.now, desk.admin.snapshot.zone)
    minutes = now.hour * 60 + now.minute  # since midnight in the office
    for number, changes in ((1, {}), (2, {"answered": clock.now - 60, "outcome": "answered", "cause": 16}), (minutes - 1, {}), (minutes + 2, {}),
                            (3, {"outcome": "failed", "cause": 41})):  # fmt: skip
        past_call(desk, clock, number, **changes)
    page = text_of(anna.get("/"))
    links = [unescape(link) for link in re.findall(r'href="(/calls\?[^"]*)"', page)]
    assert links == [f"/calls?result={result}&from={now:%Y-%m-%d}" for result in ("answered", "missed", "failed")]
    assert re.findall(r'figure-value">([^<]*)<', page)[:3] == ["1", "2", "1"]
    assert [text_of(anna.get(link)).count('class="row-link"') for link in links] == [1, 2, 1]


def test_the_chart_is_the_table_behind_it(anna: Visitor, desk: Desk, clock: Clock) -> None:
    assert "No calls in the last 24 hours" in text_of(anna.get("/live/chart"))
    for number in (0, 1, 61, 23 * 60, 25 * 60):
        past_call(desk, clock, number)
    part = text_of(anna.get("/live/chart"))
    drawn = json.loads(unescape(re.findall(r'data-chart="([^"]*)"', part)[0]))
    assert (len(drawn["at"]), sum(drawn["missed"]), sum(drawn["answered"])) == (24, 4, 0)
    rows = re.findall(r'<th scope="row">([^<]*)</th><td>(\d+)</td><td>(\d+)</td><td>(\d+)</td>', part)
    assert [row[0] for row in rows] == drawn["names"]
    assert [int(row[2]) for row in rows] == drawn["missed"]
    assert [hour.calls for hour in today.hours(desk)] == drawn["missed"]


def test_phones_that_dropped_say_why_and_those_without_encryption_are_named(anna: Visitor, desk: Desk, box: FakeBox, clock: Clock) -> None:
    lines = office(desk, "100", "101", "102")
    box.phones = [phone("100", "", line=lines["100"], secure=True, agent="Snom", since=1.0), phone("101", "", line=lines["101"], secure=False, agent="Old", since=1.0)]
    box.drops = [cti.DropView(clock.now - 60, "closed", lines["102"], "192.0.2.7:5061", "Yealink <b>"), cti.DropView(1.0, "expired", "gone", "", "")]
    part = text_of(anna.get("/live/attention"))
    assert "Its connection ended" in part
    assert "Yealink &lt;b&gt;" in part
    assert "did not register again" not in part  # of a line that is no more
    assert "Unencrypted phones" in part
    assert "101 Desk 101" in part
    assert "100 Desk 100" not in part


def test_phones_are_listed_by_line_and_one_that_changes_is_one_row(
    anna: Visitor, desk: Desk, box: FakeBox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webui.pages.phones.PAGE", 5)
    lines = office(desk, *(str(number) for number in range(200, 212)))
    box.phones = [phone(number, "", line=lines[number], secure=number == "200", agent="Snom", since=1.0) for number in ("200", "209")]
    box.drops = [cti.DropView(clock.now - 60, "expired", lines["201"], "", "")]

    def shown(address: str) -> list[str]:
        return re.findall(r'class="fw-semibold">(\d+)<', text_of(anna.get(address)))

    assert shown("/phones") == [str(number) for number in range(200, 205)]
    assert shown("/phones?page=3") == shown("/phones?page=99") == ["210", "211"]
    assert (shown("/phones?which=on"), shown("/phones?which=open"), shown("/phones?q=desk+209")) == (["200", "209"], ["209"], ["209"])
    assert len(shown("/phones?which=off")) == 5
    part = text_of(anna.get(f"/phones/rows?ids={lines['201']}+{lines['209']}+none"))
    assert re.findall(r'<tr id="phone-(\w+)"', part) == [lines["201"], lines["209"]]
    assert "did not register again" in part
    box.away = True
    assert "does not answer" in text_of(anna.get("/phones"))


def states(desk: Desk, phones: cti.Phones | None, backups: scheduled.State = NO_BACKUP) -> dict[str, State]:
    return {step.title.key: step.state for step in ready.steps(Facts(snapshot=desk.admin.snapshot, phones=phones, backups=backups, now=desk.now()))}


def test_ready_says_what_is_done_and_what_is_not(new_desk: Desk) -> None:
    desk = new_desk
    desk.admin.complete_setup(username="anna", full_name="Anna", password=PASSWORD, first_extension="100", country="US")
    assert set(states(desk, None).values()) == {"open", "later"}
    desk.admin.update("settings", "settings", {"name": "Office", "time_zone": "America/Denver"}, "anna")
    desk.admin.create("user", {"username": "ben", "full_name": "Ben", "role": "full"}, "anna", password=PASSWORD)
    lines = office(desk, "100", "101")
    found = states(desk, cti.Phones([lines["100"]], [lines["101"]], []))
    assert {key for key, state in found.items() if state == "done"} == {"ready.name", "ready.zone", "ready.administrators", "ready.phones"}
    assert found["ready.encryption"] == "open"
    assert states(desk, cti.Phones(list(lines.values()), [], []))["ready.encryption"] == "done"
    assert states(desk, cti.Phones([lines["100"]], [], []))["ready.phones"] == "open"
    assert states(desk, cti.Phones([], [], []))["ready.encryption"] == "open"


def test_a_backup_is_ready_when_it_is_planned_made_and_tried(desk: Desk, clock: Clock) -> None:
    found = lambda **changes: [states(desk, None, scheduled.State(began=1.0, ended=2.0, **changes))[f"ready.{name}"] for name in ("backup", "trial")]  # noqa: E731
    good = Trial(at=clock.now)
    assert found(made=clock.now, trial=good) == ["open", "done"]  # by hand, once
    desk.admin.update("backup-plan", "backup-plan", {"at": "02:00", "folder": "/media/stick", "passphrase": "four words in a row"}, "anna")
    assert found() == ["open", "open"]
    assert found(made=clock.now, trial=good) == ["done", "done"]
    assert found(made=clock.now - 3 * 86400, trial=good) == ["open", "done"]
    assert found(made=clock.now, failed=Said("scheduled.nobody")) == ["open", "open"]
    assert found(made=clock.now, trial=Trial(at=1.0, failed=Said("scheduled.nobody"))) == ["done", "open"]


@pytest.mark.parametrize("language", ["en", "de", "cs"])
def test_each_step_leads_to_where_it_is_done(anna: Visitor, desk: Desk, language: str) -> None:
    desk.admin.update("settings", "settings", {"language": language}, "anna")
    part = text_of(anna.get("/live/ready"))
    links = [unescape(link) for link in re.findall(r'href="([^"]*)"', part)]
    assert len(links) >= 5
    assert {anna.get(link).status_code for link in links} == {200}
    assert part.index('data-state="open"') < part.index('data-state="done"') < part.index('data-state="later"')


def test_who_may_not_see_the_history_sees_no_figures_of_it(desk: Desk, anna: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status page asks for each part whether it may be seen."""
    monkeypatch.setattr("webui.pages.status.opens", lambda endpoint: endpoint != "calls.listing")
    page = text_of(anna.get("/"))
    assert ("Answered today" in page, "data-chart" in page, "Phones on" in page) == (False, False, True)


def test_an_empty_snapshot_has_no_phone_to_wait_for() -> None:
    steps = ready.steps(Facts(snapshot=Snapshot(), phones=cti.Phones([], [], []), backups=scheduled.State(), now=1.0))
    assert [step.state for step in steps if step.title.key == "ready.phones"] == ["open"]


