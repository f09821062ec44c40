"""A phone app set up by a QR code: it holds an address that answers for ten minutes, with the account as Linphone's apps read it (remote
provisioning, lpconfig). What is handed out is kept in memory only."""

from __future__ import annotations

import secrets
import xml.etree.ElementTree as ET
from threading import Lock

from appliance.config.model import Extension, Line

SECONDS = 600.0
FETCHES = 3  # apps look before they take
BOUND = 256  # addresses at once; the oldest goes
NAMESPACE = "http://www.linphone.org/xsds/lpconfig.xsd"


class Handed:
    """Tokens of addresses, each for one line."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: dict[str, tuple[str, float, int]] = {}  # token -> line, until, fetches left

    def hand_out(self, line: str, now: float) -> str:
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._lines = {name: row for name, row in self._lines.items() if row[1] > now}
            while len(self._lines) >= BOUND:
                del self._lines[next(iter(self._lines))]
            self._lines[token] = line, now + SECONDS, FETCHES
        return token

    def take(self, token: str, now: float) -> str:
        """The id of the line; "" when the address is none (any more)."""
        with self._lock:
            line, until, left = self._lines.pop(token, ("", 0.0, 0))
            if until <= now:
                return ""
            if left > 1:
                self._lines[token] = line, until, left - 1
            return line


def linphone(line: Line, extension: Extension, realm: str, server: str, plain_port: int, tls_port: int) -> bytes:
    """Encrypted wherever the extension allows it."""
    encrypted = extension.encrypt != "off"
    host = f"[{server}]" if ":" in server else server
    proxy = f"<sip:{host}:{tls_port if encrypted else plain_port};transport={'tls' if encrypted else 'udp'}>"
    sections = {
        "proxy_0": {
            "reg_proxy": proxy,
            "reg_route": proxy,
            "reg_identity": f'"{_quoted(extension.name or extension.number)}" <sip:{line.sip_username}@{host}>',
            "realm": realm,
            "reg_expires": "600",
            "reg_sendregister": "1",
        },
        "auth_info_0": {"username": line.sip_username, "passwd": line.sip_password, "realm": realm, "domain": server},
        "sip": {"default_proxy": "0", "media_encryption": "srtp" if encrypted else "none"},
    }
    root = ET.Element("config", {"xmlns": NAMESPACE})
    for name, entries in sections.items():
        section = ET.SubElement(root, "section", {"name": name})
        for key, value in entries.items():
            ET.SubElement(section, "entry", {"name": key, "overwrite": "true"}).text = value
    return bytes(ET.tostring(root, "utf-8", xml_declaration=True))


def _quoted(name: str) -> str:
    """Inside a quoted-string (RFC 3261 section 25.1)."""
    return name.replace("\\", "\\\\").replace('"', '\\"')
