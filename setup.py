"""Builds the compiled modules; HMACFS_BUILD picks how: release (default), trace, sanitize or trap."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

SANITIZERS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to compile the extension."""

    cflags: list[str]
    ldflags: list[str] = field(default_factory=list)
    define: list[tuple[str, str | None]] = field(default_factory=list)
    directives: dict[str, bool] = field(default_factory=dict)


BASE: dict[str, object] = {
    "language_level": 3,
    "auto_pickle": False,
    "autotestdict": False,
    "embedsignature": True,
    "embedsignature.format": "python",
}
MODES = {
    "release": Mode(cflags=["-O3", "-g1"]),
    "trace": Mode(cflags=["-O0"], define=[("CYTHON_TRACE_NOGIL", "1")], directives={"linetrace": True}),
    "sanitize": Mode(
        cflags=["-O1", "-g", *SANITIZERS],
        ldflags=["-lasan", "-lubsan"],
        define=[("HMACFS_SPOIL", "1")],
    ),
    "trap": Mode(cflags=["-O1", "-g1"], define=[("HMACFS_SPOIL", "1")]),
}

mode = MODES[os.environ.get("HMACFS_BUILD", "release")]
Options.warning_errors = True  # a Cython warning stops the build
Options.annotate = True  # tests/arch reads _core.html for Python calls in nogil code

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"hmacfs.{name}",
                [f"hmacfs/{name}.pyx"],
                extra_compile_args=mode.cflags,
                extra_link_args=mode.ldflags,
                define_macros=mode.define,
            )
            for name in ("_descriptor", "_core", "_drafts", "_asked", "_hot", "_front")
        ],
        compiler_directives=BASE | mode.directives,
        force="HMACFS_BUILD" in os.environ,
    )
)
