"""People: who has which extension, and who may log in to the page."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Annotated, Literal

from appliance.config.declare import Choice, Kind, Problem, Record, Records, Secret, Text, all_of
from appliance.words import Said

Role = Literal["none", "own", "read-only", "full"]


def login_name(username: str) -> str:
    """A user name as it is compared: capital or small, however its accents were typed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", username.strip()).casefold())


def _is_user_name(text: str) -> bool:
    """Letters and digits of any script, their marks, and dot, dash and underscore behind the first."""
    kinds = [unicodedata.category(letter)[0] for letter in text]
    return kinds[:1] in (["L"], ["N"]) and all(
        kind in "LMN" or letter in "._-" for kind, letter in zip(kinds, text, strict=True)
    )


class User(Record):
    username: Annotated[str, Text(64, _is_user_name)] = ""
    full_name: Annotated[str, Text(80)] = ""
    role: Annotated[Role, Choice(Role)] = "none"
    password_hash: Annotated[str, Secret(1000, hidden=True)] = ""


def _check(user: User, rest: Records) -> Iterable[Problem]:
    if any(login_name(other.username) == login_name(user.username) for other in all_of(rest, User).values()):
        yield Problem("username", Said.of("user.username-taken", name=user.username))


USERS = Kind(User, named_by="username", owned_by="id", called=lambda user: user.full_name or user.username, check=_check)
