"""The dial plan page: whose a number is, and what happens when it is dialled."""

from __future__ import annotations

from urllib.parse import urlencode

from tests.web.made import Visitor
from webui.desk import Desk


def test_a_number_is_explained(anna: Visitor, desk: Desk) -> None:
    for number, name in (("100", "Anna"), ("101", "<b>Ben</b>")):
        desk.admin.create("extension", {"number": number, "name": name}, "anna")
    page = anna.get("/dial-plan?from=100&number=101").get_data(as_text=True)
    assert "101 is extension 101 (&lt;b&gt;Ben&lt;/b&gt;)." in page
    assert "The caller is told: nobody answered." in page
    page = anna.get("/dial-plan?from=100&number=*60").get_data(as_text=True)
    assert "*60 is the echo test." in page


def test_every_number_in_use_is_listed_with_who_has_it(anna: Visitor, desk: Desk) -> None:
    desk.admin.create("extension", {"number": "100", "name": "Anna"}, "anna")
    page = anna.get("/dial-plan").get_data(as_text=True)
    for words in ("Emergency calls", "The echo test", "Extension 100 (Anna)"):
        assert words in page


def test_without_an_extension_nobody_can_dial(anna: Visitor) -> None:
    page = anna.get("/dial-plan?number=1").get_data(as_text=True)
    assert "no extension yet" in page


def test_what_is_typed_is_bounded_and_escaped(anna: Visitor, desk: Desk) -> None:
    desk.admin.create("extension", {"number": "100"}, "anna")
    page = anna.get("/dial-plan?" + urlencode({"number": "<script>" * 100, "from": "x" * 1000})).get_data(as_text=True)
    assert "This is no number a telephone can dial." in page
    assert "<script><script>" not in page
