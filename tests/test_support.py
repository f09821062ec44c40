"""The support bundle holds no secret, wherever in the log it may have got to, and still says what somebody needs."""

from __future__ import annotations

import contextlib
import tarfile
from pathlib import Path

import pytest

from appliance.config.admin import Admin
from appliance.config.store import Store
from appliance.host import certificates
from appliance.upkeep import support
from webui.login.sessions import Sessions, Stored

SETUP_CODE, COOKIE, LICENCE = "QWERTZUIOP", "the-cookie-of-anna-0123456789", "ab12" * 32


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A box in use, and its secrets by what they are."""
    data = tmp_path / "data"
    for name in ("run", "log"):
        (data / name).mkdir(parents=True)
    with contextlib.closing(Store(data)) as store:
        admin = Admin(store)
        admin.complete_setup(
            username="anna", full_name="Anna", password="correct horse", first_extension="100", country="DE"
        )
        admin.create("extension", {"number": "100"}, "anna")
        (line,) = admin.snapshot.lines.values()
        (user,) = admin.snapshot.users.values()
    files = certificates.ensure(data)
    (data / "run/setup-code").write_text(SETUP_CODE + "\n")
    (data / "licence.json").write_text(f'{{"licence": {{}}, "signature": "{LICENCE}"}}')
    sessions = Sessions(data / "run/web-sessions.db")
    signing = sessions.secret()
    sessions.save(COOKIE, Stored("anna", 1.0, 1.0, {}))
    sessions.close()
    return data, {
        "SIP password": line.sip_password,
        "password hash": user.password_hash,
        "box key": (data / "keys/box.key").read_bytes().hex(),
        "private key": files.key.read_text().splitlines()[1],
        "authority's key": (data / "keys/authority.key").read_text().splitlines()[2],
        "setup code": SETUP_CODE,
        "licence key": LICENCE,
        "signing secret": signing,
        "session cookie": COOKIE,
    }


def contents_of(bundle: Path) -> dict[str, str]:
    with tarfile.open(bundle) as tar:
        return {entry.name: tar.extractfile(entry).read().decode() for entry in tar if entry.isfile()}  # type: ignore[union-attr]


def test_no_secret_is_in_it(planted: tuple[Path, dict[str, str]]) -> None:
    data, secrets = planted
    bare = [
        f"calls     something went wrong near {secret} again"
        for name, secret in secrets.items()
        if name != "session cookie"
    ]
    key = (data / "keys/server.key").read_text()
    spoken = [
        f"web cookie: other=1; __Host-switchroom={COOKIE}", f"__Host-switchroom={COOKIE}; Path=/", key,
        'Authorization: Digest username="100", response="0123456789abcdef"', "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0IGtleSBvZiBhIGNhbGw=",
        '{"passphrase": "a walk along the river"}', "setup code: ABCDEFGHJK",
    ]  # fmt: skip
    (data / "log/switchroom.log").write_text("\n".join(["the first line", *bare, *spoken, "the last line"]))
    (data / "log/switchroom.log.1").write_text("\n".join(bare))
    everything = [secret for name, secret in secrets.items() if name != "session cookie"]  # known only by its hash
    found = contents_of(support.write(data, (("journal.txt", ("echo", *everything, "from the journal")),)))
    names = ("journal.txt", "log/switchroom.log.txt", "log/switchroom.log.1.txt", "status.json", "databases.txt")
    assert set(found) == {f"switchroom-support/{name}" for name in names}
    text = "\n".join(found.values())
    for name, secret in secrets.items():
        assert secret not in text, name
    for secret in (
        "0123456789abcdef",
        "c2VjcmV0IGtleSBvZiBhIGNhbGw=",
        "walk along",
        "ABCDEFGHJK",
        *key.splitlines()[1:-1],
    ):
        assert secret not in text
    for said in (
        "first line",
        "last line",
        "something went wrong near",
        "from the journal",
        "supervisor does not answer",
    ):
        assert said in text
    assert "  record: 4" in found["switchroom-support/databases.txt"]


def test_a_broken_database_does_not_stop_it(planted: tuple[Path, dict[str, str]]) -> None:
    data, _ = planted
    for log in ("-wal", "-shm"):
        (data / f"config.db{log}").unlink(missing_ok=True)
    (data / "config.db").write_bytes(b"rubbish" * 1000)
    found = contents_of(support.write(data))
    assert "not a database" in found["switchroom-support/databases.txt"]


def test_it_is_readable_by_its_owner_only(planted: tuple[Path, dict[str, str]]) -> None:
    made = support.write(planted[0])
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.parent.stat().st_mode & 0o777 == 0o700


def test_only_the_end_of_a_long_log_is_in_it(
    planted: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "LOG_BYTES", 20)
    (planted[0] / "log/switchroom.log").write_text("old " * 100 + "the end")
    text = contents_of(support.write(planted[0]))["switchroom-support/log/switchroom.log.txt"]
    assert len(text) == 20
    assert text.endswith("the end")
