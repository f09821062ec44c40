"""Tests that look into functions: they need the sources as they are written (appliance/__init__.py). `make test` runs everything so, and a part of it
once more compiled."""

from __future__ import annotations

import pytest

import appliance


def as_written(why: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(appliance.IS_COMPILED, reason=f"not compiled, SWITCHROOM_PURE=1 runs it: {why}")
