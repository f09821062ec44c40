"""What there is to see: every page's blueprint, and the menu. A new page: a module with a blueprint, a row here, a template."""

from __future__ import annotations

from webui.pages import (
    account,
    aside,
    backup,
    calls,
    changes,
    dialplan,
    encryption,
    health,
    licence,
    licences,
    login,
    reset,
    setup,
    status,
    updates,
)
from webui.records import extensions, lines, settings, users

BLUEPRINTS = (
    account.pages,
    aside.pages,
    backup.pages,
    calls.pages,
    changes.pages,
    dialplan.pages,
    encryption.pages,
    extensions.pages,
    health.pages,
    licence.pages,
    licences.pages,
    lines.pages,
    login.pages,
    reset.pages,
    settings.pages,
    setup.pages,
    status.pages,
    updates.pages,
    users.pages,
)

# blueprint -> title, icon; its view `listing` is where the entry leads. In the order of the menu.
MENU = (
    ("status", "Status", "activity"),
    ("calls", "Call history", "history"),
    ("extensions", "Extensions", "phone"),
    ("dialplan", "Dial plan", "arrow-up-right"),
    ("users", "Users", "users"),
    ("encryption", "Encryption", "shield-lock"),
    ("settings", "Settings", "settings"),
    ("licence", "Licence", "license"),
    ("backup", "Backup", "device-floppy"),
    ("updates", "Updates", "refresh"),
    ("changes", "Changes", "list-details"),
)
