"""Readiness of the storage, asked from outside the workers: no open store is needed.

It opens what a worker would open anew, by its path, and compares that with what the workers have open.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.store import index as indices
from hmacfs.store import indexes, start
from hmacfs.store.condition import index_path
from hmacfs.store.files import lent
from hmacfs.store.keys import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hmacfs.store.rules import Rules

_PROBE: Final = b"\0" * 4096
_PLACE: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# A file and the directory that is made for it.
NEEDED_INODES: Final = 2
ANSWER_S: Final = 5.0
"""A storage that takes longer to answer is not ready; the look at it goes on."""


class HealthCheck(NamedTuple):
    """One thing that was looked at."""

    name: str
    """Stable word, as "disk_margin" or "write_probe"."""
    fault: str
    """What is wrong; "" if nothing is."""
    downloads: bool = False
    """Whether downloads fail of it, too, and not uploads alone."""


class Directory(NamedTuple):
    """What stood at an endpoint's directory when the workers took it into use."""

    link: tuple[int, int] | None
    """Device and inode of what it leads to, if it is a link; None if it is none."""


class Health:
    """One storage, looked at whenever somebody asks."""

    def __init__(self, path: str, directories: Iterable[str]) -> None:
        """Take what is at `path` now for what the workers use. Raises OSError."""
        self._path = path
        self._root = _identity(path)
        self._homes: dict[str, Directory] = {}
        self._mounted: set[str] = set()  # endpoints' directories that were seen on a file system of their own
        self._lock = threading.Lock()
        self._under_way: Future[list[HealthCheck]] | None = None
        self.hold(directories)

    def hold(self, directories: Iterable[str]) -> None:
        """Take what is at the endpoints' directories now for what the workers use."""
        homes = {}
        for home in filter(None, directories):
            path = self._at(home)
            link = None
            if os.path.islink(path):  # noqa: PTH114 - text
                try:
                    link = _identity(path)
                except OSError:
                    link = (0, 0)
            homes[home] = Directory(link)
        self._homes = homes
        self._mounted = set()

    def check(self, rules: Rules, inodes: Sequence[tuple[int, ...]]) -> list[HealthCheck]:
        """Tell what could make uploads and downloads fail now; `inodes` are those of each worker's index.

        For any thread. A storage that hangs is told of as such, and asked once however many wait for it.
        """
        with self._lock:
            look = self._under_way
            if look is None or look.done():
                look = self._under_way = Future()
                threading.Thread(target=self._look, args=(look, rules, inodes), daemon=True).start()
        try:
            return look.result(ANSWER_S)
        except TimeoutError:
            words = f"{self._path} has not answered for {ANSWER_S:g} seconds"
            return [HealthCheck("storage_path", words, downloads=True)]

    def _look(
        self, answer: Future[list[HealthCheck]], rules: Rules, inodes: Sequence[tuple[int, ...]]
    ) -> None:
        try:
            answer.set_result(self.look(rules, inodes))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)

    def look(self, rules: Rules, inodes: Sequence[tuple[int, ...]]) -> list[HealthCheck]:
        """Do as `check`; blocks as long as the disk does."""
        places = [self._path, self._at(PRIVATE), *filter(os.path.exists, map(self._at, self._homes))]
        return [
            HealthCheck("storage_path", _told(self._path, self._storage), downloads=True),
            HealthCheck("directories", self._directories(), downloads=True),
            HealthCheck("disk_margin", _first(places, lambda path: _margin(path, rules.min_free_bytes))),
            HealthCheck("disk_inodes", _first(places, _inodes)),
            HealthCheck("write_probe", _first(places[1:], _write)),
            HealthCheck("index_files", self._index_files(inodes)),
        ]

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _storage(self, path: str) -> str:
        if _identity(path) != self._root:
            return f"another directory stands at {path} than the one in use: restart hmacfs"
        return _search(path)

    def _directories(self) -> str:
        """Say what is wrong with the first endpoint's directory with which anything is."""
        for home, was in self._homes.items():
            path = self._at(home)
            if words := _told(path, lambda path, was=was: _followed(path, was)):  # type: ignore[misc]
                return words
            if words := self._gone(home):
                return words
        return ""

    def _gone(self, home: str) -> str:
        """Say if the file system is gone that was mounted at an endpoint's directory."""
        path = self._at(home)
        try:
            device = os.stat(path).st_dev  # noqa: PTH116 - text
        except OSError:
            device = self._root[0]
        if device != self._root[0]:
            self._mounted.add(home)
        elif home in self._mounted:
            return f"the file system that was mounted at {path} is gone: mount it again, or reload hmacfs"
        return ""

    def _index_files(self, inodes: Sequence[tuple[int, ...]]) -> str:
        path = index_path(self._path)
        open_now = [own for own in inodes if any(own)]
        if not open_now:
            return ""  # the workers say themselves why they have none open
        for suffix, used in zip(indexes.SUFFIXES, zip(*open_now, strict=True), strict=True):
            try:
                inode = os.stat(path + suffix).st_ino  # noqa: PTH116 - text
            except OSError as error:
                return f"{path}{suffix}: {error.strerror}, while it is in use"
            if any(one != inode for one in used):
                return f"{path}{suffix} is another file than the one in use: restart hmacfs"
        return indices.fault(path, writing=True)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116 - text
    return found.st_dev, found.st_ino


def _told(path: str, look: Callable[[str], str]) -> str:
    try:
        return look(path)
    except FileNotFoundError as error:
        return f"{path}: {error.strerror}"
    except OSError as error:
        return f"{path}: {start.words(error)}"


def _first(paths: Iterable[str], look: Callable[[str], str]) -> str:
    return next(filter(None, (_told(path, look) for path in paths)), "")


def _followed(path: str, was: Directory) -> str:
    """Say whether a link stands here that the workers do not follow, and whether it can be searched."""
    if not os.path.lexists(path):
        return ""  # the first upload makes it
    is_link = os.path.islink(path)  # noqa: PTH114 - text
    if is_link and was.link is None:
        return f"{path} is a symbolic link that was put there since the start: reload or restart hmacfs"
    if is_link and was.link != _identity(path):
        return f"the symbolic link {path} leads elsewhere than when it was followed: reload or restart hmacfs"
    return _search(path)


def _search(path: str) -> str:
    with lent(os.open(path, _PLACE)) as fd:
        if os.access(".", os.X_OK, dir_fd=fd, effective_ids=True):
            return ""
    return f"{path} may not be searched by the server's user (uid {os.geteuid()})"


def _margin(path: str, min_free_bytes: int) -> str:
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if free >= min_free_bytes:
        return ""
    return f"{path}: {free} bytes are free, less than the {min_free_bytes} to be kept"


def _inodes(path: str) -> str:
    room = os.statvfs(path)
    if not room.f_files or room.f_favail >= NEEDED_INODES:
        return ""
    return f"{path}: {room.f_favail} inodes are free, too few for an upload"


def _write(path: str) -> str:
    fd = os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Not synced: readiness is asked every few seconds, and must not tax the disk. Space is
        # what runs out; a disk that fails shows itself in the uploads' own answers.
        os.pwrite(fd, _PROBE, 0)
    finally:
        os.close(fd)
    return ""
