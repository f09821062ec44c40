"""The only use-cases that change anything: validate, licence, save, announce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.model import Record, Snapshot


class Admin:
    def __init__(self, store, announce, limits) -> None: ...  # store.Store; announce(revision) -> None; limits() -> licensing.Limits

    @property
    def snapshot(self) -> Snapshot: ...  # the newest saved one
    def create(self, kind: str, values: Mapping[str, Any], who: str) -> Record: ...  # extension: also makes its first line
    def update(self, kind: str, key: str, values: Mapping[str, Any], who: str) -> Record: ...
    def delete(self, kind: str, key: str, who: str) -> None: ...  # an extension takes its lines along
    def consequences(self, kind: str, key: str) -> list[str]: ...  # what deleting would break, in sentences
    def suggest_number(self) -> str: ...
    def reveal_sip_password(self, line: str, who: str) -> str: ...  # audited in the journal
    def renew_sip_password(self, line: str, who: str) -> str: ...
    def set_password(self, user: str, password: str, who: str) -> None: ...
    def authenticate(self, username: str, password: str) -> Any: ...  # User or None; constant work
    def complete_setup(self, *, username: str, full_name: str, password: str, first_extension: str, country: str) -> Any: ...  # first administrator; refused when completed
    def journal(self, *, limit: int = 100, before: int | None = None) -> list[Any]: ...  # newest first
    def licence_usage(self) -> Any: ...  # users, extensions, limits, what counts, in words
