"""The list of a kind's records: a page of rows, sorted, filtered and searched; which columns it has is remembered with the session."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from appliance.config.declare import Choice, Kind, Record, Reference, Several, TickBox
from appliance.config.model import Snapshot, find
from appliance.config.reading.listing import page as page_of_rows
from appliance.words import Said
from webui.forms import Field, Option, fields_of
from webui.login.guard import acting, route
from webui.records.named import few, label_of
from webui.records.parts import Part
from webui.records.shown import links, page_of, value_words
from webui.wording import capital, say, t, words

PAGE = 50
LONGEST = 100  # letters of a search
NONE = "-"  # a filter for an empty reference


@dataclass(frozen=True)
class View:
    """What a list shows, as its address says."""

    text: str
    filters: Mapping[str, str]  # field -> value, as a form has it
    sort: str
    down: bool
    page: int

    @property
    def all(self) -> bool:
        return not self.text and not self.filters

    def query(self, **changed: Any) -> str:
        """The part of an address behind the "?", with some of it changed."""
        view = replace(self, **changed)
        told = {"q": view.text, "sort": ("-" if view.down else "") + view.sort, "page": str(view.page) if view.page > 1 else ""}
        return urlencode({**{f"is.{name}": value for name, value in view.filters.items()}, **{k: v for k, v in told.items() if v and v != "-"}})


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    title: str
    sorts: str = ""  # where clicking the title leads; "": nothing can be sorted by it
    sorted: str = ""  # ascending, descending


@dataclass(frozen=True, slots=True)
class Cell:
    words: str | Markup
    links: Mapping[str, str]
    quiet: bool = False


def view_of(row: Kind[Any], args: Mapping[str, str]) -> View:
    fields = row.record.declared.fields
    sort = args.get("sort", "")
    name = sort.removeprefix("-")
    try:
        number = min(max(int(args.get("page", "1")), 1), 1_000_000)
    except ValueError:
        number = 1
    return View(
        text=args.get("q", "").strip()[:LONGEST],
        filters={name: args[f"is.{name}"] for name in filterable(row) if args.get(f"is.{name}")},
        sort=name if name in fields and not fields[name].hidden and not fields[name].secret else "",
        down=sort.startswith("-"),
        page=number,
    )


def filterable(row: Kind[Any]) -> list[str]:
    """The fields that a list can be narrowed by."""
    fields = row.record.declared.fields
    return [name for name, field in fields.items() if isinstance(field, Choice | TickBox | Reference) and not field.hidden]


def rows_of(row: Kind[Any], view: View, snapshot: Snapshot, count: int = PAGE) -> tuple[list[Record], int, int]:
    """The records of one page, or the first `count`; how many there are on all, and the place of the first one here."""
    found = None
    if view.text:
        found = {key for _, key in acting().search(view.text, [row.name], limit=1_000_000)}
    filters = {name: "" if value == NONE else value for name, value in view.filters.items()}
    sort = view.sort or columns_of(row)[0]
    start = (view.page - 1) * PAGE if count == PAGE else 0
    made = page_of_rows(snapshot, row.name, found=found, filters=filters, sort=sort, down=view.down, start=start, count=count)
    return made.rows, made.total, made.start


def columns_of(row: Kind[Any]) -> list[str]:
    """The fields that are columns, as this session has chosen them."""
    fields = row.record.declared.fields
    chosen = [name for name in session.get(f"columns.{row.name}", ()) if name in choosable(row)]
    first = (row.columns or (row.named_by,))[0]
    return [first, *(name for name in (chosen or row.columns) if name != first and name in fields)]


def choosable(row: Kind[Any]) -> list[str]:
    return [name for name, field in row.record.declared.fields.items() if not field.hidden and not field.secret]


def register(pages: Blueprint, row: Kind[Any], part: Part) -> None:
    @route(pages, f"/{row.path}", may=f"see {row.name}")
    def listing() -> ResponseReturnValue:
        view, snapshot = view_of(row, request.args), acting().snapshot
        rows, total, start = rows_of(row, view, snapshot)
        view = replace(view, page=start // PAGE + 1)
        name = "list-rows.html" if request.headers.get("HX-Target") == "rows" else "list.html"
        html = render_template(
            [f"{row.name}/{name}", f"records/{name}"],
            row=row,
            view=view,
            part=part,
            columns=_columns(row, view, part),
            rows=[(record, label_of(record), page_of(row.name, record.id), _cells(row, record, snapshot)) for record in rows],
            cells=_further(part, rows, snapshot),
            total=total,
            whole=len(row.always or snapshot.of(row.name)),
            pages=-(-total // PAGE),
            first=start + 1,
            filters=_filters(row, view, snapshot),
            choices=_choosable(row),
        )
        return Response(html, headers={"HX-Push-Url": f"/{row.path}?{query}" if (query := view.query()) else f"/{row.path}"})

    if part.follows:

        @route(pages, f"/{row.path}/cells", may=f"see {row.name}", live=True)
        def cells() -> ResponseReturnValue:
            """Of the rows that a page shows, with the state they have there: the cells that are different now."""
            shown = [each.partition(":")[::2] for each in request.args.get("shown", "").split(",")[: 4 * PAGE]]
            snapshot, states = acting().snapshot, set(shown)
            rows = [record for key in dict.fromkeys(key for key, _ in shown) if (record := find(snapshot, row.name, key)) is not None]
            found = [cell for cells in _further(part, rows, snapshot).values() for cell in cells if (cell[0], cell[4]) not in states]
            return render_template("records/cells.html", changed=found)

    @route(pages, f"/{row.path}/columns", may=f"see {row.name}", methods=("POST",))
    def choose_columns() -> ResponseReturnValue:
        wanted = [name for name in choosable(row) if name in request.form.getlist("column")]
        session[f"columns.{row.name}"] = wanted
        return redirect(f"/{row.path}?{view_of(row, request.args).query()}", 303)


def _further(part: Part, rows: Sequence[Record], snapshot: Snapshot) -> Mapping[str, list[tuple[str, str, str, Markup, str]]]:
    """The part's own cells by record: record, column, title, contents, and a short sum of the contents."""
    made = part.cells(rows, snapshot)
    titles = {name: capital(say(Said(key))) for name, key in part.columns}
    found: dict[str, list[tuple[str, str, str, Markup, str]]] = {record.id: [] for record in rows}
    for record in rows:
        for name, title in titles.items():
            contents = made.get((record.id, name), Markup())
            found[record.id].append((record.id, name, title, contents, f"{zlib.crc32(contents.encode()):x}"))
    return found


def short(row: Kind[Any], name: str) -> str:
    """A field's label where there is little room."""
    key = row.record.declared.key(name, "-short")
    return t(key) if words().has(key) else say(row.record.declared.label(name))


def _columns(row: Kind[Any], view: View, part: Part) -> list[Column]:
    found, declared = [], row.record.declared
    shown = columns_of(row)
    for name in shown:
        here = (view.sort or shown[0]) == name
        found.append(
            Column(
                name,
                short(row, name),
                "" if isinstance(declared.fields[name], Several) else view.query(sort=name, down=here and not view.down, page=1),
                ("descending" if view.down else "ascending") if here else "",
            )
        )
    return [*found, *(Column(name, say(Said(key))) for name, key in part.columns)]


def _cells(row: Kind[Any], record: Record, snapshot: Snapshot) -> list[Cell]:
    return [
        Cell(
            value_words(row.record, name, getattr(record, name), snapshot),
            links(record, name, snapshot),
            isinstance(row.record.declared.fields[name], Choice | TickBox | Reference),
        )
        for name in columns_of(row)
    ]


def _filters(row: Kind[Any], view: View, snapshot: Snapshot) -> list[Field]:
    made = fields_of(row.record, {}, snapshot=snapshot)
    found = []
    for name in filterable(row):
        field, declared = made[name], row.record.declared.fields[name]
        any_of = Option("", f"{short(row, name)}: {t('records.any')}")
        if isinstance(declared, TickBox):
            options = [Option("yes", say(Said("fields.ticked"))), Option("no", say(Said("fields.not-ticked")))]
        elif isinstance(declared, Reference):
            known = few(declared, snapshot)
            if known is None:
                continue  # too many to choose from: the search finds their names
            options = [Option(NONE, say(Said("records.none"))), *(Option(key, label) for key, label in known)]
        else:
            options = [Option(option.value, option.label) for option in field.options]
        found.append(replace(field, name=f"is.{name}", kind="select", value=view.filters.get(name, ""), options=(any_of, *options)))
    return found


def _choosable(row: Kind[Any]) -> Sequence[tuple[str, str, bool]]:
    shown = columns_of(row)
    return [(name, say(row.record.declared.label(name)), name in shown) for name in choosable(row) if name != shown[0]]
