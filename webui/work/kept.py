"""What a newer version left after a return to an older one: fetched, added to the history, deleted."""

from __future__ import annotations

from pathlib import Path

from appliance.config.rights.acting import Acting
from appliance.storage.database import StorageFailed
from appliance.upkeep import aside
from appliance.upkeep.aside import CannotTakeOver
from appliance.words import Said
from webui.desk import Desk
from webui.work import Tell

KIND = "aside"


def fetch(here: Desk, acting: Acting, name: str) -> Path | None:
    """The database as it is; None: there is none of the name."""
    acting.actor.demand("do", "update")
    file = aside.find(Path(here.boot.data), name)
    if file is not None:
        acting.note("settings", "settings", Said.of("journal.aside-downloaded", file=name))
    return file


def add(here: Desk, acting: Acting, name: str) -> None:
    """Add its call records to the history, in the background. Busy while something else is being done."""
    acting.actor.demand("do", "update")
    folder = Path(here.boot.data)

    def work(tell: Tell) -> Said:
        count = aside.take_over(folder, name, lambda done, total: tell("adding", done, total))
        return Said.of("aside.added", count=count)

    here.desktop.begin(KIND, work, (CannotTakeOver, StorageFailed))
    acting.note("settings", "settings", Said.of("journal.aside-added", file=name))


def delete(here: Desk, acting: Acting, name: str) -> bool:
    """Whether there was one."""
    acting.actor.demand("do", "update")
    file = aside.find(Path(here.boot.data), name)
    if file is None:
        return False
    file.unlink()
    acting.note("settings", "settings", Said.of("journal.aside-deleted", file=name))
    return True
