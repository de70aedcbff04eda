"""Readiness of the storage, asked from outside: plain functions, no open store needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.store.files import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable

_PROBE: Final = b"\0" * 4096


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    """Stable word: "disk_margin", "write_probe"."""
    fault: str
    """What is wrong; "" if nothing is."""


def check(path: str, min_free_bytes: int) -> list[Check]:
    """Tell whether uploads into the storage at `path` could succeed now. Blocks as long as the disk does."""
    return [
        Check("disk_margin", _told(lambda: _margin(path, min_free_bytes))),
        Check("write_probe", _told(lambda: _write(path))),
    ]


def _told(look: Callable[[], str]) -> str:
    try:
        return look()
    except OSError as error:
        return error.strerror or str(error)


def _margin(path: str, min_free_bytes: int) -> str:
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if free >= min_free_bytes:
        return ""
    return f"{free} bytes are free, less than the {min_free_bytes} to be kept"


def _write(path: str) -> str:
    fd = os.open(Path(path, PRIVATE), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Not synced: readiness is asked every few seconds, and must not tax the disk. Space is
        # what runs out; a disk that fails shows itself in the uploads' own answers.
        os.pwrite(fd, _PROBE, 0)
    finally:
        os.close(fd)
    return ""
