"""Switchroom's control plane: knows telephones, touches no packet.

What stands on the way of a call runs compiled where it has been (`make compiled`: setup.py, ON_THE_WAY). The sources run all the same: when
SWITCHROOM_PURE is set, and all of them as soon as one of them is newer than what was compiled, so that nobody runs what is not written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path

_FOLDER = Path(__file__).parent
_LIBRARY = _FOLDER.parent / f"appliance__mypyc{EXTENSION_SUFFIXES[0]}"


class _Sources:
    """Finds the sources of this package, whatever stands beside them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith(f"{__name__}.") or path is None:
            return None
        found = (FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name) for folder in path)
        return next((spec for spec in found if spec is not None and spec.loader is not None), None)


def _is_stale() -> bool:
    """Of a checkout; what is installed was installed together."""
    if not (_FOLDER.parent / "setup.py").exists():
        return False
    since = _LIBRARY.stat().st_mtime
    compiled = (file.with_name(file.name.partition(".")[0] + ".py") for file in _FOLDER.rglob("*.so"))
    return any(not source.exists() or source.stat().st_mtime > since for source in compiled)


IS_COMPILED = _LIBRARY.exists() and not os.environ.get("SWITCHROOM_PURE") and not _is_stale()
if _LIBRARY.exists() and not IS_COMPILED:
    sys.meta_path.insert(0, _Sources)
