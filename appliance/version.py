"""The version of the product, from the installed distribution."""

from __future__ import annotations

from importlib import metadata


def _version() -> str:
    try:
        return metadata.version("switchroom")
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return "0.1.0"


VERSION = _version()
