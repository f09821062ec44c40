"""For all tests: property tests run the same examples everywhere and are not timed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("switchroom", deadline=None, derandomize=True)
settings.load_profile("switchroom")
