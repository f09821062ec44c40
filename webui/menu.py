"""What there is to see: every page's blueprint, and the menu. A new page: a module with a blueprint, a row here, a template; the pages of a
kind of record come from its own row."""

from __future__ import annotations

from typing import NamedTuple

from appliance.config.model import KINDS
from webui.api import page as api
from webui.login import account, entering, second_factor
from webui.login.guard import opens
from webui.pages import (
    aside,
    backup,
    calls,
    changes,
    dialplan,
    encryption,
    health,
    licence,
    licences,
    logs,
    phones,
    reset,
    setup,
    status,
    system,
    updates,
)
from webui.records import pick, search, undo
from webui.records.kind import blueprint_of
from webui.records.parts import NO_PART, Part, extension, keys, line, logins, service, settings, user

OWN = ("line", "service")  # kinds whose pages are made by hand: a tab of extensions, one page for all of them
PARTS: dict[str, Part] = {"extension": extension.PART, "settings": settings.PART, "user": user.PART}

BLUEPRINTS = (
    account.pages,
    api.pages,
    aside.pages,
    backup.pages,
    calls.pages,
    changes.pages,
    dialplan.pages,
    encryption.pages,
    entering.pages,
    health.pages,
    keys.pages,
    licence.pages,
    licences.pages,
    logs.pages,
    line.pages,
    logins.pages,
    phones.pages,
    pick.pages,
    reset.pages,
    search.pages,
    second_factor.pages,
    service.pages,
    setup.pages,
    status.pages,
    system.pages,
    undo.pages,
    updates.pages,
    *(blueprint_of(row, PARTS.get(row.name, NO_PART)) for row in KINDS.values() if (row.group or row.parent) and row.name not in OWN),
)


class Entry(NamedTuple):
    """`page` is a blueprint, whose view `listing` the entry leads to; `title` a key of the catalogue."""

    page: str
    title: str
    icon: str

    @property
    def opens(self) -> bool:
        """Whether the user of this request may open it."""
        return opens(f"{self.page}.listing")


def _kinds(*groups: str) -> tuple[Entry, ...]:
    """The kinds that have a page of their own, in their order."""
    return tuple(Entry(row.path, f"kind.{row.name}-many", row.icon) for row in KINDS.values() if row.group in groups)


# Group -> its entries, both in the order of the menu; "" has no heading.
MENU: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "menu.status",
        (
            Entry("status", "menu.dashboard", "activity"),
            Entry("calls", "menu.calls", "history"),
            Entry("phones", "menu.phones", "device-landline-phone"),
            Entry("dialplan", "menu.dialplan", "arrow-up-right"),
            Entry("system", "menu.system", "cpu"),
        ),
    ),
    (
        "menu.configuration",
        (
            *_kinds("people", "numbers", "telephones", "services"),
            *_kinds("system"),
            Entry("encryption", "menu.encryption", "shield-lock"),
            Entry("backup", "menu.backup", "device-floppy"),
            Entry("updates", "menu.updates", "refresh"),
            Entry("api", "menu.api", "plug-connected"),
        ),
    ),
    ("menu.logs", (Entry("changes", "menu.changes", "list-details"), Entry("logs", "menu.log", "file-text"))),
    ("menu.licence", (Entry("licence", "menu.licence", "license"),)),
)
