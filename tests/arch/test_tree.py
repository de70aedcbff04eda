"""The shape of the repository: what stands at its top; and no file knows the machine it was written on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = """
pyproject.toml setup.py README.md CHANGELOG.md CONTRIBUTING.md LICENSE Makefile Dockerfile
.dockerignore .gitignore .ci/run .ci/setup hmacfs/__init__.py hmacfs/py.typed
hmacfs/_core.pyx hmacfs/_core.pyi tests benches tools deploy
"""
TEXTS = {
    "",
    ".md",
    ".py",
    ".pyi",
    ".pyx",
    ".pxd",
    ".toml",
    ".js",
    ".conf",
    ".cfg",
    ".service",
    ".socket",
    ".lua",
    ".yml",
    ".json",
    ".sh",
}
FOREIGN = {"__pycache__", "node_modules"}
# A home folder is always somebody's; that of this checkout too, unless it is where the documents install to.
HOMES = re.compile(r"(?<![\w.])/(home|Users)/[a-z]\w*/|(?<![\w./])/root/")
DOCUMENTED = {"/srv/hmacfs", "/opt/hmacfs", "/src"}


def texts() -> list[Path]:
    """Return every file of ours: the top and the folders without what tools leave there."""
    files = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".coverage")]
    for folder in (".ci", "hmacfs", "tests", "benches", "tools", "deploy", "docs"):
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path for path in files if path.suffix in TEXTS and not FOREIGN & set(path.parts)]


@pytest.mark.parametrize("name", TOP.split())
def test_the_top_level_is_there(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("name", [".ci/bare", ".ci/run", ".ci/setup"])
def test_scripts_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


def test_no_file_names_this_machine() -> None:
    here = re.compile(rf"(?<![\w./-]){re.escape(str(ROOT))}(?![\w-])")
    named = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in texts()
        if path != Path(__file__)
        for line in path.read_text().splitlines()
        if HOMES.search(line) or (str(ROOT) not in DOCUMENTED and here.search(line))
    ]
    assert named == []


def test_what_tests_start_ends_with_them() -> None:
    """`subprocess.Popen` by itself would wait for ever for what a test that failed has left running."""
    allowed = {"children.py", "serving.py", "test_tree.py"}
    files = (file for file in (ROOT / "tests").rglob("*.py") if file.name not in allowed)
    assert [str(file) for file in files if "subprocess.Popen(" in file.read_text()] == []
