"""Tests over traps: whoever uses a descriptor that is closed by then is found, with both stacks.

`python tests/trapping.py [ARGUMENTS OF PYTEST]` runs tests with `faults/shims/trap.c` before the C library
of every process: the server's, and pytest's own where a test runs a part of it there. A test in which
anything of hmacfs uses a closed number fails, and so does the whole run. In a tree that is compiled with
HMACFS_BUILD=trap memory is overwritten once nobody may look at it any more, and no answer may hold that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import shims

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[1]
TRAP: Final = "/memfd:hmacfs-trap"
"""How the name begins of what lies on closed numbers, in proc(5)."""
_LOG: Final = "TRAP_LOG"
_BEGINS: Final = "== "
_CLOSED_BY: Final = "-- closed by\n"
_FRAME: Final = re.compile(r'^  File "(.+?)", line', re.MULTILINE)
_COMMAND: Final = " -m  hmacfs "


def environ(library: Path, folder: Path) -> dict[str, str]:
    """Return what the environment of a process needs to set traps; `folder` is for its reports."""
    return {**shims.preload(library), _LOG: str(folder)}


def everything(folder: Path) -> list[str]:
    """Return all uses of closed numbers, whoever's."""
    return [text for path in sorted(folder.iterdir()) for text in _each(path)]


def reports(folder: Path) -> list[str]:
    """Return those by anything of hmacfs."""
    return [text for text in everything(folder) if _is_ours(text)]


def reported() -> list[str]:
    """Return those of this run of pytest and all that it has started; none if it sets no traps."""
    return reports(Path(os.environ[_LOG])) if _LOG in os.environ else []


def _each(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return (_BEGINS + part for part in text.removeprefix(_BEGINS).split(f"\n{_BEGINS}"))


def _is_ours(report: str) -> bool:
    """Whether it is of the server, or of a part of it; a test may look whether something is closed."""
    use = report.partition(_CLOSED_BY)[0]
    frames = _FRAME.findall(use)
    if frames and Path(frames[0]).is_relative_to(ROOT / "tests"):
        return False
    return _COMMAND in use.partition("\n")[0] or any(Path(f).is_relative_to(ROOT / "hmacfs") for f in frames)


def main(arguments: list[str]) -> int:
    """Run pytest; give its exit status, or 1 if it had none to complain of but the traps have."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.mkdir()
        library = shims.compiled("gcc", "trap", Path(folder))
        command = [sys.executable, "-m", "pytest", *arguments]
        status = subprocess.run(command, env=os.environ | environ(library, log), check=False).returncode
        found = reports(log)
    sys.stdout.write("\n".join([*found, f"{len(found)} uses of closed numbers\n"]))
    return status or bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
