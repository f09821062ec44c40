"""What the boots start from: the built image, and disks with a second slot that fails in one way."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.build import Image

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def image() -> Image:
    """The image of this checkout; `make image` has built it, so everything comes from the cache."""
    return Image("x86-64", ROOT / "build/image")
