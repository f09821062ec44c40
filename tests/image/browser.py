"""A person at the admin page: HTTPS that trusts the box's own authority, cookies, forms with their hidden fields."""

from __future__ import annotations

import html
import http.cookiejar
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LIMIT = 300.0  # seconds; an emulated box on a busy machine is slow
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def _patiently(opener: urllib.request.OpenerDirector, request: urllib.request.Request | str, seconds: float) -> Any:
    """The answer; a page that says "not yet" (503: it is being started) is asked again, as a browser with its `Retry-After` does."""
    until = time.monotonic() + LIMIT
    while True:
        try:
            return opener.open(request, timeout=seconds)
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > until:
                raise
            error.close()
            time.sleep(2)


class Browser:
    """`authority` is fetched on the first visit, which is the only one that trusts blindly; as a person does it."""

    def __init__(self, port: int, authority: Path) -> None:
        self.address = f"https://127.0.0.1:{port}"
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        blindly = urllib.request.build_opener(urllib.request.HTTPSHandler(context=blind))
        with _patiently(blindly, f"{self.address}/encryption/authority.crt", LIMIT) as answer:
            authority.write_bytes(answer.read())
        self.authority = authority
        trusting = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(authority)))
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(trusting, cookies)
        self.place = self.address + "/"
        self.page = ""

    def open(self, path: str) -> str:
        return self._fetch(urllib.request.Request(urllib.parse.urljoin(self.place, path)))

    def submit(self, path: str, **fields: str) -> str:
        """Send a form of the page that is open."""
        found = TOKEN.search(self.page)
        body = urllib.parse.urlencode({"csrf_token": found[1] if found else "", **fields}).encode()
        headers = {"Referer": self.place, "Origin": self.address}
        return self._fetch(urllib.request.Request(urllib.parse.urljoin(self.place, path), body, headers))

    def send(self, path: str, file: Path) -> str:
        """A file as the body of a request, as the page's script sends it."""
        found = TOKEN.search(self.page)
        headers = {
            "Referer": self.place, "Origin": self.address, "X-CSRFToken": found[1] if found else "", "Content-Type": "application/octet-stream",
            "Content-Length": str(file.stat().st_size),
        }  # fmt: skip
        with file.open("rb") as content:
            return self._fetch(urllib.request.Request(urllib.parse.urljoin(self.place, path), content, headers), 900)

    def download(self, path: str, **fields: str) -> bytes:
        """What a form of the open page gives back as a file."""
        found = TOKEN.search(self.page)
        body = urllib.parse.urlencode({"csrf_token": found[1] if found else "", **fields}).encode()
        headers = {"Referer": self.place, "Origin": self.address}
        request = urllib.request.Request(urllib.parse.urljoin(self.place, path), body, headers)
        with self._opener.open(request, timeout=LIMIT) as answer:
            return bytes(answer.read())

    def fetch(self, path: str) -> bytes:
        """A file."""
        with self._opener.open(urllib.parse.urljoin(self.place, path), timeout=LIMIT) as answer:
            return bytes(answer.read())

    def log_in(self, username: str, password: str) -> None:
        self.open("/login")
        self.submit("/login", username=username, password=password)

    def _fetch(self, request: urllib.request.Request, seconds: float = LIMIT) -> str:
        try:
            with _patiently(self._opener, request, seconds) as answer:
                self.place, text = answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(
                f"{request.full_url}: {error.code}\n{error.read().decode(errors='replace')[:2000]}"
            ) from None
        if "<html" in text:
            self.page = text
        return str(text)

    def set_up(self, code: str, password: str) -> None:
        """The first-run wizard."""
        self.open("/setup")
        self.submit("/setup/code", code=code)
        self.submit("/setup/administrator", full_name="Anna Berger", username="anna", password=password, again=password)
        done = self.submit("/setup/numbering", country="DE", first_extension="100")
        assert "Ready, Anna" in done, done[:3000]

    def add_extension(self, number: str) -> tuple[str, str]:
        """SIP user name and password, as the page shows them."""
        self.open("/extensions/add")
        page = self.submit(
            "/extensions/add", number=number, name=f"Phone {number}", encrypt="required", ring_seconds="30"
        )
        if "/lines/" not in page:
            page = self.open(self.place.split("?")[0] + "/lines")
        line = re.search(r"/lines/([^/\"]+)/reveal", page)
        name = re.search(r'name="sip_username" value="([^"]+)"', page)
        assert line, page[:3000]
        assert name, page[:3000]
        shown = re.search(r"<code[^>]*>([^<]+)</code>", self.submit(f"/lines/{line[1]}/reveal"))
        assert shown
        return html.unescape(name[1]), html.unescape(shown[1])
