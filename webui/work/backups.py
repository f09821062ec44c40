"""Making a backup, and putting one in the place of what is there.

A backup is made in a thread into the data directory and then fetched; the next one, or an hour, removes it. What is restored is checked
while it arrives. It is used when everything starts again, which follows at once; on a box whose data partition cannot be mounted, that is
made anew first.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import IO

from appliance import cti
from appliance.box import update_client
from appliance.config.model import Problem, Refused
from appliance.config.rights.acting import Acting
from appliance.upkeep import backup
from appliance.upkeep.backup import BadBackup, Restored
from appliance.words import Said
from webui.desk import Desk
from webui.work import Tell

KIND = "backup"
SHORTEST_PASSPHRASE = 10
KEPT_FOR = 3600.0  # seconds a finished backup may be fetched


def _data(here: Desk) -> Path:
    return Path(here.boot.data)


def finished(here: Desk) -> Path | None:
    """The backup that can be fetched."""
    for file in sorted((_data(here) / "backup").glob("*.backup")):
        if here.now() - file.stat().st_mtime < KEPT_FOR:
            return file
        file.unlink()
    return None


def kept_states(here: Desk) -> list[Path]:
    """What was in use before each restore, the newest first."""
    return list(reversed(backup.kept_states(_data(here))))


def begin(here: Desk, acting: Acting, passphrase: str, *, unprotected: bool = False) -> None:
    """Make one in the background. Refused when the passphrase is too short, Busy while something else is being done."""
    acting.actor.demand("do", "backup")
    word = "" if unprotected else passphrase
    if not unprotected and len(word) < SHORTEST_PASSPHRASE:
        raise Refused(Problem("passphrase", Said.of("keeping.too-short", least=SHORTEST_PASSPHRASE)))
    data, now = _data(here), here.now()
    name = backup.file_name(now, here.admin.snapshot.settings.name)
    shutil.rmtree(data / "backup", ignore_errors=True)
    here.desktop.begin(KIND, lambda tell: _make(data, name, word, now, tell), (BadBackup, OSError))
    acting.note("settings", "settings", Said("journal.backup-unprotected" if unprotected else "journal.backup"))


def _make(data: Path, name: str, passphrase: str, now: float, tell: Tell) -> Said:
    folder = data / "backup"
    folder.mkdir(mode=0o700, exist_ok=True)
    temporary = folder / "making.tmp"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        contents = backup.make(data, out, passphrase, now, tell)
    temporary.rename(folder / name)
    return Said.of("keeping.made", extensions=contents.extensions, calls=contents.calls)


def restore(here: Desk, sealed: IO[bytes], passphrase: str, author: str) -> Restored:
    """Check what arrives, and start everything again with it. BadBackup or HelperFailed when not."""
    _refuse_on_trial()
    restored = backup.stage(_data(here), sealed, passphrase, author, time.time())
    start_again(here)
    return restored


def put_back(here: Desk, acting: Acting, name: str) -> Restored:
    """The same with what was in use before a restore."""
    acting.actor.demand("do", "backup")
    _refuse_on_trial()
    found = backup.stage_kept(_data(here), name, acting.actor.name, time.time())
    start_again(here)
    return found


def delete_kept(here: Desk, acting: Acting, name: str) -> bool:
    """Whether there was one."""
    acting.actor.demand("do", "backup")
    folder = next((folder for folder in backup.kept_states(_data(here)) if folder.name == name), None)
    if folder is None:
        return False
    shutil.rmtree(folder)
    acting.note("settings", "settings", Said("journal.kept-deleted"))
    return True


def _refuse_on_trial() -> None:
    if update_client.available() and update_client.ask("status").get("trial"):
        raise BadBackup(Said("keeping.on-trial"))


def start_again(here: Desk) -> None:
    """So that what was staged is used. BadBackup when it has to wait for the next start."""
    if "state" in update_client.damaged():
        renew_state()
        return
    try:
        here.box.ask("supervisor", cti.StartAgain())
    except cti.Unavailable as error:
        raise BadBackup(Said.of("keeping.waits", error=str(error))) from None


def renew_state() -> None:
    """The damaged data partition is made anew and keeps what has been set up since the start. HelperFailed with a sentence."""
    update_client.ask("renew-state", sure="erase")
    update_client.ask("restart", when="now")
