"""Linters, with the settings of pyproject.toml."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
LINTERS = {
    "ruff": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "cython": ["cython-lint", "--max-line-length=110", "hmacfs/_core.pyx"],
    "quotes": ["double-quote-cython-strings", "hmacfs/_core.pyx"],
    "spelling": ["codespell", "hmacfs", "tests", "benches", "deploy", "docs", "README.md", "CONTRIBUTING.md"],
}


@pytest.mark.parametrize("name", LINTERS)
def test_linter_is_content(name: str) -> None:
    linter, *arguments = LINTERS[name]
    run = subprocess.run(
        [SCRIPTS / linter, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
