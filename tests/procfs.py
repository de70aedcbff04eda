"""What the kernel tells of running processes."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

import trapping

KiB = 1024
_TICKS_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, its children's aside."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process that no file backs: other programs' starts and ends do not change it."""
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Anonymous:")


def rss_bytes(pid: int) -> int:
    """Return the memory that is resident for a process."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS:")


def descriptors(pid: int) -> dict[int, str]:
    """Return what a process has open, and on which numbers; what only keeps closed numbers occupied aside."""
    found = {}
    for number in os.listdir(folder := f"/proc/{pid}/fd"):  # noqa: PTH208 - there may be thousands, asked often
        with contextlib.suppress(FileNotFoundError):  # it was of this very listing, or was just closed
            if not (target := os.readlink(f"{folder}/{number}")).startswith(trapping.TRAP):  # noqa: PTH115
                found[int(number)] = target
    return found


def open_files(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(descriptors(pid))


def raise_open_files(wanted: int) -> None:
    """Let this process and its children open so many files; fails if the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        assert hard == resource.RLIM_INFINITY or hard >= wanted, f"ulimit -Hn is {hard}, needed {wanted}"
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def unnamed_sizes(pid: int, folder: Path) -> list[int]:
    """Return the sizes of files below `folder` that a process has open and that have no name."""
    sizes = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(fd.readlink())
            if target.startswith(f"{folder}/") and target.endswith(" (deleted)"):
                sizes.append(fd.stat().st_size)
    return sizes


def remote_ports(pid: int) -> set[int]:
    """Return the remote ports of a process's TCP connections."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(fd.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(line[2].rpartition(":")[2], 16) for line in lines if line[9] in inodes}


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * KiB
    raise AssertionError(f"{path} has no {name}")
