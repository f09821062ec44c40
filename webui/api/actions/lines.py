"""A line's login for a phone. A SIP password is in no other answer than these two, and each look is a row of the journal."""

from __future__ import annotations

import msgspec

from appliance.config.model import KINDS
from appliance.words import Said
from webui.api.operations import Asked, Operations

operations = Operations(Said.of("kind.line-many"))


class Login(msgspec.Struct):
    """What a phone has to be given."""

    line: str
    sip_username: str
    sip_password: str
    realm: str


class NewLine(msgspec.Struct, forbid_unknown_fields=True):
    label: str = ""


def _login(asked: Asked, line: str, password: str) -> Login:
    found = asked.here.admin.snapshot
    return Login(line, found.lines[line].sip_username, password, found.settings.realm)


@operations.add(
    "POST", f"/{KINDS['line'].path}/{{id}}/reveal", may="reveal line", said=Said.of("api.reveal"), answer=Login
)
def reveal(asked: Asked) -> Login:
    return _login(asked, asked.names["id"], asked.caller.acting.reveal_sip_password(asked.names["id"]))


@operations.add(
    "POST", f"/{KINDS['line'].path}/{{id}}/renew", may="change line", said=Said.of("api.renew"), answer=Login,
    refuses=frozenset({409, 422}),
)  # fmt: skip
def renew(asked: Asked) -> Login:
    return _login(asked, asked.names["id"], asked.caller.acting.renew_sip_password(asked.names["id"]))


@operations.add(
    "POST",
    f"/{KINDS['extension'].path}/{{id}}/lines",
    may="add line",
    said=Said.of("api.add-line"),
    body=NewLine,
    status=201,
    answer=Login,
)
def add(asked: Asked) -> Login:
    """With a generated password and the next free SIP username."""
    record = asked.caller.acting.add_line(asked.names["id"], {"label": asked.body.label})
    return _login(asked, record.id, asked.caller.acting.reveal_sip_password(record.id))
