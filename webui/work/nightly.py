"""Scheduled backups, begun when it is time or when somebody asks: a process of its own makes them (`upkeep.scheduled`)."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

from appliance.config.model import Problem, Refused
from appliance.config.rights.acting import Acting
from appliance.storage.database import StorageFailed
from appliance.upkeep import scheduled
from appliance.upkeep.scheduled import State
from appliance.words import Said
from webui.desk import Desk
from webui.work import Busy

LOOK = 20.0  # seconds between two looks at the clock
MOUNTS = Path("/proc/self/mounts")

log = logging.getLogger("webui")


def state(here: Desk) -> State:
    return scheduled.read(Path(here.boot.data))


def places(here: Desk) -> list[str]:
    """Folders of shares and sticks that are connected now."""
    with contextlib.suppress(OSError):
        return scheduled.places(MOUNTS.read_text(errors="replace"), Path(here.boot.data))
    return []


def demand_usable(here: Desk, folder: str) -> None:
    """Refused, at its field, for a folder that no backup can be kept in now."""
    if folder and (wrong := scheduled.why_not(Path(folder), Path(here.boot.data))) is not None:
        raise Refused(Problem("folder", wrong))


def look(here: Desk) -> bool:
    """Begin one when it is due; whether one was begun."""
    snapshot = here.admin.snapshot
    due = scheduled.due(scheduled.plan_of(snapshot), snapshot.zone, here.now(), state(here))
    return due and here.maker.begin(Path(here.boot.data))


def watch(here: Desk) -> None:
    """Look for ever, in a thread."""

    def watching() -> None:
        pause = threading.Event()
        while not pause.wait(LOOK):
            try:
                look(here)
            except (StorageFailed, OSError) as error:
                log.warning("the scheduled backup could not be begun: %s", error)

    threading.Thread(target=watching, name="nightly", daemon=True).start()


def by_hand(here: Desk, acting: Acting) -> None:
    acting.actor.demand("do", "backup")
    plan = scheduled.plan_of(here.admin.snapshot)
    if not plan.folder or not plan.passphrase:
        raise Refused(Problem("", Said("scheduled.off")))
    if not here.maker.begin(Path(here.boot.data)):
        raise Busy(Said("scheduled.busy"))
    acting.note("settings", "settings", Said.of("journal.backup-in", folder=plan.folder))
