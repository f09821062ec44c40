"""The pages of one kind of record, from its row: addresses, list, form, several at once, history."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from appliance.config.declare import Kind
from webui.records import bulk, edit, history, list, sheet
from webui.records.named import single
from webui.records.parts import Part


def blueprint_of(row: Kind[Any], part: Part) -> Blueprint:
    """Named by the kind's place in addresses, so `url_for("extensions.edit", key=…)` is a record's page."""
    pages = Blueprint(row.path, __name__)
    if not single(row) and row.group:
        list.register(pages, row, part)
        bulk.register(pages, row, part)
        sheet.register(pages, row)
    edit.register(pages, row, part)
    history.register(pages, row)
    return pages
