"""Other builds of the compiled modules, each in a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ["hmacfs", "tests", "benches", "docs", "deploy"]
FILES = ["pyproject.toml", "setup.py", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile"]


def run(command: list[str], folder: Path, **env: str) -> str:
    """Run a program in such a copy, which must succeed; give what it prints."""
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
    for part in FOLDERS:
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for part in FILES:
        shutil.copy(ROOT / part, folder / part)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], folder, HMACFS_BUILD=mode)
    return folder
