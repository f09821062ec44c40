"""Records as a table (CSV, RFC 4180), out and in. Pure.

One row is one record; a second kind may stand in the same row by the names of those that refer to it: `extension.number` in a table of people
are their extensions, and 30 people with their extensions are one import. A row whose name is there already changes that record, an empty cell
leaves a field as it is. What spreadsheet programs make of files is understood: commas, semicolons and tabs, a byte order mark, the
letters of Western Windows; and a cell that such a program would take for a formula is written with an apostrophe, which is taken away again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from appliance.config.declare import Kind, Number, Record, Reference, Refused, Several, Text
from appliance.config.model import KINDS, Problem, Snapshot
from appliance.config.saving.batch import Wanted, new_id
from appliance.config.search import folded
from appliance.exchange.names import Names
from appliance.words import LANGUAGES, Said, words_of

LARGEST = 10_000_000  # octets of a file
MOST_ROWS = 20_000
MOST_COLUMNS = 60
LONGEST_CELL = 10_000  # characters
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Column(NamedTuple):
    """`key` is a field of the kind, or KIND.FIELD of one that refers to it."""

    key: str
    kind: str
    field: str

    @property
    def label(self) -> Said:
        said: Said = KINDS[self.kind].record.declared.label(self.field)
        return said


def columns_of(kind: str) -> list[Column]:
    row = KINDS[kind]
    fields = row.record.declared.fields
    own = [
        Column(name, kind, name)
        for name, field in fields.items()
        if not field.secret and not field.forgotten and (not field.hidden or name == row.parent)
    ]
    return own + [Column(f"{other.name}.{other.named_by}", other.name, other.named_by) for other, _ in _joined(row)]


def _joined(row: Kind[Any]) -> Iterator[tuple[Kind[Any], str]]:
    """Kinds that refer to one of these, each with the field that does; parts of another page do not stand in a row of their own."""
    for other in KINDS.values():
        for name, leads in other.references.items():
            if leads.kind == row.name and not other.parent and not other.always and other.named_by in other.record.declared.fields:
                yield other, name


# ---- out -----------------------------------------------------------------------------------------------------------------


def written(kind: str, records: Iterable[Record], snapshot: Snapshot, language: str = "en", delimiter: str = ",") -> Iterator[str]:
    """Lines of the file, the first with the labels in the language."""
    names, words, columns = Names(snapshot), words_of(language), columns_of(kind)
    yield _line([words.say(column.label) for column in columns], delimiter)
    for record in records:
        yield _line([_cell(column, record, names, snapshot) for column in columns], delimiter)


def _line(cells: Sequence[str], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells])
    return out.getvalue()


def _cell(column: Column, record: Record, names: Names, snapshot: Snapshot) -> str:
    if column.kind != record.declared.kind:
        for other, name in _joined(KINDS[record.declared.kind]):
            if other.name == column.kind:
                return ", ".join(names.of(other.name, each.id) for each in snapshot.having(other.name, name, record.id))
    field = record.declared.fields[column.field]
    value = names.value(field, getattr(record, column.field))
    if isinstance(value, list | tuple) and isinstance(field, Several):
        return ", ".join(field.of.text(each) for each in value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and isinstance(field, Number) else field.text(value)


# ---- in ------------------------------------------------------------------------------------------------------------------


class Sheet(NamedTuple):
    """A file as it was read: the names of its columns, and its rows, each as long as those."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @property
    def signature(self) -> str:
        """By which its mapping is remembered."""
        return "\n".join(folded(name) for name in self.header)


def read(data: bytes) -> Sheet:
    """Refused when it is no table, or too large."""
    if len(data) > LARGEST:
        raise Refused(Problem("", Said.of("exchange.too-large", most=LARGEST // 1_000_000)))
    text = _decoded(data)
    delimiter = max(";,\t", key=text.partition("\n")[0].count)
    try:
        rows = [tuple(_plain(cell) for cell in row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)]
    except csv.Error:
        raise Refused(Problem("", Said.of("exchange.no-sheet"))) from None
    rows = [row for row in rows if any(row)]
    if not rows or len(rows[0]) > MOST_COLUMNS or any("\0" in cell for cell in rows[0]):
        raise Refused(Problem("", Said.of("exchange.no-sheet")))
    header = rows[0]
    if len(rows) - 1 > MOST_ROWS:
        raise Refused(Problem("", Said.of("exchange.too-many-rows", most=MOST_ROWS)))
    width = len(header)
    return Sheet(header, [(*row[:width], *[""] * (width - len(row))) for row in rows[1:]])


def _decoded(data: bytes) -> str:
    for coding in ("utf-8-sig", "utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            return data.decode(coding)
        except UnicodeDecodeError:
            continue
    return data.decode("cp1252", errors="replace")


def _plain(cell: str) -> str:
    cell = cell.strip()[:LONGEST_CELL]
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def guessed(sheet: Sheet, kind: str) -> list[str]:
    """The key of each column of a sheet, "" for one that says nothing to us: by key, or by label in any language."""
    known: dict[str, str] = {}
    for column in columns_of(kind):
        for name in (column.key, column.key.replace("_", " "), *(words_of(each).say(column.label) for each in LANGUAGES)):
            known.setdefault(folded(name), column.key)
    found: list[str] = []
    for name in sheet.header:
        key = known.get(folded(name), "")
        found.append("" if key in found else key)
    return found


class Imported(NamedTuple):
    """What a sheet wants, and in which of its lines each stands."""

    wanted: list[Wanted]
    lines: list[int]


def wanted(kind: str, sheet: Sheet, mapping: Sequence[str], snapshot: Snapshot) -> Imported:
    """mapping: the key of each column, "" for none. Refused when what leads somewhere leads nowhere; everything else is told by who saves."""
    keys = {column.key: column for column in columns_of(kind)}
    chosen = [(place, keys[key]) for place, key in enumerate(mapping) if key in keys]
    return _Import(kind, chosen, snapshot).all(sheet)


class _Import:
    def __init__(self, kind: str, columns: Sequence[tuple[int, Column]], snapshot: Snapshot) -> None:
        self._row, self._columns, self._snapshot = KINDS[kind], columns, snapshot
        self._names = Names(snapshot)
        self._problems: list[Problem] = []
        self._made: dict[str, str] = {}  # what names of new records are compared by -> id
        self._found = Imported([], [])

    def all(self, sheet: Sheet) -> Imported:
        for line, cells in enumerate(sheet.rows, 2):
            self._line(line, {column: cells[place] for place, column in self._columns if cells[place]})
        if self._problems:
            raise Refused(*self._problems)
        return self._found

    def _line(self, line: int, cells: Mapping[Column, str]) -> None:
        kind, row = self._row.name, self._row
        values = {column.field: self._value(line, column, text) for column, text in cells.items() if column.kind == kind}
        name = str(values.get(row.named_by) or self._known(values) or self._named(values))
        values[row.named_by] = name
        old = next(iter(self._snapshot.having(kind, row.named_by, name)), None) if name else None
        if old is None and name and self._same(name) in self._made:
            self._problems.append(Problem(f"{line}.{row.named_by}", Said.of("exchange.twice", name=name)))
            return
        key = old.id if old is not None else new_id()
        self._made[self._same(name)] = key
        inside = {row.parent: values.pop(row.parent)} if row.parent in values else {}
        self._add(line, Wanted(kind, key, values, new=old is None, usernames="keep", inside=inside if old is None else {}))
        for column, text in cells.items():
            if column.kind != kind:
                self._others(line, column, text, key, str(values.get("full_name") or ""))

    def _others(self, line: int, column: Column, text: str, key: str, called: str) -> None:
        """Those that refer to the record: made, or given to it."""
        other, field = next((other, field) for other, field in _joined(self._row) if other.name == column.kind)
        for name in filter(None, (each.strip() for each in text.split(","))):
            old = next(iter(self._snapshot.having(other.name, other.named_by, name)), None)
            values: dict[str, Any] = {field: key}
            if old is None:
                values |= {other.named_by: name, **({"name": called} if "name" in other.record.declared.fields else {})}
            self._add(line, Wanted(other.name, old.id if old else new_id(), values, new=old is None, usernames="keep"))

    def _add(self, line: int, wanted: Wanted) -> None:
        self._found.wanted.append(wanted)
        self._found.lines.append(line)

    def _same(self, name: str) -> str:
        field = self._row.record.declared.fields.get(self._row.named_by)
        return field.compared(name) if isinstance(field, Text) else name

    def _known(self, values: Mapping[str, Any]) -> str:
        """The name of the one record that has all of this already: the same table may be read a second time."""
        if not values:
            return ""
        fields = self._row.record.declared.fields
        first, *_ = values
        same = [
            record
            for record in self._snapshot.having(self._row.name, first, str(values[first]))
            if all(fields[name].text(getattr(record, name)) == fields[name].text(value) for name, value in values.items())
        ]
        return str(getattr(same[0], self._row.named_by)) if len(same) == 1 else ""

    def _named(self, values: Mapping[str, Any]) -> str:
        """A name for a record that the table gives none, as its kind makes them."""
        made = self._row.named_from(values)
        name, count = made, 1
        while made and (self._same(name) in self._made or any(True for _ in self._snapshot.having(self._row.name, self._row.named_by, name))):
            count += 1
            name = f"{made}{count}"
        return name

    def _value(self, line: int, column: Column, text: str) -> Any:
        field = self._row.record.declared.fields[column.field]
        match field:
            case Several(of=Reference(kind=kind)):
                return [self._leads(line, column, kind, each.strip()) for each in text.split(",")]
            case Reference(kind=kind):
                return self._leads(line, column, kind, text)
        return text

    def _leads(self, line: int, column: Column, kind: str, name: str) -> str:
        found = self._names.id(kind, name)
        if found is None:
            same = [key for key, record in self._snapshot.of(kind).items() if folded(KINDS[kind].name_of(record)) == folded(name)]
            found = same[0] if len(same) == 1 else None  # people write what people are called
        if found is None:
            named = Said.of(f"kind.{kind}")
            self._problems.append(Problem(f"{line}.{column.key}", Said.of("exchange.nobody", kind=named, name=name)))
        return found or ""
