"""What is wrong, from plain facts: each alarm begins once, lasts and ends."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.host.alarms import CHECKS, Alarms, Facts, ProcessFacts
from appliance.words import LANGUAGES, Said, english, words_of

WRONG = {
    "runs-as-root": Facts(stays_root="this system does not let root be somebody else"),
    "process-down": Facts(processes={"web": ProcessFacts("backing off", 0)}),
    "process-died": Facts(processes={"web": ProcessFacts("running", 2)}),
    "process-hung": Facts(processes={"core": ProcessFacts("running", 1, 1)}),
    "part-failed": Facts(failed_parts={"certificate": "no"}),
    "configuration-damaged": Facts(damage="config.db is missing."),
    "records-damaged": Facts(records_lost=True),
    "disk-full": Facts(disk_free=1 << 20),
    "media-full": Facts(media_free=1 << 20),
    "partition-repaired": Facts(partitions={"media": "repaired"}),
    "certificate-ends": Facts(certificate_ends=1000.0 + 3 * 86400),
    "rtp-ports-few": Facts(rtp_pairs=10, rtp_wanted=20, rtp_limited_by="the weather"),
    "rtp-ports-none": Facts(rtp_pairs=0, rtp_wanted=20, rtp_limited_by="the weather"),
    "hostile-media": Facts(
        hostile_media={"forged media 192.0.2.66 101": Said.of("call.told", words="Packets fail authentication.")}
    ),
    "fault": Facts(faults=[Said.of("fault.turn", error="ValueError")]),
    "cipher-differs": Facts(
        cipher_differs="openssl 3.0.22, because ipsec-mb 1.3.0 avx512 differs from libsrtp in AEAD_AES_128_GCM"
    ),
    "events-lost": Facts(events_lost=1),
}


def test_many_faults_are_few_alarms() -> None:
    alarms = Alarms()
    begun, _ = alarms.update(
        Facts(faults=[Said.of("call.told", words=f"Fault {number}.") for number in range(100)]), 1000.0
    )
    assert [english().say(alarm.message) for alarm in begun] == [
        *(f"Fault {number}." for number in range(95, 100)),
        "95 more faults in the last ten minutes are in the log.",
    ]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_alarm_begins_once_lasts_and_ends(check: Any) -> None:
    alarms = Alarms()
    begun, ended = alarms.update(WRONG[check.id], 1000.0)
    assert [alarm.id.split()[0] for alarm in begun] == [check.id]
    assert not ended
    for language in LANGUAGES:
        said = [words_of(language).say(said) for said in (begun[0].message, begun[0].repair)]
        assert all(each[-1] in ".)" for each in said), said
    assert alarms.update(WRONG[check.id], 1010.0) == ([], [])
    assert alarms.standing[0].since == 1000.0
    begun, ended = alarms.update(Facts(), 1020.0)
    assert (len(begun), len(ended), alarms.standing) == (0, 1, [])


def test_errors_stand_before_warnings() -> None:
    alarms = Alarms()
    alarms.update(WRONG["events-lost"], 1.0)
    alarms.update(Facts(events_lost=1, disk_free=0), 2.0)
    assert [alarm.id for alarm in alarms.standing] == ["disk-full", "events-lost"]
