"""The description of the API in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), made of the operations in the language of who asks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from appliance.version import VERSION
from appliance.words import Said, Words
from webui.api.operations import Nothing, Operation
from webui.api.refusals import ErrorAnswer
from webui.api.shapes import Types

REFERENCE = "#/components/schemas/{name}"
NAMED = re.compile(r"{(\w+)}")
ALWAYS = frozenset({400, 401, 403, 429, 503})


def document(operations: Iterable[Operation], words: Words, base: str) -> dict[str, Any]:
    """`base`: the address that all paths are below."""
    rows, types = list(operations), Types(words.say)
    bodies = [row.taken(types) if row.taken else row.body for row in rows]
    answers = [row.given(types) if row.given else row.answer for row in rows]
    wanted = [type_ for type_ in (*bodies, *answers, ErrorAnswer) if type_ is not None]
    schemas, components = msgspec.json.schema_components(wanted, ref_template=REFERENCE)
    schema = dict(zip(map(id, wanted), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row, body, answer in zip(rows, bodies, answers, strict=True):
        paths.setdefault(row.path, {})[row.method.lower()] = {
            "operationId": row.name,
            "tags": [words.say(row.group)],
            "summary": words.say(row.said),
            "x-right": row.may,
            "parameters": [*_in_path(row), *_in_query(row), *_in_header(row, words)],
            **_request(row, schema.get(id(body))),
            "responses": {**_done(row, schema.get(id(answer))), **_refusals(row)},
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": words.say(Said.of("api.title")),
            "version": VERSION,
            "description": words.say(Said.of("api.description")),
        },
        "servers": [{"url": base}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": words.say(Said.of("api.key-help"))}
            },
            "responses": {
                str(status): {
                    "description": HTTPStatus(status).phrase,
                    "content": {"application/json": {"schema": schema[id(ErrorAnswer)]}},
                }
                for status in sorted(frozenset[int]().union(*map(refusals_of, rows)))
            },
            "schemas": components,
        },
    }


def _in_path(row: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 200}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in NAMED.findall(row.path)]


def _in_query(row: Operation) -> list[dict[str, Any]]:
    if row.query is Nothing:
        return []
    described = msgspec.json.schema_components([row.query])[1][row.query.__name__]
    required = described.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in described["properties"].items()
    ]


def _in_header(row: Operation, words: Words) -> list[dict[str, Any]]:
    if not row.revision:
        return []
    said = words.say(Said.of("api.if-match-help"))
    return [{"name": "If-Match", "in": "header", "description": said, "schema": {"type": "string"}}]


def _request(row: Operation, schema: Any) -> dict[str, Any]:
    if row.raw:
        return {"requestBody": {"required": True, "content": {row.raw: {"schema": {}}}}}
    if schema is None:
        return {}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _done(row: Operation, schema: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(row.status).phrase}
    if row.kind:
        answer["content"] = {row.kind: {"schema": schema or {"type": "string"}}}
    elif schema is not None:
        answer["content"] = {"application/json": {"schema": schema}}
    return {str(row.status): answer}


def refusals_of(row: Operation) -> frozenset[int]:
    """The statuses with which an operation may be refused."""
    found = ALWAYS | row.refuses
    if NAMED.search(row.path):
        found |= {404}
    if row.body is not None:
        found |= {413, 415, 422}
    if row.revision:
        found |= {409, 412}
    return found


def _refusals(row: Operation) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(refusals_of(row))}
