"""What is put before the C library of a running server: faults of a disk, and traps on closed numbers.

The sources lie in `faults/shims`; they are compiled when a test first needs one.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent / "faults" / "shims"
WARNINGS = ("-Wall", "-Wextra", "-Werror")


def compiled(gcc: str, name: str, folder: Path) -> Path:
    """Compile the shim of this name into `folder`, unless it is there; give its library."""
    library = folder / f"{name}.so"
    if not library.exists():
        command = [gcc, "-std=gnu11", "-O2", "-g", *WARNINGS, "-shared", "-fPIC", "-o", str(library)]
        subprocess.run([*command, str(SOURCES / f"{name}.c")], check=True)
    return library


def preload(*libraries: Path) -> dict[str, str]:
    """Return what a program's environment needs so that these come before whatever is there already."""
    there = os.environ.get("LD_PRELOAD", "").split()
    return {"LD_PRELOAD": " ".join([*map(str, libraries), *there])}
