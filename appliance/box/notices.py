"""The licences of everything that is shipped: every part with its version, the names of its licences, and their texts.

On the box the parts are those of the bill of materials that the image build wrote (image/sbom.py), and the texts lie where Debian and the
Python packages put them. On somebody's own computer the parts are the Python packages this runs with, and what the page is made of.
Nothing here trusts a name it is given: only listed parts can be asked for.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from appliance.version import VERSION

BILL = Path("/usr/share/switchroom/sbom.cdx.json")
DEBIAN_TEXTS = Path("/usr/share/doc")
STANDARD_TEXTS = Path("/usr/share/common-licenses")
HERE = Path(__file__).parent
LICENCE_FILE = re.compile(r"(?i)(^|/)(licen[cs]es?/|licen[cs]e|copying|notice|authors)[^/]*$")
LONGEST = 1 << 20  # octets of a text
OURS = "Switchroom"
PASSWORDS = "Common passwords (@zxcvbn-ts/language-common)"
KINDS = ("ours", "deb", "pypi", "npm", "data", "text")  # in their order on the page; a text is one that parts refer to


@dataclass(frozen=True, slots=True)
class Part:
    kind: str  # one of KINDS
    name: str
    version: str
    licences: str  # names, or "" when only the text says it


def parts(assets: Path) -> list[Part]:
    """Everything, by kind and name. assets: the folder of the page's built assets."""
    bill = _bill()
    own = [Part("ours", OURS, VERSION, "Apache-2.0"), Part("data", PASSWORDS, "4.1.3", "MIT")]
    found = [*own, *(bill if bill is not None else [*_python(), *_page(assets)])]
    return sorted(
        {(part.kind, part.name): part for part in found}.values(),
        key=lambda part: (KINDS.index(part.kind), part.name.lower()),
    )


def standard_texts() -> list[str]:
    """Names of the licences that system packages refer to instead of repeating them."""
    return sorted(file.name for file in STANDARD_TEXTS.glob("*") if file.is_file()) if BILL.exists() else []


def text_of(part: Part, assets: Path) -> str:
    """The texts of its licences; says so when there is none."""
    texts = {"ours": _our_text, "deb": _debian_text, "pypi": _python_text, "data": _data_text}.get(part.kind)
    found = _page_text(part.name, assets) if texts is None else texts(part.name)
    return found or f"{part.name} comes without a text of its licence; it names {part.licences or 'none'}."


def standard_text(name: str) -> str:
    return _read(STANDARD_TEXTS / name) if name in standard_texts() else ""


# ---- parts -----------------------------------------------------------------------------------------------------------


def _bill() -> list[Part] | None:
    try:
        components = json.loads(BILL.read_text())["components"]
    except (OSError, ValueError, KeyError):
        return None
    found = []
    for row in components:
        kind = str(row.get("purl", "")).removeprefix("pkg:").partition("/")[0]
        names = [str(entry.get("license", {}).get("name", "")) for entry in row.get("licenses", [])]
        if kind in KINDS:
            found.append(Part(kind, str(row["name"]), str(row.get("version", "")), ", ".join(filter(None, names))))
    return found


def _python() -> Iterator[Part]:
    """The Python packages the product needs, and theirs; all there are when it is not installed as a package."""
    known = {_normal(str(one.metadata["Name"])): one for one in metadata.distributions()}
    wanted, seen = ["switchroom"] if "switchroom" in known else list(known), set()
    while wanted:
        name = wanted.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        needs = (need for need in known[name].requires or () if "extra ==" not in need)
        wanted += [_normal(re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0]) for need in needs]
    for name in seen - {"switchroom"}:
        fields = known[name].metadata
        short = _first(fields.get_all("License-Expression")) or _first(fields.get_all("License")).split("\n")[0][:80]
        classes = [
            line.rsplit(" :: ", 1)[1] for line in fields.get_all("Classifier") or () if line.startswith("License ::")
        ]
        yield Part("pypi", str(fields["Name"]), str(fields["Version"]), short or ", ".join(classes))


def _first(values: list[str] | None) -> str:
    return values[0] if values else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _page(assets: Path) -> Iterator[Part]:
    with contextlib.suppress(OSError, ValueError, KeyError):
        for row in json.loads((assets / "manifest.json").read_text())["packages"]:
            yield Part("npm", str(row["name"]), str(row["version"]), str(row["licence"]))


# ---- texts -----------------------------------------------------------------------------------------------------------


def _our_text(name: str) -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        if text := _python_text("switchroom"):
            return text
    return _read(HERE.parents[1] / "LICENSE")


def _data_text(name: str) -> str:
    return _read(HERE.parent / "config/passwords/common_passwords.licence")


def _debian_text(name: str) -> str:
    return _read(DEBIAN_TEXTS / name / "copyright") if "/" not in name else ""


def _python_text(name: str) -> str:
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return ""
    texts = (
        _read(Path(str(file.locate())))
        for file in files
        if ".dist-info/" in str(file) and LICENCE_FILE.search(str(file))
    )
    return "\n\n".join(filter(None, texts))


def _page_text(name: str, assets: Path) -> str:
    sections = re.split(r"^== (.+)$", _read(assets / "LICENCES.txt"), flags=re.MULTILINE)
    return next(
        (text.strip() for title, text in zip(sections[1::2], sections[2::2], strict=False) if title == name), ""
    )


def _read(file: Path) -> str:
    with contextlib.suppress(OSError), file.open("rb") as content:
        return content.read(LONGEST).decode(errors="replace").strip()
    return ""
