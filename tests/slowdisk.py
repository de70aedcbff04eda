"""A disk that is slow in one system call: a library preloaded into the server, compiled as it is needed.

The call waits before it is made, if it concerns a file below the storage; and it is counted, by the
first thread of a process, which is the event loop of a worker, and by all others. So that the loop did not
wait is a count.
"""

from __future__ import annotations

import ctypes
import mmap
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

CALLS = (
    "fsync",
    "openat",
    "openat2",
    "linkat",
    "mkdirat",
    "flock",
    "pwrite",
    "pread",
    "ftruncate",
    "fallocate",
    "unlinkat",
    "renameat",
    "fstatat",
)
"""Calls by the name that Linux has for them; fdatasync counts as fsync, and so on."""
NOTES, NOTE_BYTES = 64, 256
SOURCE = Path(__file__).with_name("slowdisk.c")


class _Control(ctypes.Structure):
    _fields_ = (
        ("call", ctypes.c_int32),
        ("delay_ms", ctypes.c_int32),
        ("cold", ctypes.c_int32),
        ("noted", ctypes.c_int32),
        ("made", ctypes.c_int64 * 2 * len(CALLS)),
        ("notes", ctypes.c_char * NOTE_BYTES * NOTES),
    )


class SlowDisk:
    """The library for a storage at `below`, and the memory through which it is told what to slow down."""

    def __init__(self, cc: str, where: Path, below: Path) -> None:
        """Compile it into `where`; nothing is slow yet."""
        where.mkdir()
        names = ", ".join(f"CALL_{call}" for call in CALLS)
        sizes = f"#define NOTES {NOTES}\n#define NOTE_BYTES {NOTE_BYTES}\n"
        (where / "calls.h").write_text(f"enum {{ {names}, CALLS }};\n{sizes}")
        library = where / "slowdisk.so"
        flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-I{where}"]
        command = [cc, *flags, "-o", str(library), str(SOURCE)]
        done = subprocess.run([*command, "-ldl"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        path = where / "control"
        path.write_bytes(bytes(ctypes.sizeof(_Control)))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._control = _Control.from_buffer(self._memory)
        self._control.call = -1
        self.environ = {
            "LD_PRELOAD": str(library),
            "SLOWDISK_CONTROL": str(path),
            "SLOWDISK_BELOW": str(below),
        }

    def slow_down(self, call: str, delay_s: float, *, cold: bool = False) -> Self:
        """Make `call` slow within the context; `cold`: nothing of the storage is in the kernel's caches."""
        control = self._control
        control.delay_ms = int(delay_s * 1000)
        control.noted = 0
        control.cold = cold
        for made in control.made:
            made[0] = made[1] = 0
        control.call = CALLS.index(call)
        return self

    def __enter__(self) -> Self:
        """Return the disk itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make nothing slow."""
        self._control.call = -1
        self._control.cold = 0

    def made(self, call: str) -> tuple[int, int]:
        """Return how often it was made by other threads, and by the loop."""
        made = self._control.made[CALLS.index(call)]
        return made[0], made[1]

    @property
    def notes(self) -> list[str]:
        """What the loop has called it for: paths."""
        count = min(self._control.noted, NOTES)
        return [bytes(self._control.notes[at].value).decode() for at in range(count)]
