"""The licences of what is shipped: of the box from its bill of materials, elsewhere from the Python packages; and their texts."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from appliance.box import notices
from appliance.box.notices import Part
from image import sbom

DEBIAN = """Package: {name}
Status: install ok installed
Version: 1.2
Architecture: amd64
"""


def loader(root: Path) -> Path:
    """Packages that are on the boot partition only."""
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(DEBIAN.format(name="bootloader"))
    (root / "usr/share/doc/bootloader").mkdir(parents=True)
    (root / "usr/share/doc/bootloader/copyright").write_text("License: LGPL-2.1+")
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small image, with its bill of materials."""
    texts = {"libmachine": "Format: https://…\n\nFiles: *\nLicense: MIT\n\nLicense: BSD-3-clause", "libprose": "See /usr/share/common-licenses/LGPL-2.1.",
             "libsilent": "do what you want"}  # fmt: skip
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text("\n".join(DEBIAN.format(name=name) for name in texts))
    for name, text in texts.items():
        (tmp_path / f"usr/share/doc/{name}").mkdir(parents=True)
        (tmp_path / f"usr/share/doc/{name}/copyright").write_text(text)
    (tmp_path / "usr/share/common-licenses").mkdir()
    (tmp_path / "usr/share/common-licenses/LGPL-2.1").write_text("GNU LESSER GENERAL PUBLIC LICENSE")
    site = tmp_path / "opt/switchroom/lib/python3.13/site-packages"
    vendor = site / "webui/static/vendor"
    vendor.mkdir(parents=True)
    (vendor / "manifest.json").write_text(
        json.dumps({"packages": [{"name": "@tabler/core", "version": "1.4", "licence": "MIT"}]})
    )
    (vendor / "LICENCES.txt").write_text("== @tabler/core\n\nMIT of Tabler\n\n== htmx.org\n\nZero BSD\n")
    (site / "flask-3.dist-info").mkdir()
    (site / "flask-3.dist-info/METADATA").write_text("Name: Flask\nVersion: 3\nLicense-Expression: BSD-3-Clause\n")
    sbom.write(
        tmp_path,
        "opt/switchroom",
        "1.0",
        loader(tmp_path / "loader"),
        {"loader.efi": {"bootloader"}, "kernel.efi": {"libprose", "loader.efi"}},
    )
    for name, place in (
        ("BILL", "switchroom/sbom.cdx.json"),
        ("DEBIAN_TEXTS", "doc"),
        ("STANDARD_TEXTS", "common-licenses"),
    ):
        monkeypatch.setattr(notices, name, tmp_path / "usr/share" / place)
    return tmp_path


def test_the_box_lists_its_bill_of_materials(root: Path) -> None:
    vendor = next(root.rglob("vendor"))
    assert [part for part in notices.parts(vendor) if part.kind not in ("ours", "data")] == [
        Part("deb", "bootloader", "1.2", "LGPL-2.1+"),
        Part("deb", "libmachine", "1.2", "BSD-3-clause, MIT"),
        Part("deb", "libprose", "1.2", "LGPL-2.1"),
        Part("deb", "libsilent", "1.2", ""),
        Part("pypi", "Flask", "3", "BSD-3-Clause"),
        Part("npm", "@tabler/core", "1.4", "MIT"),
    ]
    assert notices.parts(vendor)[0].name == "Switchroom"
    text = {part.name: notices.text_of(part, vendor) for part in notices.parts(vendor)}
    assert text["bootloader"] == "License: LGPL-2.1+"
    assert text["libsilent"] == "do what you want"
    assert text["@tabler/core"] == "MIT of Tabler"
    assert "Apache License" in text["Switchroom"]
    assert notices.standard_texts() == ["LGPL-2.1"]
    assert notices.standard_text("LGPL-2.1").startswith("GNU LESSER")
    assert notices.standard_text("../doc/libprose/copyright") == ""


def test_elsewhere_it_lists_the_python_packages_with_their_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "BILL", tmp_path / "none")
    found = {part.name.lower(): part for part in notices.parts(tmp_path)}
    assert found["flask"].version == metadata.version("flask")
    assert found["flask"].licences == "BSD-3-Clause"
    assert "Redistribution and use" in notices.text_of(found["flask"], tmp_path)
    assert all(part.kind in notices.KINDS for part in found.values())
    assert notices.standard_texts() == []


def test_what_has_no_text_says_so(tmp_path: Path) -> None:
    assert "comes without a text" in notices.text_of(Part("pypi", "no-such-package", "1", "MIT"), tmp_path)


def test_a_part_cannot_name_another_file(tmp_path: Path) -> None:
    assert "comes without a text" in notices.text_of(Part("deb", "../../../etc", "1", ""), tmp_path)


def test_an_image_that_lacks_a_licence_text_is_not_built(root: Path) -> None:
    (root / "usr/share/doc/libsilent/copyright").unlink()
    with pytest.raises(SystemExit, match="libsilent"):
        sbom.write(root, "opt/switchroom", "1.0", root / "loader", {})


def test_what_is_on_the_boot_partition_names_its_packages(root: Path) -> None:
    made = json.loads((root / "usr/share/switchroom/sbom.cdx.json").read_text())["dependencies"]
    package = "pkg:deb/debian/{}@1.2?arch=amd64"
    assert made == [
        {"ref": "loader.efi", "dependsOn": [package.format("bootloader")]},
        {"ref": "kernel.efi", "dependsOn": ["loader.efi", package.format("libprose")]},
    ]


def test_a_file_has_the_package_it_comes_from_and_one_that_nobody_has_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg/info").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/info/libone:amd64.list").write_text("/.\n/lib\n/lib/one.so\n")
    (tmp_path / "var/lib/dpkg/info/two.list").write_text("/usr/bin/two\n")
    one, two = tmp_path / "usr/lib/one.so", tmp_path / "usr/bin/two"
    assert sbom.owners(tmp_path, {one, two}) == {"libone", "two"}
    assert sbom.owners(tmp_path, {two}) == {"two"}
    with pytest.raises(SystemExit, match="/usr/bin/three"):
        sbom.owners(tmp_path, {two, tmp_path / "usr/bin/three"})
