"""The box under attack, in small: nobody who belongs there notices anything. The figures are those of `benchmarks.hold`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.e2e.running import ROOT


@pytest.mark.timeout(150)
def test_strangers_keep_nobody_out() -> None:
    command = [sys.executable, "-m", "benchmarks.hold", "--scale", "0.2", "--settle", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert len(figures["attacks"]) == 11
    assert figures["new_phones"] == 120
    assert figures["right_passwords"] > 0
    noticed = {name: figures[name] for name in ("new_phones_refused", "right_password_refused", "calls_disturbed")}
    assert not any(noticed.values()), figures["reasons"]
    assert (figures["processes_restarted"], figures["faults"]) == (0, 0)
    by_name = {attack["name"]: attack for attack in figures["attacks"]}
    assert by_name["INVITE without ACK"]["answers_per_invite"] <= 1
    assert by_name["neighbour's RTP"]["packets_heard"] == 0
