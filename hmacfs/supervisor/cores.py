"""How many cores this process may use: those it may run on, and no more than its control groups pay for.

Sources: cgroups(7), cpuset(7), sched(7), the kernel's admin-guide/cgroup-v2 (cpu.max), scheduler/sched-bwc.
What the files say comes as text, so that no rule below needs a machine that has them.
"""

from __future__ import annotations

import math
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONTROLLER: Final = "cpu"


class _Mount(NamedTuple):
    """Where a hierarchy of control groups is mounted."""

    root: str
    """The group that is seen at `point`: a container sees its own as "/", or only a part."""
    point: str
    version: int


def usable() -> int:
    """Return how many cores this process may use now, at least one."""
    return count(
        len(os.sched_getaffinity(0)),
        _text("/proc/self/cgroup") or "",
        _text("/proc/self/mountinfo") or "",
        _text,
    )


def count(affinity: int, groups: str, mounts: str, read: Callable[[str], str | None]) -> int:
    """Return how many of `affinity` cores the quotas leave, rounded up: half a core is one worker's.

    `groups` is /proc/self/cgroup, `mounts` /proc/self/mountinfo; `read` returns a file's text, None if there
    is no such file. Of the groups above a process each limits it too.
    """
    found = (_quota(path, version, read) for path, version in _directories(groups, mounts))
    least = min((quota for quota in found if quota is not None), default=float(affinity))
    return max(1, min(affinity, math.ceil(least)))


def _directories(groups: str, mounts: str) -> Iterator[tuple[str, int]]:
    """Yield each directory that may hold a quota of this process, and which version's it is."""
    hierarchies = list(_mounts(mounts))
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and _CONTROLLER not in controllers.split(","):
            continue
        for mount in hierarchies:
            if mount.version == version:
                yield from ((path, version) for path in _upwards(mount, group))


def _upwards(mount: _Mount, group: str) -> Iterator[str]:
    """Yield the directory of a group and of those above it, as far as they are seen."""
    # Without a namespace of its own a container is told a path that it does not see: its mount is its group.
    inside = posixpath.relpath(group, mount.root) if _below(group, mount.root) else "."
    path = posixpath.normpath(posixpath.join(mount.point, inside))
    while _below(path, mount.point):
        yield path
        if path == mount.point:
            return
        path = posixpath.dirname(path)


def _below(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")


def _mounts(text: str) -> Iterator[_Mount]:
    """Yield the hierarchies that hold the CPU's quota, of proc_pid_mountinfo(5)."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or not kind:  # noqa: PLR2004 - root and mount point are the fourth and fifth
            continue
        if kind[0] == "cgroup2":
            yield _Mount(fields[3], fields[4], 2)
        elif kind[0] == "cgroup" and _CONTROLLER in kind[-1].split(","):
            yield _Mount(fields[3], fields[4], 1)


def _quota(path: str, version: int, read: Callable[[str], str | None]) -> float | None:
    """Return the cores that the group at `path` may use, None if it is not limited."""
    if version == 1:
        quota, period = read(f"{path}/cpu.cfs_quota_us"), read(f"{path}/cpu.cfs_period_us")
        fields = [*(quota or "").split(), *(period or "").split()]
    else:
        fields = (read(f"{path}/cpu.max") or "").split()
    if len(fields) != 2 or not all(field.isascii() and field.isdigit() for field in fields):  # noqa: PLR2004 - both
        return None  # "max", or -1 in version 1
    quota_us, period_us = map(int, fields)
    return quota_us / period_us if quota_us and period_us else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
