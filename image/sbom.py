"""The bill of materials, CycloneDX 1.6: every Debian package, Python distribution and part of the admin page, with version and licence;
and the files on the boot partition, each with the packages it is made from (`dependencies`)."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Set
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

NAMESPACE = uuid.UUID("0f4c7a52-2f0e-4c1f-9d55-6a3f0c8f7b21")
# Names of licences that a copyright file in prose has in full, or names in a sentence.
PROSE = {
    "PSF-2.0": r"PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2",
    "LGPL-2.1+": r"GNU Lesser General Public\s+License, version 2\.1 \(or, at your option, any later version\)",
}


def debian(root: Path) -> Iterator[dict[str, Any]]:
    for paragraph in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if "installed" in fields.get("Status", "").split():
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            row = {"type": "library", "name": name, "version": version}
            row["purl"] = row["bom-ref"] = f"pkg:deb/debian/{name}@{version}?arch={architecture}"
            yield row | _licences(sorted(_debian_licences(root / f"usr/share/doc/{name}/copyright")))


def _debian_licences(copyright_file: Path) -> set[str]:
    """Short names of a machine-readable copyright file; of one in prose, the standard texts it refers to, or what it says itself."""
    if not copyright_file.is_file():
        return set()
    text = copyright_file.read_text(errors="replace")
    names = {name.strip() for name in re.findall(r"^License: ([^\n]+)$", text, re.MULTILINE)}
    names = names or set(re.findall(r"/usr/share/common-licenses/([\w.-]*\w)", text))
    return names or {name for name, sentence in PROSE.items() if re.search(sentence, text)}


def python(site_packages: Path) -> Iterator[dict[str, Any]]:
    for metadata in sorted(site_packages.glob("*.dist-info/METADATA")):
        fields = HeaderParser().parsestr(metadata.read_text(errors="replace"))
        name, version = str(fields["Name"]), str(fields["Version"])
        row = {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name.lower()}@{version}"}
        classifiers = [
            text.rsplit(" :: ", 1)[1] for text in fields.get_all("Classifier", []) if text.startswith("License ::")
        ]
        short = fields["License-Expression"] or (fields["License"] or "").split("\n")[0][:80]
        yield row | _licences([short] if short else classifiers)


def page(site_packages: Path) -> Iterator[dict[str, Any]]:
    """What the admin page's built assets are made of (webui/build.py)."""
    manifest = site_packages / "webui/static/vendor/manifest.json"
    for package in json.loads(manifest.read_text())["packages"]:
        name, version = package["name"], package["version"]
        row = {"type": "library", "name": name, "version": version, "purl": f"pkg:npm/{name}@{version}"}
        yield row | _licences([package["licence"]])


def _licences(names: list[str]) -> dict[str, Any]:
    return {"licenses": [{"license": {"name": name}} for name in names]} if names else {}


def owners(root: Path, files: Set[Path]) -> set[str]:
    """The Debian packages of a root that these files of it come from. A file that is nobody's is an error."""
    left = {f"/{file.relative_to(root)}" for file in files}
    found = set()
    for names in (root / "var/lib/dpkg/info").glob("*.list"):
        # packages may still name /lib and /bin, which are links into /usr
        here = {f"/usr{line}" if re.match("/s?bin/|/lib", line) else line for line in names.read_text().splitlines()}
        if here & left:
            found.add(names.stem.partition(":")[0])
            left -= here
    if left:
        raise SystemExit(f"no package has these files of the kernel image: {', '.join(sorted(left))}")
    return found


def write(root: Path, product: str, version: str, loader: Path, files: Mapping[str, Set[str]]) -> None:
    """Into the tree, as usr/share/switchroom/sbom.cdx.json. The same for the same tree.

    loader: the unpacked packages that are on the boot partition only; their licences are added to the tree.
    files: what is on the boot partition and in the kernel image, each with the names of packages or of other such files it is made from.
    """
    site_packages = next((root / product / "lib").glob("python3.*/site-packages"))
    started = list(debian(loader))
    for row in started:
        place = root / f"usr/share/doc/{row['name']}/copyright"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(loader / place.relative_to(root), place)
    components = [*debian(root), *started, *python(site_packages), *page(site_packages)]
    references = {row["name"]: row["bom-ref"] for row in components if "bom-ref" in row}
    components += [{"type": "file", "name": name, "bom-ref": name} for name in files]
    references |= {name: name for name in files}
    made = [{"ref": name, "dependsOn": sorted(references[part] for part in parts)} for name, parts in files.items()]
    if mute := [row["name"] for row in debian(root) if not (root / f"usr/share/doc/{row['name']}/copyright").is_file()]:
        raise SystemExit(f"these packages would be shipped without the text of their licence: {', '.join(mute)}")
    text = json.dumps([components, made], sort_keys=True)
    bill = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, text)}",
        "metadata": {"component": {"type": "operating-system", "name": "switchroom", "version": version}},
        "components": components, "dependencies": made,
    }  # fmt: skip
    place = root / "usr/share/switchroom"
    place.mkdir(parents=True, exist_ok=True)
    (place / "sbom.cdx.json").write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n")
