"""Real filesystems for tests: small ones that become full, and ones whose power can be cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
# ioctl_xfs_goingdown(2); ext4 has the same. Without a flush of the log nothing reaches the disk
# any more that no sync has brought there before: what a power cut does.
FS_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
CHECKS = {"ext4": ("e2fsck", "-fn"), "xfs": ("xfs_repair", "-n")}


@dataclass(frozen=True)
class Disk:
    """A filesystem in an image file, to be mounted at `place`."""

    kind: str
    image: Path
    place: Path

    def mount(self) -> None:
        """Mount it; a filesystem that was cut off recovers from its journal now."""
        run("mount", "-t", self.kind, "-o", "loop", str(self.image), str(self.place))

    def cut(self) -> None:
        """Cut the power: from now on every access fails, and what is in the cache is lost."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(fd)

    def umount(self) -> None:
        """Take it off."""
        umount(self.place)

    def check(self) -> None:
        """Fail if the unmounted filesystem is not sound."""
        run(*CHECKS[self.kind], str(self.image))


def run(program: str, *arguments: str) -> None:
    """Run an administrator's program; fail with its words."""
    path = shutil.which(program, path=SBIN)
    assert path is not None, program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


def umount(place: Path) -> None:
    """Unmount `place`, which may be busy as long as the last killed process lets go of it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            run("umount", str(place))
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        else:
            return


@contextlib.contextmanager
def image(where: Path, size_bytes: int, kind: str = "ext4", options: tuple[str, ...] = ()) -> Iterator[Disk]:
    """Make a disk below `where`, unmounted; whatever is still mounted at the end is taken off."""
    place = where / "store"
    place.mkdir()
    disk = Disk(kind, where / "disk.img", place)
    with disk.image.open("wb") as file:
        file.truncate(size_bytes)
    run(f"mkfs.{kind}", "-q", *options, str(disk.image))
    try:
        yield disk
    finally:
        if place.is_mount():
            umount(place)
        disk.image.unlink()


@contextlib.contextmanager
def tmpfs(where: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs of its own at `where`/store."""
    place = where / "store"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", options, "none", str(place))
    try:
        yield place
    finally:
        umount(place)
