"""Rooms: who may import whom, and that every module can be imported first."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import hmacfs

ROOT = Path(__file__).parents[2]

# One interpreter, and for each module a child of it in which nothing of hmacfs is imported yet.
IMPORT_EACH = """
import importlib, os, sys, traceback
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        failed.append(name)
sys.exit(f"cannot be imported first: {failed}" if failed else 0)
"""


def test_a_room_imports_only_from_rooms_before_it() -> None:
    lint = Path(sysconfig.get_path("scripts")) / "lint-imports"
    run = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_module_can_be_imported_first() -> None:
    names = [module.name for module in pkgutil.walk_packages(hmacfs.__path__, "hmacfs.")]
    names = [name for name in names if not name.endswith(".__main__")]  # that one runs the server
    assert "hmacfs._core" in names, "the core is not built"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EACH, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
