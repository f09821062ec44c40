"""How people log in, for who looks after the users: a password for the next login, the second factor, where they are logged in."""

from __future__ import annotations

from datetime import datetime

import msgspec

from appliance.config.admin import NotFound
from appliance.words import Said
from webui.api.operations import Asked, Operations, moment

operations = Operations(Said.of("api.logins"))


class GivenPassword(msgspec.Struct):
    """It has to be changed at the next login, and is in no other answer."""

    password: str


class LoggedIn(msgspec.Struct):
    """A session. `portal`: on the page for everybody."""

    begun: datetime
    seen: datetime
    browser: str
    address: str
    portal: bool


class LoggedInList(msgspec.Struct):
    items: list[LoggedIn]


@operations.add(
    "POST", "/users/{id}/password", may="change user", said=Said.of("api.give-password"), answer=GivenPassword
)
def give_password(asked: Asked) -> GivenPassword:
    password = asked.caller.acting.give_password(asked.names["id"])
    asked.here.sessions.end_all_of(asked.names["id"])
    return GivenPassword(password)


@operations.add("DELETE", "/users/{id}/second-factor", may="change user", said=Said.of("api.remove-second-factor"))
def remove_second_factor(asked: Asked) -> None:
    asked.caller.acting.remove_second_factor(asked.names["id"])


@operations.add("GET", "/users/{id}/sessions", may="see user", said=Said.of("api.sessions"), answer=LoggedInList)
def sessions(asked: Asked) -> LoggedInList:
    if asked.caller.acting.find("user", asked.names["id"]) is None:
        raise NotFound
    found = asked.here.sessions.of(asked.names["id"], asked.here.now())
    return LoggedInList(
        [LoggedIn(moment(one.created), moment(one.seen), one.agent, one.address, one.portal) for one in found]
    )


@operations.add("DELETE", "/users/{id}/sessions", may="change user", said=Said.of("api.end-sessions"))
def end_sessions(asked: Asked) -> None:
    asked.caller.acting.demand_login_of(asked.names["id"])
    asked.here.sessions.end_all_of(asked.names["id"])
