"""The trap build: nothing uses a descriptor that is closed, or shows memory that was freed or given back.

Here a part of the suites runs over it, with HMACFS_FULL=1 all of faults, server and transfer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import builds
import pytest
import trapping

if TYPE_CHECKING:
    from pathlib import Path

FULL = os.environ.get("HMACFS_FULL") == "1"
# The first runs this; the others count and time the server's own calls, to which the traps add theirs.
WITHOUT = ("test_trap", "test_injected", "test_loop", "test_order")
ALL = (
    "tests/transfer",
    "tests/server",
    "tests/faults",
    *(f"--ignore=tests/faults/{name}.py" for name in WITHOUT),
)
SOME = (
    "tests/transfer",
    "tests/server/test_chunked_upload.py",
    "tests/server/test_downloads.py",
    "tests/server/test_forms.py",
    "tests/server/test_uploads.py",
)
USES = {
    "read": "os.read(file, 1)",
    "write": "os.write(file, b'x')",
    "pread": "os.pread(file, 1, 0)",
    "pwrite": "os.pwrite(file, b'x', 0)",
    "preadv": "os.preadv(file, [bytearray(1)], 0)",
    "fstat": "os.fstat(file)",
    "fsync": "os.fsync(file)",
    "ftruncate": "os.ftruncate(file, 0)",
    "flock": "fcntl.flock(file, fcntl.LOCK_SH)",
    "fcntl": "fcntl.fcntl(file, fcntl.F_GETFL)",
    "ioctl": "fcntl.ioctl(file, termios.FIONREAD, bytes(4))",
    "dup": "os.dup(file)",
    "sendfile": "os.sendfile(file, other, 0, 1)",
    "sendfile from": "os.sendfile(other, file, 0, 1)",
    "linkat": "os.link(f'/proc/self/fd/{file}', 'there', src_dir_fd=folder, dst_dir_fd=folder)",
    "epoll_ctl": "epoll.register(file)",
    "close": "os.close(file)",
    "getsockopt": "socket.socket(fileno=file).family",
}
PROGRAM = """
import fcntl, os, select, socket, termios
epoll, folder = select.epoll(), os.open(".", os.O_RDONLY)
other = os.open("other", os.O_RDWR | os.O_CREAT)
file = os.open("file", os.O_RDWR | os.O_CREAT)
def use(): {use}
{before}
try:
    use()
except OSError as error:
    print(error.errno)
"""


def run(where: Path, trap: Path, use: str, before: str, **environ: str) -> tuple[str, list[str]]:
    """Run a program with this use of a file; give what it prints, and what was reported."""
    (log := where / "log").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(use=use, before=before)],
        cwd=where,
        env=os.environ | trapping.environ(trap, log) | environ,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout, trapping.everything(log)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_each_use_of_a_closed_number_is_found(tmp_path: Path, trap: Path, use: str) -> None:
    said, (report,) = run(tmp_path, trap, use, before="os.close(file)")
    assert said == "9\n"  # EBADF
    assert report.startswith("== closed: ")
    by, closed = report.split("-- closed by\n")
    assert " in use\n" in by
    assert " in use\n" not in closed
    assert " in <module>" in closed


def test_a_number_that_was_never_open_is_found(tmp_path: Path, trap: Path) -> None:
    said, (report,) = run(tmp_path, trap, "os.pread(4000, 1, 0)", before="")
    assert said == "9\n"
    assert report.startswith("== not open: 4000 ")


def test_what_is_opened_after_the_trap_is_gone_may_be_used(tmp_path: Path, trap: Path) -> None:
    again = "os.close(file)\nwhile os.open('file', os.O_RDWR) != file: pass"
    assert run(tmp_path, trap, "os.write(file, b'x')", before=again, TRAP_MS="1") == ("", [])


@pytest.mark.timeout(24 * 3600 if FULL else 1200)
def test_the_suites_spring_no_trap(tmp_path: Path) -> None:
    folder = builds.built("trap", tmp_path / "copy")
    options = ("-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "temporary"))
    said = builds.run(
        [sys.executable, "tests/trapping.py", *options, *(ALL if FULL else SOME)], folder, HMACFS_FULL="0"
    )
    assert "0 uses of closed numbers" in said
