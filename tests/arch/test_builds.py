"""The other two builds of the core: with line tracing, and under AddressSanitizer and UBSan.

Each is made in a copy of the tree, where the core's own tests then run against it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PARTS = ["hmacfs", "tests", "pyproject.toml", "setup.py", "README.md", "LICENSE"]


def run(command: list[str], folder: Path, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout


def built(mode: str, folder: Path) -> Path:
    """Copy the tree and compile the core in it in this mode."""
    ignored = shutil.ignore_patterns("*.so", "_*.c", "_*.html", "__pycache__", "node_modules")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], folder, HMACFS_BUILD=mode)
    return folder


def pass_core_tests(folder: Path, **env: str) -> None:
    """Run the core's tests in the copy, against the copy's core."""
    where = run([sys.executable, "-c", "import hmacfs._core as core; print(core.__file__)"], folder, **env)
    assert Path(where.strip()).is_relative_to(folder)
    tests = ("tests/core", "tests/hot", "tests/transfer")  # the last, since slabs lent are spoilt afterwards
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], folder, **env)


@pytest.mark.timeout(600)
def test_the_traced_core_passes(tmp_path: Path) -> None:
    pass_core_tests(built("trace", tmp_path))


@pytest.mark.timeout(600)
def test_the_sanitized_core_passes(tmp_path: Path, program: Callable[[str], str]) -> None:
    folder = built("sanitize", tmp_path)
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
