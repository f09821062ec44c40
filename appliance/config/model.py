"""The records of the product and the immutable snapshot every process works on. Pure: no clock, no database.

One declaration feeds the database, the forms, the command line and the docs: each field carries label, help and default,
`check` finds what a field alone cannot know. A kind's name is its class name in lower case; its key is `id`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.config import countries
from appliance.config.claims import EMERGENCY, EXTENSION, SERVICE, Claim, Claims, Destination
from appliance.words import PhoneNumber, Said, english

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
    username: str = Field(
        default="",
        title="User name",
        description="For logging in. Letters, digits, dot, dash, underscore.",
        max_length=64,
    )
    full_name: str = Field(default="", title="Full name", description="Shown on phones and pages.", max_length=80)
    role: Role = Field(default="none", title="Administration", description="What this person may do on this page.")
    password_hash: str = Field(default="", json_schema_extra={"hidden": True})


class Extension(Record):
    title = "Extension"
    number: str = Field(
        default="", title="Number", description="What others dial. The next unused number is suggested.", max_length=12
    )
    name: str = Field(default="", title="Name", description="Shown on the phone that is called.", max_length=80)
    user: str = Field(default="", title="User", description="Whose extension this is; may stay empty.")
    encrypt: Encrypt = Field(
        default="preferred",
        title="Encrypt communication (TLS and SRTP)",
        description="Required: phones must register over TLS and talk over SRTP. Preferred: encrypted when the phone can. Off: never.",
    )
    ring_seconds: int = Field(
        default=60, title="Ring for", description="Seconds until the caller is told that nobody answers.", ge=5, le=600
    )


class Line(Record):
    """One SIP registration of an extension, with its own credentials."""

    title = "Line"
    secret_fields = frozenset({"sip_password"})
    extension: str = Field(default="", title="Extension", json_schema_extra={"hidden": True})
    sip_username: str = Field(
        default="",
        title="SIP username",
        description="What the phone registers with. The first line's is the number.",
        max_length=64,
    )
    sip_password: str = Field(
        default="",
        title="SIP password",
        description="Generated. Click the key to show it; that is written down.",
        max_length=128,
    )
    label: str = Field(
        default="", title="Label", description="Which phone this is, for example desk or mobile.", max_length=40
    )


class Settings(Record):
    """The one record of kind settings (id "settings")."""

    title = "Settings"
    completed: bool = Field(default=False, json_schema_extra={"hidden": True})  # the first-run wizard has ended
    name: str = Field(
        default="",
        title="Name",
        description="Shown beside the menu and in the names of backups, so that several systems can be told apart.",
        max_length=40,
    )
    country: str = Field(
        default="",
        title="Country",
        description="Sets the tones, and which numbers are kept for emergency calls.",
        max_length=2,
    )
    first_extension: str = Field(
        default="100",
        title="First extension",
        description="Where numbering starts: 10 for two digits, 100 for three.",
        max_length=6,
    )
    realm: str = Field(
        default="switchroom",
        title="SIP realm",
        description="Part of every phone's login; changing it makes phones log in again.",
        max_length=64,
    )
    echo_number: str = Field(default="*60", title="Echo test", description="Dial it, hear yourself.", max_length=12)


KINDS: Mapping[str, type[Record]] = {"user": User, "extension": Extension, "line": Line, "settings": Settings}
# The kinds that lead to the public telephone network, and so could carry an emergency call. None does yet.
OUTSIDE: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record cannot be saved. field is "" when it is about the whole record."""

    field: str
    message: str


class Refused(Exception):
    """The administrator's input cannot be taken; nothing was changed. Shown at the fields.

    values: what the form should show now, where that is more than what was typed."""

    def __init__(self, *problems: Problem, values: Mapping[str, Any] | None = None) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
        self.values = values


def _empty() -> Mapping[str, Mapping[str, Record]]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Snapshot:
    """All records at one revision, with the indexes calls need. Never changed; a change is a new snapshot."""

    revision: int = 0
    records: Mapping[str, Mapping[str, Record]] = dataclass_field(default_factory=_empty)  # kind -> id -> record
    moment: float = 0.0  # unix time of the revision

    def of(self, kind: str) -> Mapping[str, Record]:
        """The records of a kind by id; empty when there are none."""
        return self.records.get(kind, MappingProxyType({}))

    @property
    def mark(self) -> str:
        """Names this configuration for a form to carry. With its moment: after a restore another one may have the number."""
        return f"{self.revision} {self.moment}"

    @cached_property
    def settings(self) -> Settings:
        """The defaults when none is stored."""
        record = self.of("settings").get("settings")
        return record if isinstance(record, Settings) else Settings(id="settings")

    @cached_property
    def users(self) -> Mapping[str, User]:
        return cast(Mapping[str, User], self.of("user"))

    @cached_property
    def extensions(self) -> Mapping[str, Extension]:
        return cast(Mapping[str, Extension], self.of("extension"))

    @cached_property
    def lines(self) -> Mapping[str, Line]:
        return cast(Mapping[str, Line], self.of("line"))

    @cached_property
    def extension_by_number(self) -> Mapping[str, Extension]:
        return MappingProxyType({extension.number: extension for extension in self.extensions.values()})

    @cached_property
    def line_by_sip_username(self) -> Mapping[str, Line]:
        return MappingProxyType({line.sip_username: line for line in self.lines.values()})

    @cached_property
    def lines_of(self) -> Mapping[str, tuple[Line, ...]]:
        """Extension id to its lines, in the order in which they were made."""
        found: dict[str, list[Line]] = {key: [] for key in self.extensions}
        for line in self.lines.values():
            found.setdefault(line.extension, []).append(line)
        return MappingProxyType({key: tuple(lines) for key, lines in found.items()})

    @cached_property
    def claims(self) -> Claims:
        """Every number in use and what has it."""
        return Claims([*_settings_claims(self.settings), *map(_extension_claim, self.extensions.values())])

    @cached_property
    def has_administrator(self) -> bool:
        """Whether somebody can log in and change everything; as long as nobody can, the first-run wizard is open."""
        return any(user.role == "full" and user.password_hash for user in self.users.values())

    @cached_property
    def emergency_numbers(self) -> tuple[str, ...]:
        """What is dialled for help in this country."""
        return countries.emergency_numbers(self.settings.country)

    @cached_property
    def reaches_emergency(self) -> bool:
        """Whether an emergency call could leave this system at all."""
        return any(self.of(kind) for kind in OUTSIDE)

    def with_record(self, kind: str, record: Record) -> Snapshot:
        return Snapshot(
            self.revision,
            MappingProxyType({**self.records, kind: MappingProxyType({**self.of(kind), record.id: record})}),
            self.moment,
        )

    def without(self, kind: str, id: str) -> Snapshot:
        rest = {key: record for key, record in self.of(kind).items() if key != id}
        return Snapshot(self.revision, MappingProxyType({**self.records, kind: MappingProxyType(rest)}), self.moment)


def _extension_claim(extension: Extension) -> Claim:
    return Claim(extension.number, Destination(EXTENSION, extension.id))


def _settings_claims(settings: Settings) -> list[Claim]:
    numbers = countries.emergency_numbers(settings.country)
    echo = [Claim(settings.echo_number, Destination(SERVICE, "echo"))] if settings.echo_number else []
    return [*(Claim(number, Destination(EMERGENCY, number)) for number in numbers), *echo]


def owner(claim: Claim, snapshot: Snapshot) -> Said:
    """What has the number, for "… is in use by …"."""
    extension = snapshot.extensions.get(claim.target.id) if claim.target.kind == EXTENSION else None
    if extension is not None:
        number = PhoneNumber(extension.number)
        if not extension.name:
            return Said.of("claims.extension", number=number)
        return Said.of("claims.extension-of", number=number, name=extension.name)
    return Said.of(f"claims.{claim.target.id if claim.target.kind == SERVICE else claim.target.kind}")


def _taken(field: str, claim: Claim, claims: Claims, rest: Snapshot) -> Iterable[Problem]:
    """A problem when another of the claims has the number, with the name of who has it."""
    if (other := claims.conflict(claim)) is not None:
        key = "claims.kept-for" if other.target.kind == EMERGENCY else "claims.in-use"
        said = Said.of(key, number=PhoneNumber(claim.number), owner=owner(other, rest))
        yield Problem(field, english().say(said))


def _words(extension: Extension) -> str:
    return f"extension {extension.number}" + (f" ({extension.name})" if extension.name else "")


def next_number(snapshot: Snapshot) -> str:
    """The lowest unused extension number from the first one on."""
    first = snapshot.settings.first_extension
    number = int(first)
    while snapshot.claims.find(str(number).zfill(len(first))) is not None:
        number += 1
    return str(number).zfill(len(first))


def make(kind: str, values: Mapping[str, Any]) -> Record:
    """A record of the kind; Refused with a problem per field when values do not fit it."""
    if kind not in KINDS:
        raise Refused(Problem("", f"There is no such thing as {kind}."))
    try:
        return KINDS[kind](**values)
    except ValidationError as error:
        raise Refused(*(_problem(KINDS[kind], detail) for detail in error.errors())) from None


def _problem(kind: type[Record], detail: Any) -> Problem:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    title = (kind.model_fields[name].title or name) if name in kind.model_fields else name
    context = detail.get("ctx", {})
    words = {
        "string_too_long": f"{title} is too long: at most {context.get('max_length')} characters.",
        "greater_than_equal": f"{title} must be at least {context.get('ge')}.",
        "less_than_equal": f"{title} must be at most {context.get('le')}.",
        "int_parsing": f"{title} must be a whole number.",
        "literal_error": f"{title} must be one of {context.get('expected')}.",
        "extra_forbidden": f"There is no field {name}.",
    }
    return Problem(name, words.get(detail["type"], f"{title}: {detail['msg']}."))


NUMBER = re.compile(r"[0-9]{1,12}")
SERVICE_NUMBER = re.compile(r"[*#0-9]{1,12}")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # for what stands in SIP addresses
SHORTEST_SIP_PASSWORD = 12
SIP_PASSWORD = re.compile(r"[!-~]*")  # what every phone's keypad, page and provisioning file can carry


def check(kind: str, record: Record, snapshot: Snapshot) -> list[Problem]:
    """What the record's fields alone cannot tell: numbers in use (with the name of what uses them), dangling references, …"""
    problems = [
        Problem(name, "Control characters are not allowed here.")
        for name, value in record
        if isinstance(value, str) and any(_unprintable(letter) for letter in value)
    ]
    rest = snapshot.without(kind, record.id) if record.id else snapshot
    return problems + list(CHECKS[kind](record, rest))


def _unprintable(letter: str) -> bool:
    """Control characters and line ends of any script, lone surrogates, and marks that turn the direction of a whole text."""
    return (
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        or letter in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


def login_name(username: str) -> str:
    """A user name as it is compared: capital or small, however its accents were typed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", username.strip()).casefold())


def _is_user_name(text: str) -> bool:
    """Letters and digits of any script, their marks, and dot, dash and underscore behind the first."""
    kinds = [unicodedata.category(letter)[0] for letter in text]
    return kinds[:1] in (["L"], ["N"]) and all(
        kind in "LMN" or letter in "._-" for kind, letter in zip(kinds, text, strict=True)
    )


def _check_user(user: User, rest: Snapshot) -> Iterable[Problem]:
    if not _is_user_name(user.username):
        yield Problem(
            "username",
            "A user name starts with a letter or digit and has only letters, digits, dot, dash and underscore.",
        )
    elif any(login_name(other.username) == login_name(user.username) for other in rest.users.values()):
        yield Problem("username", f"The user name {user.username} is taken.")


def _check_extension(extension: Extension, rest: Snapshot) -> Iterable[Problem]:
    if not NUMBER.fullmatch(extension.number):
        yield Problem("number", "An extension number has 1 to 12 digits.")
    else:
        yield from _taken("number", _extension_claim(extension), rest.claims, rest)
    if extension.user and extension.user not in rest.users:
        yield Problem("user", "This user does not exist (any more).")


def _check_line(line: Line, rest: Snapshot) -> Iterable[Problem]:
    if line.extension not in rest.extensions:
        yield Problem("extension", "This extension does not exist (any more).")
    if not SAFE_NAME.fullmatch(line.sip_username):
        yield Problem(
            "sip_username",
            "A SIP username starts with a letter or digit and has only letters, digits, dot, dash and underscore.",
        )
    elif (other := rest.line_by_sip_username.get(line.sip_username)) is not None:
        owner = rest.extensions.get(other.extension)
        yield Problem(
            "sip_username",
            f"The SIP username {line.sip_username} is in use by extension {owner.number if owner else '?'}.",
        )
    extension = rest.extensions.get(line.extension)
    names = (line.sip_username, extension.number if isinstance(extension, Extension) else "")
    if len(line.sip_password) < SHORTEST_SIP_PASSWORD or any(
        name and not line.sip_password.replace(name, "") for name in names
    ):
        yield Problem(
            "sip_password",
            f"A SIP password needs at least {SHORTEST_SIP_PASSWORD} characters and must not be the SIP username "
            "or the number, not even repeated.",
        )
    elif not SIP_PASSWORD.fullmatch(line.sip_password):
        yield Problem("sip_password", "A SIP password has unaccented letters, digits and signs, and no spaces.")
    elif len(set(line.sip_password)) < 4:
        yield Problem("sip_password", "Use more than three different characters.")


def _check_settings(settings: Settings, rest: Snapshot) -> Iterable[Problem]:
    emergency = countries.emergency_numbers(settings.country)
    if settings.country and settings.country not in countries.COUNTRIES:
        yield Problem("country", "Choose a country from the list.")
    for number in emergency:
        if (taken := rest.extension_by_number.get(number)) is not None:
            yield Problem(
                "country", f"{number} is for emergency calls there: give {_words(taken)} another number first."
            )
    if not re.fullmatch(r"[0-9]{2,6}", settings.first_extension):
        yield Problem("first_extension", "The first extension has 2 to 6 digits, for example 10 or 100.")
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,64}", settings.realm):
        yield Problem("realm", "The SIP realm has letters, digits, dots and dashes.")
    if not SERVICE_NUMBER.fullmatch(settings.echo_number):
        yield Problem("echo_number", "A service number has digits, * and #.")
    else:
        *others, echo = _settings_claims(settings)
        yield from _taken(
            "echo_number", echo, Claims([*others, *map(_extension_claim, rest.extensions.values())]), rest
        )


CHECKS: Mapping[str, Any] = {
    "user": _check_user,
    "extension": _check_extension,
    "line": _check_line,
    "settings": _check_settings,
}
