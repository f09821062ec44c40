"""What the fields of records look like in JSON: types that msgspec checks and describes, made of the declarations. Pure.

A field is in JSON what it is in the record: text, number, true or false, a list of these. What has no such form (a destination) is the text
that a form would show, and may be sent as that.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from appliance.config.declare import Duration, FieldType, Kind, Problem, Record, Reference
from appliance.words import Said

Say = typing.Callable[[Said], str]
PLAIN = (str, int, float, bool)


def plain_type(annotation: Any) -> Any:
    """The JSON type of a field's Python type."""
    if annotation in PLAIN or typing.get_origin(annotation) is Literal:
        return annotation
    if typing.get_origin(annotation) in (tuple, list, frozenset, set):
        return list[plain_type(typing.get_args(annotation)[0])]  # type: ignore[misc]
    return str


def json_type(record: type[Record], field: str) -> Any:
    return plain_type(record.model_fields[field].annotation)


def json_of(declared: FieldType, value: Any) -> Any:
    """A field's value as it is sent."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, list | frozenset | set) or type(value) is tuple:
        return [one if isinstance(one, PLAIN) else declared.text((one,)) for one in value]
    return declared.text(value)


def shown(kind: Kind[Any], record: Record, names: Iterable[str]) -> dict[str, Any]:
    """The named fields of a record, as they are sent. A secret is in no answer."""
    fields = record.declared.fields
    return {name: json_of(fields[name], getattr(record, name)) for name in names if name in readable(kind)}


def readable(kind: Kind[Any]) -> list[str]:
    """Fields that an answer may have. Hidden ones (who a line belongs to) are read, but changed by their own use-cases."""
    return [name for name, declared in kind.record.declared.fields.items() if not declared.secret]


def writable(kind: Kind[Any]) -> list[str]:
    return [name for name, declared in kind.record.declared.fields.items() if not declared.hidden]


def settable(kind: Kind[Any]) -> list[str]:
    """Fields that a new record takes: beside the writable ones, whose part it is."""
    owners = [name for name, one in kind.references.items() if one.hidden and one.required]
    return [name for name in kind.record.declared.fields if name in (*owners, *writable(kind))]


def misfits(kind: Kind[Any], sent: Mapping[str, Any], names: Iterable[str]) -> list[Problem]:
    """A problem for each member that is no field here, or has another JSON type than its field."""
    taken = set(names)
    found = []
    for name, value in sent.items():
        if name not in taken:
            found.append(Problem(name, Said.of("fields.no-field", name=name[:100])))
            continue
        try:
            msgspec.convert(value, json_type(kind.record, name))
        except msgspec.ValidationError:
            found.append(Problem(name, Said.of("api.value", field=kind.record.declared.label(name))))
    return found


def described(kind: Kind[Any], name: str, say: Say) -> Any:
    """The type of a field with its limits, its label and its help, for the document."""
    declared, record = kind.record.declared, kind.record
    field, type_ = declared.fields[name], json_type(record, name)
    limits: dict[str, Any] = {}
    if type_ is int:
        limits = {"ge": getattr(field, "least", None), "le": getattr(field, "most", None)}
    elif type_ is str:
        limits = {"max_length": getattr(field, "most", None), "pattern": _pattern(field)}
    elif typing.get_origin(type_) is list:
        limits = {"max_length": getattr(field, "most", None)}
    help = [] if field.hidden else [say(declared.help(name))]
    if isinstance(field, Duration):
        help.append(say(Said.of("api.in-seconds")))
    if isinstance(field, Reference):
        help.append(say(Said.of("api.id-of", kind=Said.of(f"kind.{field.kind}"))))
    extra = {"readOnly": True} if field.hidden else {"writeOnly": True} if field.secret else None
    meta = msgspec.Meta(
        title=say(declared.label(name)), description=" ".join(help) or None, extra_json_schema=extra, **limits
    )
    return Annotated[type_, meta]


class Types:
    """The JSON types of whole records, with labels and help in one language. Each is made once, for a document names it once."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self._made: dict[str, type[msgspec.Struct]] = {}

    def record(self, kind: Kind[Any]) -> Any:
        """As it is answered."""
        fields = [(name, described(kind, name, self.say)) for name in readable(kind)]
        return self._make(kind, "", [("id", str), ("revision", str), *fields])

    def new(self, kind: Kind[Any]) -> Any:
        """As it is made: what is not sent has its default."""
        return self._make(kind, "New", self._open(kind, (*settable(kind), *beside(kind))))

    def change(self, kind: Kind[Any]) -> Any:
        """As it is changed: what is not sent stays."""
        mark = Annotated[str, msgspec.Meta(description=self.say(Said.of("api.revision-help")))]
        names = (*writable(kind), *beside(kind))
        return self._make(kind, "Change", [("revision", mark, ""), *self._open(kind, names)])

    def listed(self, kind: Kind[Any]) -> Any:
        rows = ("items", list[self.record(kind)])  # type: ignore[misc]
        return self._make(kind, "List", [rows, ("next", str | None), ("total", int), ("revision", str)])

    def bulk(self, kind: Kind[Any], of: type[msgspec.Struct]) -> Any:
        """`of`, with the fields of the kind as its values."""
        more = [("values", self.change(kind), msgspec.UNSET)]
        fields = [(one.name, one.type, one.default) for one in msgspec.structs.fields(of) if one.name != "values"]
        return self._make(kind, "Bulk", [*fields, *more])

    def _open(self, kind: Kind[Any], names: Iterable[str]) -> list[Any]:
        more = beside(kind)
        types = {name: more[name] if name in more else described(kind, name, self.say) for name in names}
        return [(name, type_ | msgspec.UnsetType, msgspec.UNSET) for name, type_ in types.items()]

    def _make(self, kind: Kind[Any], behind: str, fields: list[Any]) -> Any:
        name = kind.record.__name__ + behind
        if name not in self._made:
            self._made[name] = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=behind != "List")
        return self._made[name]


def beside(kind: Kind[Any]) -> Mapping[str, Any]:
    """What the use-cases of a kind take beside its fields."""
    return BESIDE.get(kind.name, {})


BESIDE: Mapping[str, Mapping[str, Any]] = {
    "user": {"password": Annotated[str, msgspec.Meta(extra_json_schema={"writeOnly": True})]},
    "extension": {"usernames": Literal["keep", "change"]},
}


def _pattern(field: FieldType) -> str | None:
    """The letters that may stand in a text, where a pattern says so and a default ("") fits it or not alike."""
    found = getattr(getattr(field, "letters", None), "__self__", None)
    return f"^(?:{found.pattern})$" if isinstance(found, re.Pattern) and not found.flags & re.VERBOSE else None
