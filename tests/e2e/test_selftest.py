"""The self-test against the real system: what it says when something is broken on purpose."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from appliance import cti
from appliance.sip.media.negotiation import LegMedia
from appliance.softphone import Account, Softphone
from appliance.softphone.selftest import TONES, Report, selftest
from appliance.softphone.sound import Audio
from media_core.srtp.srtp import backend_name
from tests.e2e.running import ROOT, System


def failed_step(report: Report) -> str:
    assert not report.ok
    assert report.problem == report.steps[-1].message
    assert [step.ok for step in report.steps[:-1]] == [True] * (len(report.steps) - 1)
    return report.steps[-1].name


def nothing_left(system: System) -> None:
    with cti.Client(str(system.data / "run/calls.sock")) as client:
        calls = client.ask(cti.GetCalls())
        registrations = client.ask(cti.GetRegistrations())
    assert isinstance(calls, cti.Calls)
    assert calls.calls == []
    assert isinstance(registrations, cti.Registrations)
    assert [each for each in registrations.registrations if "elf-test" in each.name] == []


def test_passes_twice(system: System) -> None:
    for _ in range(2):
        report = selftest(system.data / "run")
        assert (report.ok, report.problem) == (True, ""), report.steps
        assert len(report.steps) == 11
        (cipher,) = (step.message for step in report.steps if step.name == "cipher code")
        assert cipher.startswith(f"{backend_name('auto')}, the same as libsrtp")
    nothing_left(system)


def test_no_sound(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Audio, "_send_frame", lambda self: None)
    report = selftest(system.data / "run")
    assert failed_step(report) == "sound both ways"
    first = next(argument for argument in system.arguments if argument.count("-") == 1 and argument[0].isdigit()).split(
        "-"
    )
    assert f"UDP ports {first[0]}–{first[1]} between phone and box seem to be blocked" in report.problem
    nothing_left(system)


def test_sound_one_way(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Audio._send_frame
    monkeypatch.setattr(Audio, "_send_frame", lambda self: send(self) if self._frequency == TONES[0] else None)
    report = selftest(system.data / "run")
    assert "only one way: the called phone hears the caller, not the other way round" in report.problem


def test_wrong_keys(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Audio.apply

    def with_another_key(self: Audio, leg: LegMedia) -> None:
        agreed = leg.agreed
        assert agreed is not None
        assert agreed.crypto_in is not None
        leg.agreed = structs.replace(agreed, crypto_in=structs.replace(agreed.crypto_in, key=bytes(len(agreed.crypto_in.key))))
        apply(self, leg)

    monkeypatch.setattr(Audio, "apply", with_another_key)
    assert "could not be decrypted" in selftest(system.data / "run").problem


def test_wrong_password(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Softphone.__init__

    def with_a_wrong_password(self: Softphone, account: Account, **more: Any) -> None:
        make(self, replace(account, password="wrong"), **more)

    monkeypatch.setattr(Softphone, "__init__", with_a_wrong_password)
    report = selftest(system.data / "run")
    assert failed_step(report) == "register over TLS"
    assert "401" in report.problem


def test_nothing_runs(tmp_path: Path) -> None:
    report = selftest(tmp_path)
    assert failed_step(report) == "call control"
    assert "not running" in report.problem


BLOCKED = """
import subprocess, sys
from pathlib import Path
from typing import Any
from tests.e2e.running import System
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
system = System(Path(sys.argv[1]) / "var")
system.start()
ports = system.arguments[system.arguments.index("--rtp") + 1]
for rule in ("add table inet t", "add chain inet t i {{ type filter hook input priority 0; }}", "add rule inet t i udp dport " + ports + " drop"):
    subprocess.run(["nft", *rule.replace("{{", "{").replace("}}", "}").split()], check=True)
done = system.run("selftest", "--data", str(system.data), seconds=55)
print(done.returncode, done.stdout, done.stderr)
system.stop()
"""


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("nft") is None or shutil.which("ip") is None, reason="needs nftables and iproute2")
def test_ports_blocked_by_a_firewall(tmp_path: Path) -> None:
    """In a network of its own, with a real packet filter."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel does not give users a network namespace")
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", BLOCKED, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("1 "), done.stdout + done.stderr
    assert "seem to be blocked" in done.stdout


WRONG_CORE = """
import sys
from media_core import proof
proof.differing = lambda code: ["AEAD_AES_128_GCM"] if code == "auto" else []
from media_core.__main__ import main
sys.exit(main())
"""
WRONG_SYSTEM = f"""
import sys
from appliance.host import process
command = process._command
process._command = lambda module: [sys.executable, "-c", {WRONG_CORE!r}] if module == "media_core" else command(module)
from appliance.__main__ import main
main()
"""


class WrongCipher(System):
    """Its processor seals what libsrtp cannot open."""

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-c", WRONG_SYSTEM, *arguments] if arguments[0] == "run" else System.command(*arguments)


@pytest.mark.timeout(120)
@pytest.mark.skipif(not backend_name("ipsec-mb"), reason="only OpenSSL is here, and there is nothing to fall back to")
def test_cipher_code_that_differs_is_not_used_and_an_alarm_says_so(tmp_path: Path) -> None:
    """Calls are encrypted all the same, by OpenSSL; also after the spare has taken over."""
    system = WrongCipher(tmp_path / "var")
    system.start()
    try:
        for _ in range(2):
            report = selftest(system.data / "run")
            assert (report.ok, report.problem) == (True, "")
            (said,) = (step.message for step in report.steps if step.name == "cipher code")
            assert said.startswith(backend_name("openssl"))
            status = system.status()
            assert status["cipher"] == said
            (alarm,) = (alarm for alarm in status["alarms"] if alarm["id"] == "cipher-differs")
            assert f"SRTP is done by {said}" in alarm["message"]
            system.kill("core")
    finally:
        assert system.stop() == 0
