"""Marks of the configuration (`Snapshot.mark`) as answers and If-Match carry them: an entity tag has no space in it (RFC 9110 8.8.3)."""

from __future__ import annotations


def tag_of(mark: str) -> str:
    return mark.replace(" ", "-", 1)


def mark_of(tag: str) -> str:
    return tag.replace("-", " ", 1)[:100]
