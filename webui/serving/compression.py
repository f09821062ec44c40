"""Everything text is sent compressed: pages as they are drawn, files of our own once, files of others when they are built (`build.py`).

A page that is compressed with a secret in it and something a stranger chose beside it tells the secret by its length (BREACH, CVE-2013-3587). Here the form
token is another text at every drawing (`mask`), so that lengths add up to nothing; a SIP password is shown by an answer of its own, to a POST
that carries the token; and the session cookie does not come along with requests of other sites (SameSite=Lax).
"""

from __future__ import annotations

import base64
import binascii
import gzip
import secrets
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, request
from flask_wtf.csrf import CSRFProtect, generate_csrf  # type: ignore[import-untyped]

SMALLEST = 500  # octets that are worth it
TEXTS = ("text/", "application/json", "application/javascript", "image/svg+xml")
LEVEL = 6


class MaskedTokens(CSRFProtect):  # type: ignore[misc]
    """Form tokens that never look the same twice."""

    def init_app(self, app: Flask) -> None:
        super().init_app(app)
        app.jinja_env.globals["csrf_token"] = lambda: mask(generate_csrf())
        app.context_processor(lambda: {"csrf_token": lambda: mask(generate_csrf())})

    def _get_csrf_token(self) -> str | None:
        token = super()._get_csrf_token()
        return unmask(token) if token else None


def mask(token: str) -> str:
    """The token under a one-time pad, which stands before it."""
    pad = secrets.token_bytes(len(token))
    return base64.urlsafe_b64encode(pad + _xor(pad, token.encode())).decode()


def unmask(masked: str) -> str:
    """The token; "" for what is none."""
    try:
        both = base64.urlsafe_b64decode(masked)
        return _xor(both[: len(both) // 2], both[len(both) // 2 :]).decode()
    except (binascii.Error, ValueError):
        return ""


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def compress(response: Response) -> Response:
    """After a page is drawn. What is streamed, partial or compressed already stays as it is."""
    kind = (response.mimetype or "").startswith(TEXTS)
    if not kind or response.direct_passthrough or response.is_streamed or response.status_code in (204, 206, 304):
        return response
    response.vary.add("Accept-Encoding")
    if "Content-Encoding" in response.headers or not request.accept_encodings["gzip"]:
        return response
    body = response.get_data()
    if len(body) >= SMALLEST:
        response.set_data(gzip.compress(body, LEVEL, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def packed(file: Path) -> tuple[str, Path | bytes] | None:
    """A static file as this browser takes it: the coding, and the file beside it or the octets. None: as it is."""
    if file.suffix not in (".css", ".js", ".svg", ".txt", ".json"):
        return None
    beside = file.with_name(f"{file.name}.br")
    if request.accept_encodings["br"] and beside.exists():
        return "br", beside
    if request.accept_encodings["gzip"]:
        return "gzip", _gzipped(file, file.stat().st_mtime_ns)
    return None


@lru_cache(maxsize=64)
def _gzipped(file: Path, _changed: int) -> bytes:
    return gzip.compress(file.read_bytes(), 9, mtime=0)
