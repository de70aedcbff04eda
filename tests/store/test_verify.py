from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BODY = b"what was uploaded" * 1000


def same_times(path: Path, change: Callable[[Path], None]) -> None:
    """Change a file as a broken disk does: its modification time stays."""
    found = path.stat()
    change(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"\0")


def shorten(path: Path) -> None:
    os.truncate(path, len(BODY) - 1)


def verify(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hmacfs", "verify", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("change", "listed", "words"),
    [
        (None, "", "3 same, 0 different, 0 missing, 0 unknown, 0 unreadable"),
        (flip, "different\tupload/", "2 same, 1 different, 0 missing, 0 unknown, 0 unreadable"),
        (shorten, "different\tupload/", "2 same, 1 different, 0 missing, 0 unknown, 0 unreadable"),
    ],
)
def test_files_that_are_not_what_was_uploaded_are_listed(
    tmp_path: Path, change: Callable[[Path], None] | None, listed: str, words: str
) -> None:
    names = [serving.fresh() for _ in range(3)]
    with serving.running(tmp_path) as server:
        for name in names:
            assert server.put(name, BODY).status == 201
        if change is not None:
            same_times(server.storage / "upload" / names[1], change)
        done = verify(server.config)
    assert done.returncode == (1 if listed else 0)
    assert done.stdout == (f"{listed}{names[1]}\n" if listed else "")
    assert done.stderr.splitlines()[-1] == words


def test_what_cannot_be_compared_is_counted(tmp_path: Path) -> None:
    with serving.running(tmp_path) as server:
        gone, byhand = serving.fresh(), server.storage / "upload" / "put" / "here"
        assert server.put(gone, BODY).status == 201
        byhand.parent.mkdir()
        byhand.write_bytes(b"by hand")
        server.stop()
    (server.storage / "upload" / gone).unlink()
    with serving.start(tmp_path, server.config.read_text()) as server:
        server.wait_for("reconcile-done")
        done = verify(server.config)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == "0 same, 0 different, 1 missing, 1 unknown, 0 unreadable"
