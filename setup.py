"""The Cython extensions and the build mode; everything else is in pyproject.toml.

SWITCHROOM_BUILD=release|debug|sanitize|coverage picks the compiler flags (default: release).
"""

import os
import platform
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

MODES = {
    "release": (["-O3", "-g1"], [], {}),
    "debug": (["-O0", "-g3"], [], {"boundscheck": True}),
    "sanitize": (["-O1", "-g3", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"], ["-fsanitize=address,undefined"], {}),
    "coverage": (["-O0", "-g1", "-DCYTHON_TRACE_NOGIL=1"], [], {"linetrace": True}),
}
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-unreachable-code", "-Wno-missing-field-initializers"]

# module name -> libraries it links; a module not named here links none.
LIBRARIES: dict[str, list[str]] = {
    "srtp": ["crypto"] + (["IPSec_MB"] if Path("/usr/include/intel-ipsec-mb.h").exists() else []),
    "flows": ["ssl", "crypto"],
}

mode = os.environ.get("SWITCHROOM_BUILD", "release")
compile_flags, link_flags, directives = MODES[mode]
if platform.machine() == "x86_64" and mode == "release":
    compile_flags = [*compile_flags, "-mtune=native"] if os.environ.get("SWITCHROOM_NATIVE") else compile_flags

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"media_core.{source.stem}",
                [str(source)],
                libraries=LIBRARIES.get(source.stem, []),
                extra_compile_args=[*compile_flags, *WARNINGS],
                extra_link_args=link_flags,
            )
            for source in sorted(Path("media_core").glob("*.pyx"))
        ],
        build_dir=f"build/cython-{mode}",
        nthreads=0,
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False, **directives},
    )
)
