"""When certificates are renewed and their RSA key is made, in virtual time; and who is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.host import renewal
from appliance.host.certificates import WRITTEN, Facts
from appliance.host.renewal import AGAIN, CALM, Renewal
from appliance.host.resources import Options, Resources, acquire
from tests.test_supervisor import free_port

DAY = 86400.0
NOW = WRITTEN.timestamp() + 100 * DAY


@pytest.fixture
def resources(tmp_path: Path) -> Iterator[Resources]:
    ports = {name: free_port() for name in ("sip_port", "sips_port", "user_port", "admin_port")}
    first = free_port() & ~1
    options = Options(data=tmp_path, rtp_first=first, rtp_last=first + 1, calls=1, **ports)
    with acquire(options) as made:
        made.certify()
        yield made


def told(resources: Resources) -> list[str]:
    heard = []
    for name, fd in resources.renewed.items():
        try:
            os.eventfd_read(fd)
        except BlockingIOError:
            continue
        heard.append(name)
    return heard


class Maker(subprocess.Popen[bytes]):
    """Of the RSA key: has ended when `returncode` is set."""

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def __del__(self) -> None:
        pass


def certificate(resources: Resources, **facts: object) -> None:
    assert resources.certificate is not None
    resources.certificate = replace(resources.certificate, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("good", "now", "renewed"),
    [
        ((NOW - DAY, NOW + DAY), NOW, False),
        ((NOW - DAY, NOW + DAY), NOW + DAY, True),
        ((NOW - DAY, NOW + DAY), NOW - 2 * DAY, True),
        ((NOW - DAY, NOW + DAY), WRITTEN.timestamp() - DAY, False),  # that clock was never set
    ],
)
def test_a_certificate_that_is_due_is_renewed_and_told(
    resources: Resources, good: tuple[float, float], now: float, renewed: bool
) -> None:
    certificate(resources, good=good, rsa_fingerprint="there", server_fingerprint="the one before")
    keeper = Renewal(resources)
    keeper.look(now, 5.0, steady=True)
    assert told(resources) == (["core", "web"] if renewed else [])
    keeper.look(now, 7.0, steady=True)
    assert told(resources) == []


def test_what_cannot_be_renewed_is_tried_again_once_a_minute(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    certificate(resources, good=(0.0, 1.0), rsa_fingerprint="there")
    monkeypatch.setattr(Resources, "certify", lambda self: tries.append(uptime))
    keeper = Renewal(resources)
    for uptime in range(0, 200, 2):
        keeper.look(NOW, uptime, steady=False)
    assert tries == [0, AGAIN, 2 * AGAIN, 3 * AGAIN]


def test_the_rsa_key_is_made_when_all_is_calm_and_then_shown(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: list[Maker] = []
    monkeypatch.setattr(renewal, "errand", lambda module, data: makers.append(Maker()) or makers[-1])
    certificate(resources, good=(NOW - DAY, NOW + DAY))
    keeper = Renewal(resources)
    keeper.look(NOW, CALM - 1, steady=True)
    keeper.look(NOW, CALM, steady=False)
    assert makers == []
    keeper.look(NOW, CALM, steady=True)
    keeper.look(NOW, CALM + 500, steady=True)
    assert len(makers) == 1, "one at a time"
    makers[0].returncode = 1
    keeper.look(NOW, CALM + 502, steady=True)
    assert len(makers) == 1
    certificate(resources, good=(NOW - DAY, NOW + DAY))
    keeper.look(NOW, CALM + 504, steady=True)
    assert len(makers) == 2, "it has failed and is tried again"
    from appliance.host.certificates import make_rsa_key

    make_rsa_key(resources.options.data)
    told(resources)
    makers[1].returncode = 0
    keeper.look(NOW, CALM + 600, steady=True)
    assert told(resources) == ["core", "web"]
    assert isinstance(resources.certificate, Facts)
    assert resources.certificate.rsa_fingerprint
    keeper.look(NOW, CALM + 900, steady=True)
    assert len(makers) == 2
