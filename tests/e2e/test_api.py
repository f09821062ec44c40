"""A program makes two extensions with curl and a key, two real phones register with what it is told, and it sees, ends and finds their call."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from appliance.config.rights import ROOT
from appliance.config.rights.acting import Acting
from appliance.host.entitlement import open_admin
from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System, wait_until

LOW, HIGH = 440, 700


@pytest.fixture
def key(system: System) -> str:
    with open_admin(system.data) as admin:
        acting = Acting(admin, ROOT)
        return acting.issue_key(acting.create("api-key", {"name": "Door", "role": "full"}).id)


def ask(system: System, key: str, path: str, *options: str) -> str:
    command = [
        # a 503 says that the pages are still coming up
        "curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "20", "--retry", "20", "--retry-delay", "1",
        "--cacert", str(system.authority),
        "--header", f"Authorization: Bearer {key}", "--header", "Content-Type: application/json", *options,
        f"https://localhost:{system.admin_port}/api/v1{path}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, (path, done.stdout, done.stderr)
    return done.stdout


def object_of(system: System, key: str, path: str, *options: str) -> Any:
    return json.loads(ask(system, key, path, *options))


def add_phone(system: System, key: str, number: str, name: str) -> Credentials:
    sent = json.dumps({"number": number, "name": name, "encrypt": "required"})
    made = object_of(system, key, "/extensions", "--data", sent)
    (line,) = object_of(system, key, f"/lines?extension={made['id']}")["items"]
    login = object_of(system, key, f"/lines/{line['id']}/reveal", "--request", "POST")
    return Credentials(number, login["sip_username"], login["sip_password"], made["id"])


def test_a_program_sets_up_phones_and_follows_their_call(system: System, key: str, tmp_path: Path) -> None:
    anna, ben = add_phone(system, key, "120", "Anna"), add_phone(system, key, "121", "Ben")
    options = {"transport": "tls", "encryption": "srtp-mand"}
    with (
        Phone(system, tmp_path / "phone0", anna, tone=LOW, **options) as caller,
        Phone(system, tmp_path / "phone1", ben, tone=HIGH, **options) as callee,
    ):
        there = {one["number"]: one for one in object_of(system, key, "/registrations")["items"]}
        assert there["120"]["secure"]
        assert there["121"]["secure"]
        caller.dial(ben.number)
        caller.wait_for("CALL_ESTABLISHED")
        callee.expect_tone(LOW)
        (call,) = object_of(system, key, "/live-calls")["items"]
        assert (call["caller"]["name"], call["callees"][0]["name"]) == ("Anna", "Ben")
        assert call["callees"][0]["media_secure"]
        ask(system, key, f"/live-calls/{call['id']}/end", "--request", "POST")
        caller.wait_for("CALL_CLOSED")
        callee.wait_for("CALL_CLOSED")

    def found() -> Any:
        return object_of(system, key, "/call-records?q=anna")["items"]

    (record,) = wait_until(found, "the call to be written down")
    assert (record["from"]["number"], record["to"]["number"], record["result"]) == ("120", "121", "answered")
    assert record["encrypted"]
    assert "Door (API)" in record["hung_up_by"]
    assert ask(system, key, "/call-records.csv?extension=120").count("\n") == 2
