"""Rooms: who may import whom, no circles within one, and that every module can be imported first."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import grimp
from arch import modules

ROOT = Path(__file__).parents[2]
LINT = Path(sysconfig.get_path("scripts")) / "lint-imports"
CIRCLES = "no circle within a room, not even of imports for types alone"

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


def test_a_room_imports_only_from_rooms_before_it_and_has_no_circle() -> None:
    run = subprocess.run([LINT, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_circle_of_imports_for_types_alone_is_found(tmp_path: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [one for one in settings["contracts"] if one["name"] == CIRCLES]
    room = tmp_path / "hmacfs/room"
    room.mkdir(parents=True)
    for file in (room.parent / "__init__.py", room / "__init__.py"):
        file.touch()
    (room / "above.py").write_text("from hmacfs.room import below\n")
    (room / "below.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from hmacfs.room.above import Noun\n"
    )
    (tmp_path / "pyproject.toml").write_text(f"""
        [tool.importlinter]\nroot_package = "hmacfs"
        [[tool.importlinter.contracts]]\nname = "circles"
        type = "{contract["type"]}"\nancestors = {contract["ancestors"]}\n""")
    lint = [sys.executable, "-P", str(LINT), "--no-cache"]
    run = subprocess.run(
        lint, cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "circles BROKEN" in run.stdout


def test_no_module_imports_the_face_that_imports_it() -> None:
    graph = grimp.build_graph("hmacfs", cache_dir=None)
    found = []
    for module in sorted(graph.modules):
        parent = module.rpartition(".")[0]
        while "." in parent:
            if graph.direct_import_exists(importer=module, imported=parent):
                found.append(f"{module} -> {parent}")
            parent = parent.rpartition(".")[0]
    assert found == []


def test_every_module_can_be_imported_first() -> None:
    assert "hmacfs._core" in modules.EVERY, "the core is not built"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EACH, *modules.IMPORTABLE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
