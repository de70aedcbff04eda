"""The other two builds of the core: with line tracing, and under AddressSanitizer and UBSan.

Each is made in a copy of the tree, where the core's own tests then run against it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import builds
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def pass_core_tests(folder: Path, **env: str) -> None:
    """Run the core's tests in the copy, against the copy's core."""
    names = "import hmacfs._core as core; print(core.__file__)"
    where = builds.run([sys.executable, "-c", names], folder, **env)
    assert Path(where.strip()).is_relative_to(folder)
    tests = ("tests/core", "tests/hot", "tests/transfer")  # the last, since slabs lent are spoilt afterwards
    builds.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], folder, **env)


@pytest.mark.timeout(600)
def test_the_traced_core_passes(tmp_path: Path) -> None:
    pass_core_tests(builds.built("trace", tmp_path))


@pytest.mark.timeout(600)
def test_the_sanitized_core_passes(tmp_path: Path, program: Callable[[str], str]) -> None:
    folder = builds.built("sanitize", tmp_path)
    libraries = [
        subprocess.check_output([program("gcc"), f"-print-file-name={name}.so"], text=True).strip()
        for name in ("libasan", "libubsan")
    ]
    pass_core_tests(
        folder,
        LD_PRELOAD=" ".join(libraries),
        PYTHONMALLOC="malloc",
        ASAN_OPTIONS="detect_leaks=0",  # the interpreter itself never frees everything
        UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1",
    )
