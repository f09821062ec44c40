"""A program that uses the API: with a key, or with the cookie of a page and its token."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web.made import Visitor

BASE = "/api/v1"


class Program:
    def __init__(self, client: FlaskClient, key: str = "", token: str = "", address: str = "192.0.2.7") -> None:
        self._client, self._key, self.token, self._address = client, key, token, address

    def ask(self, method: str, path: str, sent: Any = None, **headers: str) -> TestResponse:
        """`sent` as JSON; bytes as they are."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._key:
            named.setdefault("Authorization", f"Bearer {self._key}")
        if self.token:
            named |= {"X-CSRFToken": self.token, "Referer": "https://localhost/"}
        if sent is not None:
            named.setdefault("Content-Type", "application/json")
        return self._client.open(
            BASE + path,
            method=method,
            data=sent if isinstance(sent, bytes) or sent is None else json.dumps(sent),
            headers=named,
            base_url="https://localhost",
            environ_base={"REMOTE_ADDR": self._address},
            buffered=True,
        )

    def get(self, path: str, **headers: str) -> Any:
        """What is answered; 200 is expected."""
        response = self.ask("GET", path, **headers)
        assert response.status_code == 200, response.get_data()
        return response.get_json()

    def post(self, path: str, sent: Any = None, status: int = 200) -> Any:
        response = self.ask("POST", path, sent)
        assert response.status_code == status, response.get_data()
        return response.get_json(silent=True)


def of_page(visitor: Visitor) -> Program:
    """As a page's own script asks."""
    return Program(visitor._client, token=visitor.token)


def refused(response: TestResponse, status: int) -> dict[str, Any]:
    """The error of a refusal."""
    assert response.status_code == status, response.get_data()
    assert response.mimetype == "application/json"
    error: dict[str, Any] = response.get_json()["error"]
    assert set(error) == {"sentence", "key", "fields"}
    assert error["sentence"]
    assert error["key"]
    assert all({"field", "sentence", "key"} <= set(one) for one in error["fields"])
    return error
