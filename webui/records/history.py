"""What a record has been through, in words, and the way back."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from appliance.config.declare import Kind
from appliance.config.model import find
from webui.login.guard import acting, route
from webui.pages.changes import gone, tell
from webui.records.named import label_of, single
from webui.records.shown import page_of

SHOWN = 100  # changes


def register(pages: Blueprint, row: Kind[Any]) -> None:
    address = f"/{row.path}/history" if single(row) else f"/{row.path}/<key>/history"
    only = next(iter(row.always), "")

    @route(pages, address, may=f"see {row.name}")
    def history(key: str = only) -> ResponseReturnValue:
        snapshot = acting().snapshot
        record, rows = find(snapshot, row.name, key), acting().history(row.name, key, SHOWN)
        if record is None and not rows:
            gone(row.name, key)
        return render_template(
            "records/history.html",
            row=row,
            record=record,
            name=label_of(record) if record is not None else "",
            rows=[tell(each, snapshot) for each in rows],
            back=page_of(row.name, key) if record is not None else f"/{row.path}",
        )
