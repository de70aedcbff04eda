"""Linters, with the settings of pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
COMPILED = [str(path) for end in ("pyx", "pxd") for path in (ROOT / "hmacfs").glob(f"*.{end}")]
LINTERS = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "cython": ["cython-lint", *COMPILED],
    "quotes": ["double-quote-cython-strings", *COMPILED],
    "spelling": ["codespell", "."],
}


@pytest.mark.parametrize("name", LINTERS)
def test_linter_is_content(name: str) -> None:
    linter, *arguments = LINTERS[name]
    # cython-lint looks its pycodestyle up on PATH
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)])
    run = subprocess.run(
        [SCRIPTS / linter, *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
