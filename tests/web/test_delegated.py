"""Permission groups and API keys on the pages, which their rows alone make."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from flask import Flask

from appliance.config.rights import ROOT, actor_of_key, key_of
from appliance.config.rights.acting import Acting
from tests.web.made import Visitor
from webui.desk import Desk


def test_a_group_is_ticked_together_and_given_to_a_user(desk: Desk, anna: Visitor) -> None:
    page = anna.get("/permission-groups/add").get_data(as_text=True)
    assert re.search(r'type="checkbox" name="change" value="extension"', page)
    assert "Call history" in page
    form = {"name": "Numbers", "rows": "all", "change": ["extension", "line"], "see": ["history"], "reveal": ""}
    made = anna.post("/permission-groups/add", form)  # type: ignore[arg-type]
    assert made.status_code == 303, made.get_data(as_text=True)
    (group,) = desk.admin.snapshot.of("permission-group").values()
    assert (group.change, group.see, group.reveal) == (("extension", "line"), ("history",), ())  # type: ignore[attr-defined]
    assert re.search(
        r'name="change" value="line" checked', anna.get(f"/permission-groups/{group.id}").get_data(as_text=True)
    )
    carl = next(user for user in desk.admin.snapshot.users.values() if user.username == "carl")
    assert f'name="groups" value="{group.id}"' in anna.get(f"/users/{carl.id}").get_data(as_text=True)
    assert anna.post(f"/users/{carl.id}", {"role": "delegated", "groups": group.id}).status_code == 303
    assert desk.admin.snapshot.users[carl.id].groups == (group.id,)


def test_who_has_delegated_rights_sees_those_pages_alone(
    desk: Desk, app: object, anna: Visitor, visitor: Visitor
) -> None:
    group = desk.admin.create("permission-group", {"name": "Numbers", "change": "extension"}, "root")
    carl = next(user for user in desk.admin.snapshot.users.values() if user.username == "carl")
    desk.admin.update("user", carl.id, {"role": "delegated", "groups": group.id}, "root")
    extension = desk.admin.create("extension", {"number": "150"}, "root")
    assert visitor.log_in("carl").location == "/dial-plan", "the first page of the menu that may be opened"
    assert visitor.get("/").location == "/dial-plan"
    assert visitor.get("/users").status_code == visitor.get("/backup").status_code == 403
    menu = visitor.get("/extensions").get_data(as_text=True)
    assert 'href="/users"' not in menu
    assert visitor.post(f"/extensions/{extension.id}", {"name": "Door"}).status_code == 303
    assert visitor.post(f"/extensions/{extension.id}/delete").status_code == 403


def test_a_key_is_shown_once(desk: Desk, anna: Visitor) -> None:
    assert anna.get("/api-keys/add").status_code == 200
    assert anna.post("/api-keys/add", {"name": "Door", "role": "read-only", "expires": ""}).status_code == 303
    (record,) = desk.admin.snapshot.of("api-key").values()
    assert f"/api-keys/{record.id}/key" in anna.get(f"/api-keys/{record.id}").get_data(as_text=True)
    page = anna.post(f"/api-keys/{record.id}/key").get_data(as_text=True)
    text = re.search(r'<code id="issued">(.*?)</code>', page).group(1)  # type: ignore[union-attr]
    found = key_of(text, desk.admin.snapshot, datetime.fromtimestamp(desk.now(), UTC).date())
    assert found is not None
    assert actor_of_key(found, desk.admin.snapshot).name == "Door (API)"
    assert text not in anna.get(f"/api-keys/{record.id}/key").get_data(as_text=True)
    desk.sessions.use_key(record.id, desk.now())
    assert "Last used" in anna.get(f"/api-keys/{record.id}/key").get_data(as_text=True)


def test_a_program_comes_in_by_its_key(desk: Desk, app: Flask) -> None:
    record = desk.admin.create("api-key", {"name": "Door"}, "root")
    text, client = Acting(desk.admin, ROOT).issue_key(record.id), app.test_client()

    def ask(key: str, method: str = "GET") -> int:
        headers = {"Authorization": key}
        return client.open(
            "/api/v1/extensions",
            method=method,
            json={"number": "150"} if method == "POST" else None,
            base_url="https://localhost",
            headers=headers,
        ).status_code

    assert ask(f"Bearer {text}") == 200
    assert ask(f"Bearer {text}", "POST") == 403
    assert desk.sessions.key_used(record.id) == desk.now()
    for wrong in (f"Bearer {text}x", text, f"Basic {text}", "Bearer", ""):
        assert ask(wrong) == 401
    desk.admin.update("api-key", record.id, {"role": "full"}, "root")
    assert ask(f"Bearer {text}", "POST") == 201
    assert desk.admin.journal()[0].who == "Door (API)"
    desk.admin.update("api-key", record.id, {"expires": "2020-01-01"}, "root")
    assert ask(f"Bearer {text}") == 401
