"""Readiness tells the truth: a table of broken surroundings, at the start and while the server runs.

In each, readiness is red with the reason as soon as uploads or downloads fail of it, tells which of the two,
and is green again, without a restart, once it is mended (where it can be).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import disks
import pytest
import serving
from serving import until

from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("administrator")]

BODY = bytes(range(256)) * 16
# As root, but without root's right to pass over permissions.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def checks(server: serving.Server) -> dict[str, str]:
    """Return what readiness says: of each check that fails its words, "" of the others."""
    status, told = server.operate("/readyz?verbose")
    found = {}
    for line in told.decode().splitlines()[:-1]:
        mark, _, rest = line.partition("]")
        name, _, words = rest.partition(" ")
        found[name] = words if mark == "[-" else ""
    assert (status == 200) == (not any(found.values())), told
    return found


def put(server: serving.Server) -> int:
    return server.put(serving.fresh(), BODY).status


def index(server: serving.Server, suffix: str = "") -> Path:
    return server.storage / f".hmacfs/index.db{suffix}"


@dataclass(frozen=True)
class Break:
    """One way in which the surroundings break."""

    name: str
    make: Callable[[serving.Server], Callable[[], object] | None]
    """Break them; give what mends them, None if that takes a restart."""
    check: str
    """The check that fails."""
    words: str
    """What its words hold."""
    uploads: frozenset[int] = frozenset({503})
    """How uploads are answered; empty: that may be as it will."""
    downloads: bool = False
    """Whether readiness says that downloads fail, too."""
    get: int = 200
    """How a file of before is answered; 0: not at all."""
    ready: bool = True
    """Whether it can be mended while the server runs."""
    barred: bool = False
    """Whether each worker is to notice it by itself, within seconds and without an upload."""


def removed(*suffixes: str) -> Callable[[serving.Server], Callable[[], object]]:
    """Move files of the index away."""

    def make(server: serving.Server) -> Callable[[], object]:
        aside = server.storage.parent / "aside"
        aside.mkdir()
        for suffix in suffixes:
            shutil.copy(index(server, suffix), aside)  # an unlinked file cannot be put back
        paths = [index(server, suffix) for suffix in suffixes]
        for path in paths:
            path.rename(aside / f"{path.name}.real")

        def mend() -> None:
            for path in paths:
                (aside / f"{path.name}.real").rename(path)

        return mend

    return make


def replaced(suffix: str) -> Callable[[serving.Server], Callable[[], object]]:
    """Put a copy in the place of a file of the index."""

    def make(server: serving.Server) -> Callable[[], object]:
        path, aside = index(server, suffix), server.storage.parent / "real"
        path.rename(aside)
        shutil.copy(aside, path)
        return lambda: aside.rename(path)

    return make


def written(suffix: str, start: int, data: bytes) -> Callable[[serving.Server], None]:
    def make(server: serving.Server) -> None:
        with index(server, suffix).open("r+b") as file:
            file.seek(start)
            file.write(data)

    return make


def cut(suffix: str) -> Callable[[serving.Server], None]:
    def make(server: serving.Server) -> None:
        os.truncate(index(server, suffix), 0)

    return make


def moved(
    name: str, *, leave: Callable[[Path], object] = lambda _: None
) -> Callable[..., Callable[[], object]]:
    """Move a directory away, and `leave` something in its place."""

    def make(server: serving.Server) -> Callable[[], object]:
        path = server.storage / name if name else server.storage
        aside = server.storage.parent / "moved"
        path.rename(aside)
        leave(path)

        def mend() -> None:
            if path.is_symlink():
                path.unlink()
            elif path.exists():
                shutil.rmtree(path)
            aside.rename(path)

        return mend

    return make


def mounted(*options: str) -> Callable[[serving.Server], Callable[[], object]]:
    """Mount another file system at the endpoint's directory."""

    def make(server: serving.Server) -> Callable[[], object]:
        place = server.storage / "upload"
        disks.run("mount", *options, "none", str(place))

        def mend() -> None:
            disks.umount(place)
            server.signal(signal.SIGHUP)  # it should be so

        return mend

    return make


def mode(name: str, bits: int) -> Callable[[serving.Server], Callable[[], object]]:
    def make(server: serving.Server) -> Callable[[], object]:
        path = server.storage / name
        before = path.stat().st_mode
        path.chmod(bits)
        return lambda: path.chmod(before)

    return make


def stopped(server: serving.Server) -> Callable[[], object]:
    (worker,) = server.workers
    os.kill(worker, signal.SIGSTOP)
    return lambda: os.kill(worker, signal.SIGCONT)


def filled(server: serving.Server) -> Callable[[], object]:
    filler = server.storage / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(MiB // 4))
    return filler.unlink


def without_inodes(server: serving.Server) -> Callable[[], object]:
    place = server.storage / "many"
    place.mkdir()
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (place / str(number)).touch()
    return lambda: shutil.rmtree(place)


def locked(server: serving.Server) -> Callable[[], object]:
    outsider = sqlite3.connect(index(server), isolation_level=None, check_same_thread=False)
    outsider.execute("BEGIN IMMEDIATE")
    return outsider.close


FULL = frozenset({507})
FAILED = frozenset({500, 503})
OVER = written("", 0, b"no database" * 1000)
PAGE = written("", 100, b"\xff" * 3996)
ANOTHER = moved("", leave=Path.mkdir)
LINK = moved("upload", leave=lambda path: path.symlink_to("../moved"))
BREAKS = [
    Break("index removed", removed("", "-wal", "-shm"), "index_files", "index.db", barred=True),
    Break("log of the index removed", removed("-wal"), "index_files", "index.db-wal", barred=True),
    Break("shared memory removed", removed("-shm"), "index_files", "index.db-shm", barred=True),
    Break("index replaced", replaced(""), "index_files", "another file", barred=True),
    Break("log of the index replaced", replaced("-wal"), "index_files", "another file", barred=True),
    Break("shared memory replaced", replaced("-shm"), "index_files", "another file", barred=True),
    Break("index cut", cut(""), "index_files", "", ready=False, barred=True),
    Break("index overwritten", OVER, "index_files", "damaged", ready=False, barred=True),
    Break("first page overwritten", PAGE, "index_files", "damaged", ready=False, barred=True),
    Break("index locked", locked, "index_files", "locked by another program"),
    Break("private directory moved", moved(".hmacfs"), "write_probe", "No such file", barred=True),
    Break("private one replaced", moved(".hmacfs", leave=Path.mkdir), "index_files", "index.db", barred=True),
    Break("unfinished uploads moved", moved(".hmacfs/uploads"), "uploads_barred", "removed", barred=True),
    Break("storage moved", moved(""), "storage_path", "No such file", downloads=True, barred=True),
    Break(
        "storage replaced",
        moved("", leave=Path.mkdir),
        "storage_path",
        "restart",
        downloads=True,
        barred=True,
    ),
    Break("a link", LINK, "directories", "symbolic link", frozenset({404}), downloads=True, get=404),
    Break("read-only", mounted("-t", "tmpfs", "-o", "ro"), "write_probe", "upload", FAILED, get=404),
    Break("a full disk", mounted("-t", "tmpfs", "-o", "size=64k"), "disk_margin", "upload", FULL, get=404),
    Break("no unnamed files", mounted("-t", "proc"), "write_probe", "upload", FAILED, get=404),
    Break(
        "not searchable", mode("upload", 0o600), "directories", "searched", FAILED, downloads=True, get=404
    ),
    Break("not writable", mode("upload", 0o500), "write_probe", "upload: Permission denied", FAILED),
    Break("private one not writable", mode(".hmacfs", 0o500), "write_probe", ".hmacfs", frozenset()),
    Break("disk full", filled, "disk_margin", "bytes are free", FULL),
    Break("no inodes", without_inodes, "disk_inodes", "inodes are free", FULL),
    Break("worker stopped", stopped, "workers", "do not answer", frozenset(), downloads=True, get=0),
]


@pytest.fixture
def server(tmp_path: Path, program: Callable[[str], str]) -> Iterator[serving.Server]:
    """Run a server on a small disk of its own."""
    rights = (program(WITHOUT_RIGHTS[0]), *WITHOUT_RIGHTS[1:])
    with disks.tmpfs(tmp_path, "size=32m,nr_inodes=2000") as place:
        inner = place / "store"
        inner.mkdir()
        with serving.start(place, serving.configuration(inner), wrap=rights) as running:
            yield running


@pytest.mark.parametrize("row", BREAKS, ids=lambda row: row.name)
def test_what_breaks_under_a_server_turns_readiness_red(server: serving.Server, row: Break) -> None:
    kept = serving.fresh()
    assert server.put(kept, BODY).status == 201
    assert server.get(kept).body == BODY
    until(lambda: not any(checks(server).values()))
    mend = row.make(server)
    try:
        until(lambda: row.words in checks(server)[row.check] != "", row)
        if row.barred:
            server.wait_for("uploads-barred")
        told = checks(server)
        assert told["uploads"]
        assert row.check in told["uploads"]
        assert bool(told["downloads"]) == row.downloads
        if row.uploads:
            until(lambda: put(server) in row.uploads, row)
        if row.get:
            until(lambda: server.get(kept).status == row.get, row)  # it may be held in memory for a second
            assert (server.get(kept).body == BODY) == (row.get == 200)
    finally:
        if mend is not None:
            mend()
    if not row.ready:
        return
    until(lambda: not any(checks(server).values()))
    until(lambda: put(server) == 201)
    assert server.get(kept).body == BODY
    assert server.stop() == 0


def test_a_log_of_the_index_that_is_cut_is_noticed(server: serving.Server) -> None:
    """What is lost of it may be written anew by the next rows: then all of it is read, and it is sound."""
    assert put(server) == 201
    cut("-wal")(server)
    assert "index.db" in server.wait_for("uploads-barred")["error"]


def test_a_shared_memory_that_is_cut_ends_in_a_sound_server(server: serving.Server) -> None:
    """Whoever reads what is mapped and not there is killed (mmap(2)); the next worker makes it anew."""
    kept = serving.fresh()
    server.provoked.add("worker-died")
    assert server.put(kept, BODY).status == 201
    cut("-shm")(server)

    def stored() -> bool:
        try:
            return put(server) == 201
        except (OSError, EOFError):
            return False

    until(lambda: stored() and not any(checks(server).values()))
    assert server.get(kept).body == BODY


def test_a_disk_that_is_mounted_later_is_used(server: serving.Server) -> None:
    """Without a word to the server; and if it goes, that is told."""
    old, new = serving.fresh(), serving.fresh()
    assert server.put(old, BODY).status == 201
    place = server.storage / "upload"
    disks.run("mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place))
    try:
        assert server.put(new, BODY).status == 201
        assert server.get(new).body == BODY
        assert (server.storage / "upload" / new).stat().st_dev != server.storage.stat().st_dev
        assert not any(checks(server).values())
    finally:
        disks.umount(place)
    assert "is gone: mount it again" in checks(server)["directories"]
    assert checks(server)["downloads"]
    assert server.get(old).body == BODY


def test_an_upload_under_way_goes_on_the_disk_that_is_mounted_meanwhile(server: serving.Server) -> None:
    rel = serving.fresh()
    assert put(server) == 201
    fields = {"Content-Type": "application/octet-stream", "Expect": "100-continue"}
    with server.connect() as sock:
        sock.sendall(serving.head("PUT", serving.signed(rel, len(BODY)), fields, len(BODY)))
        assert serving.read_answer(sock).status == 100
        unmount = mounted("-t", "tmpfs", "-o", "size=8m")(server)
        try:
            sock.sendall(BODY)
            assert serving.read_answer(sock).status == 201
            assert server.get(rel).body == BODY
            assert (server.storage / "upload" / rel).read_bytes() == BODY
        finally:
            unmount()


@dataclass(frozen=True)
class Start:
    """One way in which the surroundings are broken as a server starts."""

    name: str
    make: Callable[[Path], Callable[[], object]]
    """Break the storage; give what mends it."""
    words: str
    """What readiness says."""
    uploads: int = 503


def remounted(storage: Path) -> Callable[[], object]:
    disks.run("mount", "-o", "remount,ro", str(storage.parent))
    return lambda: disks.run("mount", "-o", "remount,rw", str(storage.parent))


def full(storage: Path) -> Callable[[], object]:
    filler = storage / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler.unlink


def no_inodes(storage: Path) -> Callable[[], object]:
    shutil.rmtree(storage / ".hmacfs/uploads")  # so that something must be made
    (storage / "many").mkdir()
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (storage / "many" / str(number)).touch()
    return lambda: shutil.rmtree(storage / "many")


def damaged(start: int, data: bytes) -> Callable[[Path], Callable[[], object]]:
    def make(storage: Path) -> Callable[[], object]:
        path = storage / ".hmacfs/index.db"
        with path.open("r+b") as file:
            file.seek(start)
            file.write(data)
        return lambda: [one.rename(storage / one.name) for one in path.parent.glob("index.db*")]

    return make


def newer(storage: Path) -> Callable[[], object]:
    def set_version(version: int) -> None:
        with contextlib.closing(sqlite3.connect(storage / ".hmacfs/index.db")) as connection:
            connection.execute(f"PRAGMA user_version = {version}")

    set_version(99)
    return lambda: set_version(2)


def no_file(storage: Path) -> Callable[[], object]:
    path = storage / ".hmacfs/index.db"
    aside = storage / "aside"
    path.rename(aside)
    path.mkdir()

    def mend() -> None:
        path.rmdir()
        aside.rename(path)

    return mend


def forbidden(name: str, bits: int) -> Callable[[Path], Callable[[], object]]:
    def make(storage: Path) -> Callable[[], object]:
        path = storage / name
        before = path.stat().st_mode
        path.chmod(bits)
        return lambda: path.chmod(before)

    return make


STARTS = [
    Start("read-only", remounted, "mount it for writing"),
    Start("full", full, "bytes are free", 507),
    Start("no inodes", no_inodes, "inodes", 507),
    Start("another file for an index", damaged(0, b"no database" * 1000), "aside"),
    Start("a damaged head", damaged(16, bytes(84)), "aside"),
    Start("a damaged first page", damaged(100, b"\xff" * 3996), "aside"),
    Start("an index of a newer release", newer, "version 99"),
    Start("a directory for an index", no_file, "cannot be opened"),
    Start("an index without rights", forbidden(".hmacfs/index.db", 0), "cannot be opened"),
    Start("a lock without rights", forbidden(".hmacfs/open.lock", 0), "Permission denied"),
    Start("unfinished uploads without rights", forbidden(".hmacfs/uploads", 0), "Permission denied"),
    Start("an endpoint's directory without rights", forbidden("upload", 0o500), "Permission denied"),
]


@pytest.mark.parametrize("row", STARTS, ids=lambda row: row.name)
def test_files_are_served_whatever_keeps_uploads_away(
    tmp_path: Path, program: Callable[[str], str], row: Start
) -> None:
    """And uploads are taken as soon as they can be, without a restart."""
    rights = (program(WITHOUT_RIGHTS[0]), *WITHOUT_RIGHTS[1:])
    kept = serving.fresh()
    with disks.tmpfs(tmp_path, "size=8m,nr_inodes=2000") as place:
        storage = place / "store"
        storage.mkdir()
        text = serving.configuration(storage)
        with serving.start(tmp_path, text) as server:
            server.storage = storage
            assert server.put(kept, BODY, "text/plain").status == 201
            assert server.stop() == 0
        mend = row.make(storage)
        try:
            with serving.start(tmp_path, text, wrap=rights, provokes={"uploads-barred"}) as server:
                server.storage = storage
                until(lambda: any(row.words in words for words in checks(server).values()), row)
                assert checks(server)["uploads"]
                assert not checks(server)["downloads"]
                answer = server.get(kept)
                assert (answer.status, answer.body) == (200, BODY)
                until(lambda: put(server) == row.uploads, row)
                mend()
                until(lambda: not any(checks(server).values()))
                until(lambda: put(server) == 201)
                assert server.get(kept).body == BODY
                assert server.stop() == 0
        finally:
            disks.run("mount", "-o", "remount,rw", str(place))
