"""What the installed product reads is installed with it: the box runs from a wheel, and a file that only a checkout has would stop it there."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

from setuptools import find_namespace_packages

from tests.test_source import ROOT, tracked

CODE = (".py", ".pyx", ".pxi", ".c", ".h")
NOT_READ = ("webui/assets/",)  # what the page's files are made from


def test_every_data_file_of_a_package_is_in_the_wheel() -> None:
    rows = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    missing = []
    for file in tracked(""):
        name = str(file.relative_to(ROOT))
        if (
            not name.startswith(("appliance/", "webui/", "media_core/"))
            or name.endswith(CODE)
            or name.startswith(NOT_READ)
        ):
            continue
        patterns = [
            pattern if package == "*" else f"{package.replace('.', '/')}/{pattern.replace('**/', '')}"
            for package, found in rows.items()
            for pattern in found
        ]
        if not any(fnmatch(name, pattern) or fnmatch(Path(name).name, pattern) for pattern in patterns):
            missing.append(name)
    assert missing == []


def test_every_folder_with_code_is_a_package_of_the_wheel() -> None:
    """Those of services too, which have no __init__.py."""
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert find.get("namespaces", True)
    packages = set(find_namespace_packages(str(ROOT), include=find["include"]))
    folders = {file.relative_to(ROOT).parent for file in tracked("") if file.suffix == ".py"}
    top = ("appliance", "webui", "media_core")
    assert {".".join(folder.parts) for folder in folders if folder.parts and folder.parts[0] in top} <= packages
    assert "appliance.services.echo" in packages
