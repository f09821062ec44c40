"""The Cython extensions and the build mode; everything else is in pyproject.toml.

SWITCHROOM_BUILD=release|debug|sanitize|coverage picks the compiler flags (default: release); python builds no extension, for an
editable install beside extensions that `build_ext --inplace` made; calls builds what stands on the way of a call (ON_THE_WAY) by mypyc.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

MODES = {
    "release": (["-O3", "-g1"], [], {}),
    "debug": (["-O0", "-g3"], [], {"boundscheck": True}),
    "sanitize": (["-O1", "-g3", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"], ["-fsanitize=address,undefined"], {}),
    "coverage": (["-O0", "-g1", "-DCYTHON_TRACE_NOGIL=1"], [], {"linetrace": True}),
    "python": ([], [], {}),
    "calls": ([], [], {}),
}
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-unreachable-code", "-Wno-missing-field-initializers"]
DIRECTIVES = {"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}

# module name -> libraries it links; a module not named here links none.
LIBRARIES: dict[str, list[str]] = {
    "codec": ["opus", "spandsp"],
    "dtmf": ["spandsp"],
    "player": ["sndfile"],
    "recorder": ["sndfile"],
    "srtp": ["crypto"] + (["IPSec_MB"] if Path("/usr/include/intel-ipsec-mb.h").exists() else []),
    "tls": ["ssl", "crypto"],
}

# The sources that every message and call runs through; without those that hold types of msgspec, which mypyc cannot compile.
ON_THE_WAY = {
    "appliance/sip": "abilities agent boundary dialog stack survival symmetric timers transaction",
    "appliance/sip/media": "address negotiation plain sdes",
    "appliance/sip/text": "body message",
    "appliance/sip/usage": "acks early ending invite offers refresh session",
    "appliance/flows": "admission driver",
    "appliance/calls": "arriving bridge call fork requests switchboard verbs",
    "appliance/calls/history": "quality story summary",
    "appliance/calls/legs": "abilities endpoint kept leg offers sound standing stream terms",
    "appliance/calls/plan": "party plan",
    "appliance/calls/registrar": "authentication refusals registrar security",
    "appliance/calls/turns": "turn",
}

JOBS = len(os.sched_getaffinity(0))
mode = os.environ.get("SWITCHROOM_BUILD", "release")
compile_flags, link_flags, directives = MODES[mode]
# The benchmarks' load generators are built beside their sources (build_ext --inplace) and never installed.
folders = ["media_core", "benchmarks"] if "--inplace" in sys.argv else ["media_core"]
sources = [] if mode in ("python", "calls") else sorted(source for folder in folders for source in Path(folder).rglob("*.pyx"))
shared = [str(file) for pattern in ("*.pxd", "*.pxi", "*.h") for file in sorted(Path("media_core").rglob(pattern))]


def on_the_way() -> list[Extension]:
    """One library of all these, beside the sources a small one each that leads there. Its cache is its own: the checks of the tests use other options."""
    from mypyc.build import mypycify

    files = [f"{folder}/{name}.py" for folder, names in ON_THE_WAY.items() for name in names.split()]
    options = ["--cache-dir", "build/mypyc-cache", "--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    return mypycify([*options, *files], opt_level="2", multi_file=True, target_dir="build/mypyc", group_name="appliance")


setup(
    options={"build": {"build_base": f"build/{mode}"}, "build_ext": {"parallel": JOBS}},  # objects of one mode are never taken for another's
    ext_modules=on_the_way() if mode == "calls" else cythonize(
        [
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                libraries=LIBRARIES.get(source.stem, []),
                extra_compile_args=[*compile_flags, *WARNINGS],
                extra_link_args=link_flags,
                depends=shared,
            )
            for source in sources
        ],
        build_dir=f"build/cython-{mode}",
        compiler_directives={**DIRECTIVES, **directives},
    ),
)
