"""What this day has brought: calls by their result, for the figures and the chart of the status page."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from appliance.calls.history.records.query import RESULTS, CallQuery, Result
from webui.desk import Desk

HOURS = 24


class Hour(NamedTuple):
    start: float  # unix
    counts: dict[Result, int]

    @property
    def calls(self) -> int:
        return sum(self.counts.values())


def today(here: Desk) -> tuple[CallQuery, dict[Result, int]]:
    """The query for the calls of this day in the office, and how many there are of each result."""
    zone = here.admin.snapshot.zone
    now = datetime.fromtimestamp(here.now(), zone)
    midnight = datetime(now.year, now.month, now.day, tzinfo=zone)
    seconds = 7 * 86400  # more than a day ever has: one part
    counts = here.history.results(midnight.timestamp(), midnight.timestamp() + seconds, seconds)
    return CallQuery(first=now.date()), {result: counts.get((0, result), 0) for result in RESULTS}


def hours(here: Desk) -> list[Hour]:
    """The last 24 hours, by the hour, the present one last."""
    zone = here.admin.snapshot.zone
    this = datetime.fromtimestamp(here.now(), zone).replace(minute=0, second=0, microsecond=0)
    first = this.timestamp() - 3600 * (HOURS - 1)
    counts = here.history.results(first, first + 3600 * HOURS, 3600)
    return [Hour(first + 3600 * n, {result: counts.get((n, result), 0) for result in RESULTS}) for n in range(HOURS)]
