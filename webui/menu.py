"""What there is to see: every page's blueprint, and the menu. A new page: a module with a blueprint, a row here, a template."""

from __future__ import annotations

from webui.api import page as api
from webui.login import account, entering, second_factor
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
    phones,
    reset,
    setup,
    status,
    system,
    updates,
)
from webui.records import extensions, lines, logins, settings, users

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
    extensions.pages,
    health.pages,
    licence.pages,
    licences.pages,
    lines.pages,
    logins.pages,
    phones.pages,
    reset.pages,
    second_factor.pages,
    settings.pages,
    setup.pages,
    status.pages,
    system.pages,
    updates.pages,
    users.pages,
)

# blueprint -> title, icon; its view `listing` is where the entry leads. In the order of the menu.
MENU = (
    ("status", "Status", "activity"),
    ("calls", "Call history", "history"),
    ("phones", "Phones", "device-landline-phone"),
    ("extensions", "Extensions", "phone"),
    ("dialplan", "Dial plan", "arrow-up-right"),
    ("users", "Users", "users"),
    ("encryption", "Encryption", "shield-lock"),
    ("settings", "Settings", "settings"),
    ("licence", "Licence", "license"),
    ("backup", "Backup", "device-floppy"),
    ("updates", "Updates", "refresh"),
    ("changes", "Changes", "list-details"),
    ("system", "System", "cpu"),
)
