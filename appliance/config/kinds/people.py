"""People: who has which extension, and who may log in to the page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, cast

from appliance.config import kinds
from appliance.config.declare import (
    Choice,
    FieldType,
    Kind,
    Language,
    Problem,
    Record,
    Records,
    Reference,
    Secret,
    Several,
    Text,
    TickBox,
)
from appliance.config.search import folded
from appliance.words import Fact, Said

Role = Literal["none", "own", "read-only", "delegated", "full"]
# What rights are about beside the kinds of records: the dashboard, live calls, call history, who changed what, logs, the box itself, its
# backups, versions, licence and network.
AREAS = ("status", "call", "history", "journal", "log", "system", "backup", "update", "licence", "network")
DONE = ("call", "journal", "system", "backup", "update")  # those in which something is done


def login_name(username: str) -> str:
    """A user name as it is compared: capital or small, however its accents were typed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", username.strip()).casefold())


def _is_user_name(text: str) -> bool:
    """Letters and digits of any script, their marks, and dot, dash and underscore behind the first."""
    kinds = [unicodedata.category(letter)[0] for letter in text]
    return kinds[:1] in (["L"], ["N"]) and all(
        kind in "LMN" or letter in "._-" for kind, letter in zip(kinds, text, strict=True)
    )


def _is_address(text: str) -> bool:
    """Empty, or an address that mail can be sent to: what stands on both sides of the one @."""
    return not text or re.fullmatch(r"[^\s@<>\"(),:;\[\]]{1,64}@[^\s@<>\"(),:;\[\]]+\.[^\s@.<>\"(),:;\[\]]{2,}", text) is not None


def _is_something(text: str) -> bool:
    return bool(text.strip())


def _is_day(text: str) -> bool:
    """Empty, or a day of the calendar: 2031-12-31."""
    try:
        return not text or (len(text) == 10 and bool(date.fromisoformat(text)))
    except ValueError:
        return False


def _one_of_its_name(record: PermissionGroup | ApiKey, rest: Records) -> Iterable[Problem]:
    if any(True for _ in rest.having(record.declared.kind, "name", record.name)):
        yield Problem("name", Said.of("fields.name-taken", name=record.name))


class User(Record):
    username: Annotated[str, Text(64, _is_user_name, compared=login_name, examples=("anna", "bert.novák"))] = ""
    full_name: Annotated[str, Text(80)] = ""
    email: Annotated[str, Text(254, _is_address, examples=("", "anna@example.com"))] = ""
    role: Annotated[Role, Choice(Role)] = "none"
    groups: Annotated[tuple[str, ...], Several(Reference("permission-group", gone="clear"))] = ()
    language: Annotated[str, Language(personal=True)] = ""
    password_hash: Annotated[str, Secret(1000, hidden=True, forgotten=True, examples=("",))] = ""
    password_given: Annotated[bool, TickBox(hidden=True, forgotten=True)] = False  # by somebody else: it has to be changed at the next login
    totp_seed: Annotated[str, Secret(64, hidden=True, forgotten=True, examples=("",))] = ""  # of the second factor; "": there is none
    recovery_codes: Annotated[str, Secret(1000, hidden=True, forgotten=True, examples=("",))] = ""  # hashes of those that are left


# ---- what is delegated ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Area(FieldType):
    """Something that a right of this verb can be about: a kind of records, or one of `AREAS`."""

    verb: str

    @property
    def values(self) -> tuple[str, ...]:
        rows = kinds.KINDS
        match self.verb:
            case "see":
                return (*AREAS, *rows)
            case "change":
                return ("licence", *rows)
            case "add" | "delete":
                return tuple(name for name, row in rows.items() if not row.always)
            case "reveal":
                return tuple(name for name, row in rows.items() if row.secrets - row.hidden)
        return DONE

    def fits(self, value: Any) -> bool:
        return value in self.values

    def fact(self, value: Any) -> Fact:
        return Said.of(f"area.{value}") if value in AREAS else kinds.KINDS[value].many if value in kinds.KINDS else str(value)

    def tried(self) -> tuple[Any, ...]:
        return self.values[:2]


Rows = Literal["all", "own"]


class PermissionGroup(Record):
    """The fields with the names of verbs (`rights.Verb`) say of what its members may do that."""

    name: Annotated[str, Text(40, _is_something, examples=("Helpdesk",))] = ""
    rows: Annotated[Rows, Choice(Rows)] = "all"
    see: Annotated[tuple[str, ...], Several(Area("see"))] = ()
    add: Annotated[tuple[str, ...], Several(Area("add"))] = ()
    change: Annotated[tuple[str, ...], Several(Area("change"))] = ()
    delete: Annotated[tuple[str, ...], Several(Area("delete"))] = ()
    reveal: Annotated[tuple[str, ...], Several(Area("reveal"))] = ()
    do: Annotated[tuple[str, ...], Several(Area("do"))] = ()


KeyRole = Literal["read-only", "delegated", "full"]


class ApiKey(Record):
    """How a program gets in. Its secret half is shown when it is made; the hash of that alone is kept."""

    name: Annotated[str, Text(40, _is_something, examples=("Door", "Billing"))] = ""
    role: Annotated[KeyRole, Choice(KeyRole)] = "read-only"
    groups: Annotated[tuple[str, ...], Several(Reference("permission-group", gone="clear"))] = ()
    expires: Annotated[str, Text(10, _is_day, examples=("", "2031-12-31"))] = ""
    key_hash: Annotated[str, Secret(64, hidden=True, forgotten=True, examples=("",))] = ""


GROUPS = Kind(PermissionGroup, named_by="name", group="people", place=30, icon="shield-check", columns=("name", "rows"), searched=("name",), check=_one_of_its_name)
KEYS = Kind(ApiKey, named_by="name", group="system", place=40, icon="key", columns=("name", "role", "expires"), searched=("name",), check=_one_of_its_name)


# ---- users ---------------------------------------------------------------------------------------------------------------


def _check(user: User, rest: Records) -> Iterable[Problem]:
    if any(True for _ in rest.having("user", "username", user.username)):
        yield Problem("username", Said.of("user.username-taken", name=user.username))


def _rule(before: User | None, after: User | None, records: Records) -> Iterable[Problem]:
    """Somebody can administrate, once somebody could."""
    if before is None or before.role != "full" or (after is not None and after.role == "full"):
        return
    if not has_administrator(records):
        yield Problem("role", Said.of("user.role-last"))


def _user_name(values: Mapping[str, Any]) -> str:
    """Of what stands before the @ of the address, else of the name: anna.novak."""
    made_of = str(values.get("email") or "").partition("@")[0] or str(values.get("full_name") or "")
    return ".".join(filter(None, re.split(r"[^a-z0-9]+", folded(made_of))))[:60]


def has_administrator(records: Records) -> bool:
    """Whether somebody can log in and change everything."""
    return any(cast(User, user).password_hash for user in records.having("user", "role", "full"))


USERS = Kind(
    User,
    named_by="username",
    owned_by="id",
    called=lambda user: user.full_name or user.username,
    group="people",
    place=10,
    icon="users",
    columns=("full_name", "username", "email", "role"),
    searched=("full_name", "username", "email"),
    check=_check,
    rule=_rule,
    named_from=_user_name,
)
