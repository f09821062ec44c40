"""What is answered instead: one shape for every refusal, in the caller's language.

`{"error": {"sentence": …, "key": …, "fields": [{"field", "sentence", "key"}]}}`. `key` names the sentence for programs and is never renamed. Where two have
changed the same, a field tells both sides: what it was, what it is now, what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from flask import Response

from appliance.config.model import Problem
from appliance.words import Explained, Said


class FieldError(msgspec.Struct, omit_defaults=True):
    field: str
    sentence: str
    key: str
    now: Any = msgspec.UNSET
    yours: Any = msgspec.UNSET


class Error(msgspec.Struct):
    sentence: str
    key: str
    fields: list[FieldError] = []


class ErrorAnswer(msgspec.Struct):
    error: Error


class Turned(Exception):
    """A request is not carried out."""

    def __init__(self, status: int, said: Said, *fields: FieldError, headers: dict[str, str] | None = None) -> None:
        super().__init__(said.key)
        self.status, self.said, self.fields, self.headers = status, said, fields, headers or {}


def because(status: int, error: Exception) -> Turned:
    """Refused for a reason that a person is told."""
    return Turned(status, error.said if isinstance(error, Explained) else Said.of("call.told", words=str(error)))


def field_errors(problems: Iterable[Problem], say: Callable[[Said], str]) -> list[FieldError]:
    return [
        FieldError(problem.field, said_or(problem, say), problem.said.key if isinstance(problem.said, Said) else "")
        for problem in problems
    ]


def said_or(problem: Problem, say: Callable[[Said], str]) -> str:
    return say(problem.said) if isinstance(problem.said, Said) else problem.said


def refusal(
    status: int,
    sentence: str,
    key: str,
    fields: Iterable[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    body = msgspec.json.encode(ErrorAnswer(Error(sentence, key, list(fields))))
    return Response(body, status, headers, mimetype="application/json")
