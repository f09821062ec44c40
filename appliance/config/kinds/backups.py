"""When backups are made by themselves, and where they go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from appliance.config.declare import Kind, Number, Problem, Record, Records, Secret, Text, TimeOfDay
from appliance.words import Said

SHORTEST_PASSPHRASE = 10


class BackupPlan(Record):
    """At most one backup a day; without a time there is none."""

    at: Annotated[str, TimeOfDay()] = ""
    folder: Annotated[str, Text(300, re.compile(r"(/[^/\x00]+)*/?").fullmatch, examples=("", "/media/stick"))] = ""
    keep: Annotated[int, Number(1, 400)] = 14
    passphrase: Annotated[str, Secret(200, examples=("", "four words in a row"))] = ""


def _check(plan: BackupPlan, rest: Records) -> Iterable[Problem]:
    if plan.at and not plan.folder:
        yield Problem("folder", Said.of("backup-plan.folder-missing"))
    if plan.at and len(plan.passphrase) < SHORTEST_PASSPHRASE:
        yield Problem("passphrase", Said.of("backup-plan.passphrase-weak", least=SHORTEST_PASSPHRASE))


BACKUP_PLANS = Kind(
    BackupPlan,
    always={"backup-plan": BackupPlan(id="backup-plan")},
    icon="device-floppy",
    columns=("at", "folder", "keep"),
    check=_check,
)
