"""The records of the product and the immutable snapshot every process works on. Pure: no clock, no database.

One declaration feeds the database, the forms, the command line and the docs: each field carries label, help and default,
`check` finds what a field alone cannot know. A kind's name is its class name in lower case; its key is `id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["none", "read-only", "full"]
Encrypt = Literal["required", "preferred", "off"]


class Record(BaseModel):
    """A row of the configuration. `id` is made by the store and never reused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    title: ClassVar[str]  # one word for people
    secret_fields: ClassVar[frozenset[str]] = frozenset()  # never in logs, journal or export in clear

    id: str = Field(default="", json_schema_extra={"hidden": True})


class User(Record):
    title = "User"
    secret_fields = frozenset({"password_hash"})
    username: str = Field(default="", title="User name", description="For logging in. Letters, digits, dot, dash, underscore.", max_length=64)
    full_name: str = Field(default="", title="Full name", description="Shown on phones and pages.", max_length=80)
    role: Role = Field(default="none", title="Administration", description="What this person may do on this page.")
    password_hash: str = Field(default="", json_schema_extra={"hidden": True})


class Extension(Record):
    title = "Extension"
    number: str = Field(default="", title="Number", description="What others dial. The next unused number is suggested.", max_length=12)
    name: str = Field(default="", title="Name", description="Shown on the phone that is called.", max_length=80)
    user: str = Field(default="", title="User", description="Whose extension this is; may stay empty.")
    encrypt: Encrypt = Field(
        default="preferred",
        title="Encrypt communication (TLS and SRTP)",
        description="Required: phones must register over TLS and talk over SRTP. Preferred: encrypted when the phone can. Off: never.",
    )
    ring_seconds: int = Field(default=60, title="Ring for", description="Seconds until the caller is told that nobody answers.", ge=5, le=600)


class Line(Record):
    """One SIP registration of an extension, with its own credentials."""

    title = "Line"
    secret_fields = frozenset({"sip_password"})
    extension: str = Field(default="", title="Extension", json_schema_extra={"hidden": True})
    sip_username: str = Field(default="", title="SIP username", description="What the phone registers with. The first line's is the number.", max_length=64)
    sip_password: str = Field(default="", title="SIP password", description="Generated. Click the key to show it; that is written down.", max_length=128)
    label: str = Field(default="", title="Label", description="Which phone this is, for example desk or mobile.", max_length=40)


class Settings(Record):
    """The one record of kind settings (id "settings")."""

    title = "Settings"
    completed: bool = Field(default=False, json_schema_extra={"hidden": True})  # the first-run wizard has ended
    country: str = Field(default="", title="Country", description="Sets tones and emergency numbers.", max_length=2)
    first_extension: str = Field(default="100", title="First extension", description="Where numbering starts: 10 for two digits, 100 for three.", max_length=6)
    realm: str = Field(default="switchroom", title="SIP realm", description="Part of every phone's login; changing it makes phones log in again.", max_length=64)
    echo_number: str = Field(default="*60", title="Echo test", description="Dial it, hear yourself.", max_length=12)


KINDS: Mapping[str, type[Record]] = {"user": User, "extension": Extension, "line": Line, "settings": Settings}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record cannot be saved. field is "" when it is about the whole record."""

    field: str
    message: str


class Refused(Exception):
    """The administrator's input cannot be taken; nothing was changed. Shown at the fields."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Snapshot:
    """All records at one revision, with the indexes calls need. Never changed; a change is a new snapshot."""

    revision: int = 0
    records: Mapping[str, Mapping[str, Any]] = None  # type: ignore[assignment]  # kind -> id -> record

    @cached_property
    def settings(self) -> Settings: ...  # the defaults when none is stored
    @cached_property
    def users(self) -> Mapping[str, User]: ...
    @cached_property
    def extensions(self) -> Mapping[str, Extension]: ...
    @cached_property
    def lines(self) -> Mapping[str, Line]: ...
    @cached_property
    def extension_by_number(self) -> Mapping[str, Extension]: ...
    @cached_property
    def line_by_sip_username(self) -> Mapping[str, Line]: ...
    @cached_property
    def lines_of(self) -> Mapping[str, tuple[Line, ...]]: ...  # extension id -> its lines
    @cached_property
    def dial_plan(self) -> Mapping[str, str]: ...  # every number in use -> what uses it, in words
    def with_record(self, kind: str, record: Record) -> Snapshot: ...
    def without(self, kind: str, id: str) -> Snapshot: ...


def check(kind: str, record: Record, snapshot: Snapshot) -> list[Problem]:
    """What the record's fields alone cannot tell: numbers in use (with the name of what uses them), dangling references, …"""
    raise NotImplementedError
