"""Ready for the office? What a telephone system should have before people rely on it, each with the page where it is done. Pure: facts in, steps out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from appliance import cti
from appliance.config.countries import SEVERAL_ZONES
from appliance.config.model import Snapshot
from appliance.upkeep import scheduled
from appliance.words import Listed, Said

State = Literal["done", "open", "later"]


class Step(NamedTuple):
    """`told` says what is there, or what to do; `page` is the endpoint where it is done, "" for none."""

    state: State
    title: Said
    told: Said | None
    page: str
    args: Mapping[str, str] = {}

    @property
    def order(self) -> int:
        """What is to be done stands first."""
        return ("open", "done", "later").index(self.state)


@dataclass(frozen=True, kw_only=True)
class Facts:
    snapshot: Snapshot
    phones: cti.Phones | None  # None: the telephone process does not answer
    backups: scheduled.State
    now: float


def steps(facts: Facts) -> list[Step]:
    return [*_office(facts.snapshot), *_phones(facts), *_backups(facts), *_later(facts.snapshot)]


def _step(done: bool, title: Said, todo: Said, page: str, **args: str) -> Step:
    return Step("done", title, None, page, args) if done else Step("open", title, todo, page, args)


def _office(snapshot: Snapshot) -> Iterator[Step]:
    settings = snapshot.settings
    zone = bool(settings.time_zone or (settings.country and settings.country not in SEVERAL_ZONES))
    administrators = sum(user.role == "full" and bool(user.password_hash) for user in snapshot.users.values())
    yield _step(bool(settings.name), Said.of("ready.name"), Said.of("ready.name-open"), "settings.listing")
    yield _step(zone, Said.of("ready.zone"), Said.of("ready.zone-open"), "settings.listing")
    yield _step(administrators > 1, Said.of("ready.administrators"), Said.of("ready.administrators-open"), "users.listing")


def _phones(facts: Facts) -> Iterator[Step]:
    lines, phones = facts.snapshot.lines, facts.phones
    opened = [line for line in phones.open if line in lines] if phones else []
    on = len(opened) + (sum(line in lines for line in phones.encrypted) if phones else 0)
    todo = Said.of("ready.phones-open", on=on, all=len(lines)) if lines else Said.of("ready.phones-none")
    page = "phones.listing" if lines else "extensions.listing"
    yield _step(bool(lines) and on == len(lines), Said.of("ready.phones"), todo, page, **({"which": "off"} if lines else {}))
    todo = Said.of("ready.encryption-open", count=len(opened)) if on else Said.of("ready.encryption-none")
    yield _step(on > 0 and not opened, Said.of("ready.encryption"), todo, "phones.listing", which="open")


def _backups(facts: Facts) -> Iterator[Step]:
    state, trial = facts.backups, facts.backups.trial
    planned = bool(scheduled.plan_of(facts.snapshot).at)
    todo = Said.of("ready.backup-old") if planned and state.made else Said.of("ready.backup-open")
    if state.failed is not None:
        todo = Said.of("ready.backup-failed", why=state.failed)
    made = planned and state.failed is None and state.fresh(facts.now)
    yield _step(made, Said.of("ready.backup"), todo, "backup.listing")
    failed = trial.failed if trial is not None else None
    todo = Said.of("ready.trial-failed", why=failed) if failed is not None else Said.of("ready.trial-open")
    yield _step(trial is not None and failed is None, Said.of("ready.trial"), todo, "backup.listing")


def _later(snapshot: Snapshot) -> Iterator[Step]:
    if not snapshot.reaches_emergency:
        numbers = Listed(snapshot.emergency_numbers)
        yield Step("later", Said.of("ready.outside"), Said.of("ready.outside-later"), "")
        yield Step("later", Said.of("ready.emergency"), Said.of("ready.emergency-later", numbers=numbers), "dialplan.listing")
