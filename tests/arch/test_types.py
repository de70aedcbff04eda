"""Types: mypy --strict over everything, and the stub of the compiled core against the core itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_module(*arguments: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_everything_is_typed() -> None:
    run_module("mypy")


@pytest.mark.parametrize(
    "module", ["hmacfs._asked", "hmacfs._core", "hmacfs._drafts", "hmacfs._front", "hmacfs._hot"]
)
def test_the_stub_tells_the_truth(module: str) -> None:
    allowed = ["--allowlist", "tests/arch/stubtest.allow", "--ignore-unused-allowlist"]  # Pythons differ
    run_module("mypy.stubtest", module, *allowed)
