"""What the pages do: extensions, lines, users, licence, changes, call history, hang-up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask

from appliance import cti
from appliance.calls.history.facts import Kind
from appliance.calls.history.record import LegRecord
from appliance.calls.history.story import Story
from appliance.calls.history.summary import as_row, record
from appliance.config.model import Extension, Line
from appliance.host import certificates
from appliance.words import Said, english
from tests.web.made import PASSWORD, Clock, FakeBox, Visitor, leg, phone
from webui.desk import Desk


@pytest.fixture
def extension(desk: Desk) -> Extension:
    made = desk.admin.create("extension", {"number": "100", "name": "Reception"}, "anna")
    assert isinstance(made, Extension)
    return made


@pytest.fixture
def line(desk: Desk, extension: Extension) -> Line:
    return desk.admin.snapshot.lines_of[extension.id][0]


def text_of(response: object) -> str:
    return response.get_data(as_text=True)  # type: ignore[attr-defined, no-any-return]


def test_adding_suggests_the_next_number_and_shows_what_is_wrong_at_the_field(
    anna: Visitor, extension: Extension
) -> None:
    assert 'value="101"' in text_of(anna.get("/extensions/add"))
    form = {"number": "100", "name": "Front <desk>", "user": "", "encrypt": "required"}
    refused = anna.post("/extensions/add", form)
    assert refused.status_code == 422
    assert "100 is in use by extension 100 (Reception)." in text_of(refused)
    assert 'value="Front &lt;desk&gt;"' in text_of(refused)
    assert 'aria-invalid="true"' in text_of(refused)


def test_adding_makes_an_extension_with_a_line(anna: Visitor, desk: Desk) -> None:
    assert anna.post("/extensions/add", {"number": "105", "name": "Lab", "encrypt": "required"}).status_code == 303
    (made,) = desk.admin.snapshot.extensions.values()
    assert (made.number, made.name, made.encrypt) == ("105", "Lab", "required")
    assert [line.sip_username for line in desk.admin.snapshot.lines_of[made.id]] == ["105"]


def test_the_licence_sentence_is_shown_when_no_more_may_be_added(anna: Visitor, desk: Desk) -> None:
    for number in range(120, 135):
        desk.admin.create("extension", {"number": str(number)}, "anna")
    refused = anna.post("/extensions/add", {"number": "150", "name": "One too many"})
    assert refused.status_code == 422
    assert "licensed for 5 users, which allows 15 extensions" in text_of(refused)
    licence = text_of(anna.get("/licence"))
    assert "0 extensions can be added." in licence
    assert "AAAA-BBBB-CCCC-DDDD" in text_of(anna.get("/licence")).replace("<wbr>", "")


def test_a_limit_of_a_number_is_told_at_its_field(anna: Visitor, extension: Extension) -> None:
    form = {"number": "100", "name": "R", "encrypt": "off", "ring_seconds": "1", "user": "", "tab": "general"}
    refused = text_of(anna.post(f"/extensions/{extension.id}", form))
    assert "Ring for must be at least 5 s." in refused
    assert 'class="tab-pane active show" id="pane-advanced"' in refused


def test_the_password_is_in_no_page_until_it_is_asked_for(
    anna: Visitor, desk: Desk, extension: Extension, line: Line
) -> None:
    page = text_of(anna.get(f"/extensions/{extension.id}?tab=lines"))
    assert line.sip_password not in page
    assert anna.get(f"/lines/{line.id}/reveal").status_code == 405
    assert line.sip_password in text_of(anna.post(f"/lines/{line.id}/reveal"))
    row = desk.admin.journal(limit=1)[0]
    assert (row.who, english().say(row.event)) == ("anna", "SIP password shown")
    assert "looked at line 100 of extension 100" in text_of(anna.get("/changes"))


def test_read_only_sees_lines_but_no_password(ben: Visitor, extension: Extension, line: Line) -> None:
    page = text_of(ben.get(f"/extensions/{extension.id}?tab=lines"))
    assert line.sip_password not in page
    assert "Show</button>" not in page
    assert ben.post(f"/lines/{line.id}/reveal").status_code == 403


def test_lines_are_added_named_renewed_and_removed(anna: Visitor, desk: Desk, extension: Extension, line: Line) -> None:
    anna.post(f"/extensions/{extension.id}/lines", {"label": "mobile"})
    first, second = desk.admin.snapshot.lines_of[extension.id]
    assert (second.sip_username, second.label) == ("100-2", "mobile")
    refused = text_of(anna.post(f"/lines/{second.id}", {"sip_username": "100", "label": "van"}))
    assert "The SIP username 100 is in use by extension 100." in refused
    assert 'value="van"' in refused
    anna.post(f"/lines/{second.id}", {"sip_username": "van-1", "label": "van"})
    assert desk.admin.snapshot.lines[second.id].sip_username == "van-1"
    anna.post(f"/lines/{first.id}/renew")
    assert desk.admin.snapshot.lines[first.id].sip_password != line.sip_password
    anna.post(f"/lines/{second.id}/remove")
    assert "An extension keeps at least one line." in text_of(anna.post(f"/lines/{first.id}/remove"))


def test_a_line_cannot_be_moved_or_given_a_password_by_a_forged_form(anna: Visitor, desk: Desk, line: Line) -> None:
    anna.post(
        f"/lines/{line.id}",
        {"sip_username": "100", "label": "", "sip_password": "x" * 20, "extension": "other", "id": "y"},
    )
    assert desk.admin.snapshot.lines[line.id] == line


def test_the_address_of_the_phone_settings_follows_the_encryption(
    anna: Visitor, desk: Desk, extension: Extension
) -> None:
    page = text_of(anna.get(f"/extensions/{extension.id}?tab=lines"))
    assert "15061" in page
    assert "15060" in page
    desk.admin.update("extension", extension.id, {"encrypt": "required"}, "anna")
    assert "15060" not in text_of(anna.get(f"/extensions/{extension.id}?tab=lines"))


def test_the_list_shows_phones_and_locks_and_finds_by_owner(
    anna: Visitor, desk: Desk, box: FakeBox, line: Line
) -> None:
    assert "1 phone" not in text_of(anna.get("/extensions"))
    box.phones = [phone("100", "Reception", line=line.id, secure=False, agent="x", since=desk.now())]
    page = text_of(anna.get("/extensions"))
    assert "1 phone" in page
    assert "Not every phone of this extension is encrypted" in page
    owner = next(user for user in desk.admin.snapshot.users.values() if user.username == "ben")
    desk.admin.create("extension", {"number": "101", "user": owner.id}, "anna")
    found = text_of(anna.get("/extensions?q=carter"))
    assert ">101</a>" in found
    assert ">100</a>" not in found
    box.away = True
    assert "unknown" in text_of(anna.get("/extensions"))


def test_what_deleting_breaks_is_said_before(anna: Visitor, desk: Desk, extension: Extension) -> None:
    assert "Nobody can dial 100 any more." in text_of(anna.get(f"/extensions/{extension.id}/delete"))
    assert extension.id in desk.admin.snapshot.extensions
    assert anna.post(f"/extensions/{extension.id}/delete").status_code == 303
    assert not desk.admin.snapshot.extensions
    assert anna.get(f"/extensions/{extension.id}").status_code == 404


def test_users_are_added_changed_and_deleted(app: Flask, anna: Visitor, desk: Desk) -> None:
    form = {"username": "dora", "full_name": "Dora", "role": "read-only", "password": ""}
    assert "needs a password" in text_of(anna.post("/users/add", form))
    assert "at least 10 characters" in text_of(anna.post("/users/add", {**form, "password": "short"}))
    assert len(desk.admin.snapshot.users) == 3
    assert anna.post("/users/add", {**form, "password": PASSWORD}).status_code == 303
    dora = next(user for user in desk.admin.snapshot.users.values() if user.username == "dora")
    visitor = Visitor(app.test_client())
    assert visitor.log_in("dora").status_code == 303
    assert "taken" in text_of(anna.post(f"/users/{dora.id}", {**form, "username": "anna"}))
    assert anna.post(f"/users/{dora.id}", {**form, "role": "full"}).status_code == 303
    assert visitor.get("/").status_code == 303  # a new role asks for a new login
    assert anna.post(f"/users/{dora.id}/delete").status_code == 303
    assert dora.id not in desk.admin.snapshot.users


def test_a_password_hash_is_never_taken_from_a_form_or_shown(anna: Visitor, desk: Desk) -> None:
    ben = next(user for user in desk.admin.snapshot.users.values() if user.username == "ben")
    anna.post(f"/users/{ben.id}", {"username": "ben", "full_name": "B", "role": "read-only", "password_hash": "x"})
    assert desk.admin.snapshot.users[ben.id].password_hash == ben.password_hash
    for path in (f"/users/{ben.id}", "/users", "/changes"):
        assert "argon2" not in text_of(anna.get(path))


def test_nobody_deletes_the_user_they_are_logged_in_as(anna: Visitor, desk: Desk) -> None:
    me = next(user for user in desk.admin.snapshot.users.values() if user.username == "anna")
    assert "You are logged in as this user." in text_of(anna.post(f"/users/{me.id}/delete"))
    assert "only administrator" in text_of(
        anna.post(f"/users/{me.id}", {"username": "anna", "full_name": "A", "role": "none"})
    )


def test_live_calls_show_a_lock_for_each_leg(anna: Visitor, ben: Visitor, box: FakeBox, clock: Clock) -> None:
    legs = leg("100", "<b>Anna</b>", secure=True), leg("101", "Ben", secure=False)
    box.calls = [cti.CallView("c/1", clock.now - 70, clock.now - 65, legs[0], [legs[1]], "101")]
    page = text_of(anna.get("/live/calls"))
    assert "1:05" in page
    assert "&lt;b&gt;Anna" in page
    assert page.count("Encrypted: signalling, and sound both ways") == 2  # title and words for screen readers
    assert page.count("Not encrypted") == 2
    assert "Hang up" in page
    assert "Hang up" not in text_of(ben.get("/live/calls"))


def test_hanging_up_is_asked_of_calls(anna: Visitor, ben: Visitor, box: FakeBox) -> None:
    assert anna.post("/live/calls/one/hang-up").status_code == 303
    assert ben.post("/live/calls/two/hang-up").status_code == 403
    assert box.hung_up == [("one", "Anna Berger (admin page)")]
    assert "hung up a call" in text_of(anna.get("/changes"))


def test_a_hung_up_call_is_journalled_by_its_numbers_and_one_that_had_ended_is_not(
    anna: Visitor, desk: Desk, box: FakeBox
) -> None:
    legs = leg("100", "Anna", secure=True), leg("101", "Ben", secure=False)
    box.calls = [cti.CallView("c1", 1.0, 2.0, legs[0], [legs[1]], "101")]
    anna.post("/live/calls/c1/hang-up")
    assert "hung up a call between 100 and 101" in text_of(anna.get("/changes"))
    revision, box.away = desk.admin.snapshot.revision, True
    anna.post("/live/calls/c1/hang-up")
    assert desk.admin.snapshot.revision == revision


def test_alarms_come_with_their_repair(anna: Visitor, box: FakeBox, clock: Clock) -> None:
    alarm = cti.Alarm("disk", "error", clock.now - 60, Said.of("alarm.disk-low", megabytes=3), Said("alarm.disk-full-repair"))
    box.status = cti.Status("1", clock.now - 90, False, [], {}, [alarm], "epoll", {})
    page = text_of(anna.get("/"))
    assert "Only 3 MB are free" in page
    assert "Delete old recordings and logs" in page
    assert "Needs attention" in text_of(anna.get("/system"))


def test_everything_is_drawn_while_the_box_is_silent(anna: Visitor, box: FakeBox, extension: Extension) -> None:
    box.away = True
    for path in (
        "/",
        "/live/calls",
        "/live/system",
        "/live/figures",
        "/live/attention", "/live/ready", "/live/chart", "/phones", "/system",
        f"/extensions/{extension.id}",
    ):
        assert anna.get(path).status_code == 200, path
    assert "does not answer" in text_of(anna.get("/"))


def past_call(desk: Desk, number: int, *, legs: Sequence[dict[str, Any]] = ()) -> None:
    started = time.time() - number * 60
    desk.history.write(
        {
            "id": f"call-{number}", "started": started, "answered": None, "ended": started + 9, "caller_number": f"{100 + number}", "caller_name": "Anna",
            "dialled": "200", "callee_number": "", "callee_name": "", "outcome": "no answer", "cause": 19, "hung_up_by": "caller",
            "said": Said.of("call.told", words=f"Nobody answered call {number}."), "people": [], "parts": [], "selftest": False, "legs": list(legs),
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("packets", "secured", "of_call", "of_leg"),
    [
        (500, 500, "Encrypted: signalling and sound", "Encrypted: signalling, and sound both ways"),
        (0, 0, "No sound flowed", "Signalling encrypted, no sound flowed"),
        (500, 20, "Not encrypted", "Signalling encrypted, sound not all the time"),
    ],
)
def test_the_lock_of_a_past_call_is_about_what_flowed(
    anna: Visitor, desk: Desk, packets: int, secured: int, of_call: str, of_leg: str
) -> None:
    """SRTP was agreed on each time."""
    leg = LegRecord(
        side="caller", number="100", transport="TLS", signalling_secure=True, media_secure=True, codec="Opus",
        packets_received=packets, packets_sent=packets, secured_received=secured, secured_sent=secured,
    )  # fmt: skip
    past_call(desk, 7, legs=[msgspec.structs.asdict(leg)])
    assert of_call in text_of(anna.get("/calls"))
    assert of_leg in text_of(anna.get("/calls/call-7"))


@pytest.mark.parametrize("kept", ["encryption.no-key", "The phone named no key that can be used: an older version said so."])
def test_a_leg_that_was_not_encrypted_says_why(anna: Visitor, desk: Desk, kept: str) -> None:
    leg = LegRecord(side="callee", number="200", transport="TLS", signalling_secure=True, not_encrypted=kept)
    past_call(desk, 7, legs=[msgspec.structs.asdict(leg)])
    assert "The phone named no key that can be used: " in text_of(anna.get("/calls/call-7"))


def test_of_two_phones_one_answered_and_the_page_says_what_became_of_the_other(anna: Visitor, desk: Desk) -> None:
    story = Story("two")
    for time_, kind, who, *values in (
        (0, Kind.BEGAN, 0, "102", "extension", False), (0, Kind.WANTED, 0, "102", "Bob <i>"), (0, Kind.LEG, 1, "caller", "101", "Ann"),
        (0, Kind.LEG, 2, "callee", "102", "Bob <i>"), (0, Kind.LEG, 3, "callee", "102", "Bob <i>"), (1, Kind.RANG, 2), (1, Kind.RANG, 3),
        (4, Kind.ANSWERED, 3), (4, Kind.ELSEWHERE, 2), (4, Kind.ENDED, 2, "system", 16), (4, Kind.ANSWERED, 1), (4, Kind.BRIDGED, 1, 3),
        (4, Kind.BRIDGED, 3, 1), (10, Kind.HELD, 3, "them"), (12, Kind.RESUMED, 3, "them"), (20, Kind.OVER, 0, 16, "caller"),
    ):  # fmt: skip
        story.add(1.75e9 + time_, kind, who, *values)
    desk.history.write(as_row(record(story)))
    page = text_of(anna.get("/calls/two"))
    assert "Ann (101) and Bob &lt;i&gt; (102) were connected for 16 s; Ann (101) hung up." in page
    assert "waited 4 s for an answer, talked for 14 s, was on hold for 2 s" in page
    assert "rang for 4 s, answered elsewhere" in page
    assert "rang for 4 s, answered, talked for 14 s, had the other side on hold for 2 s" in page
    assert "102 Bob &lt;i&gt;: answered" in page
    assert page.count("<i>") == 0


def test_a_call_that_failed_has_a_word_and_a_picture(anna: Visitor, desk: Desk) -> None:
    past_call(desk, 1)
    for page in ("/calls", "/calls/call-1"):
        text = text_of(anna.get(page))
        assert 'class="trouble' in text
        assert "no answer</span>" in text
        assert "#phone-off" in text


def test_search_is_blind_to_accents(anna: Visitor, desk: Desk) -> None:
    owner = desk.admin.create("user", {"username": "jürgen", "full_name": "Jürgen Groß"}, "anna")
    desk.admin.create("extension", {"number": "100", "name": "Küche", "user": owner.id}, "anna")
    desk.admin.create("extension", {"number": "101", "name": "Lager"}, "anna")
    for path, query, hit in (("/users", "GROSS jurgen", "Jürgen Groß"), ("/extensions", "kuche", "Küche"), ("/extensions", "jurgen gross", "Küche")):
        found = text_of(anna.get(f"{path}?q={query}", **{"HX-Target": "rows"}))
        assert hit in found
        assert "Lager" not in found
        assert "Anna Berger" not in found


def test_changes_say_who_changed_what(anna: Visitor, desk: Desk, extension: Extension) -> None:
    form = {"number": "120", "name": "Reception", "encrypt": "required", "ring_seconds": "60", "user": ""}
    anna.post(f"/extensions/{extension.id}", {**form, "usernames": "change"})
    page = text_of(anna.get("/changes"))
    assert "Number: “100” → “120”" in page
    assert "Encrypt communication (TLS and SRTP): Preferred → Required" in page
    assert "SIP username: “100” → “120”" in page
    assert "completed the setup" in page


def test_the_authority_can_be_fetched_without_a_login(visitor: Visitor) -> None:
    answer = visitor.get("/encryption/authority.crt")
    assert answer.data.startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in answer.data


def test_the_rsa_fingerprint_is_shown_once_there_is_one(anna: Visitor, desk: Desk) -> None:
    assert "RSA" not in text_of(anna.get("/encryption"))
    certificates.make_rsa_key(Path(desk.boot.data))
    certificates.ensure(Path(desk.boot.data))
    facts = desk.certificate()
    assert facts is not None
    assert facts.rsa_fingerprint in text_of(anna.get("/encryption")).replace("<wbr>", "")


def test_a_fault_of_ours_is_an_apology_and_keeps_its_details_in_the_log(
    anna: Visitor, box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(box, "ask", fail)
    answer = anna.get("/")
    assert answer.status_code == 500
    assert "fault of ours" in text_of(answer)
    assert "secret detail" not in text_of(answer)


def test_licences_are_found_and_read(anna: Visitor) -> None:
    assert 'href="/licences"' in anna.get("/").get_data(as_text=True)
    text = anna.get("/licences?q=flask").get_data(as_text=True)
    assert 'href="/licences/pypi/' in text
    part = anna.get("/licences?q=flask bsd", **{"HX-Target": "licences"}).get_data(as_text=True)
    assert "<html" not in part
    assert "Nothing fits" in anna.get("/licences?q=nothinglikethis").get_data(as_text=True)
    name = part.split('href="/licences/pypi/')[1].split('"')[0]
    assert "Redistribution and use" in anna.get(f"/licences/pypi/{name}").get_data(as_text=True)
    for wrong in ("pypi/no-such-package", "deb/../../etc/passwd", "text/GPL-3x", "other/Flask"):
        assert anna.get(f"/licences/{wrong}").status_code == 404
