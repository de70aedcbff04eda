from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import children
import pytest
from storage import rules

from hmacfs.model import Durability
from hmacfs.store import StorageError, Store, health, schema
from hmacfs.store.index import Index

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def test_missing_directories_are_made(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "a/b"), rules()).close()
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o750


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/self", "cannot be used"),
        ("/proc/none", "No such file"),
        ("/etc/hostname/below", "Not a directory|File exists"),
    ],
)
def test_a_path_that_cannot_hold_a_store_says_so(path: str, words: str) -> None:
    with pytest.raises(StorageError, match=words):
        Store.open(path, rules())


@pytest.mark.usefixtures("no_fd_leak")
def test_storage_without_upper_and_lower_case_is_refused(root: Path) -> None:
    (root / ".HMACFS").mkdir(parents=True)  # as if ".hmacfs" answered to this name
    with pytest.raises(StorageError, match="upper from lower case"):
        Store.open(str(root), rules())


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize(
    ("call", "below", "words"),
    [
        ("openat:error=EMFILE:when=1", "/.hmacfs", "Too many open files"),
        ("openat:error=EOPNOTSUPP:when=2", "/.hmacfs", "O_TMPFILE.*use ext4"),
        ("linkat:error=EXDEV", "/.hmacfs", "linkat"),
        ("fallocate:error=EIO", None, "(filesystem|mounted on).*fallocate"),
        ("openat2:error=ENOSYS", "", "Linux 5.6.*openat2"),
        ("openat2:error=EPERM", "", "sandbox forbids openat2.*RestrictSUIDSGID.*DynamicUser.*seccomp"),
        ("openat:error=EPERM:when=2", "/.hmacfs", "sandbox forbids openat with O_TMPFILE.*seccomp"),
        ("linkat:error=EPERM", "/.hmacfs", "sandbox forbids linkat.*seccomp"),
        ("fallocate:error=EPERM", None, "sandbox forbids fallocate.*seccomp"),
        ("ftruncate:error=EPERM", None, "sandbox forbids ftruncate.*seccomp"),
        ("utimensat:error=EPERM", None, "sandbox forbids utimensat.*seccomp"),
        ("/^rename:error=EPERM", None, "sandbox forbids rename.*seccomp"),
        ("fsync:error=EPERM", None, "sandbox forbids fsync.*seccomp"),
        ("/^unlink:error=EPERM", None, "sandbox forbids unlink.*seccomp"),
        ("fchmod:error=EPERM", None, "^\n"),  # nothing is wrong with any mode
    ],
)
def test_a_system_that_lacks_something_is_named(
    tmp_path: Path, program: Callable[[str], str], call: str, below: str | None, words: str
) -> None:
    path = str(tmp_path / "storage")
    Path(path).mkdir()
    Path(path).chmod(0o2750)  # as for a web server's group
    Store.open(path, rules()).close()
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import storage\n"
        "from hmacfs.store import Store, StorageError\n"
        "try:\n"
        "    print(Store.open(sys.argv[3], storage.rules()).fault)\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    # Only calls that touch this path fail, not those of the interpreter's own start.
    only = [] if below is None else ["-P", path + below]
    inject = ["-e", f"inject={call}", *only]
    ran = subprocess.run(
        [
            program("strace"),
            "-f",
            "-o",
            "/dev/null",
            *inject,
            sys.executable,
            "-c",
            code,
            ROOT,
            ROOT / "tests",
            path,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(words, ran.stdout)


@pytest.mark.usefixtures("no_fd_leak")
def test_a_damaged_index_says_what_to_do(root: Path) -> None:
    Store.open(str(root), rules()).close()
    (root / ".hmacfs/index.db").write_bytes(b"this is no database" * 1000)
    store = Store.open(str(root), rules())
    assert re.search(r"damaged.*move index\.db, index\.db-wal and index\.db-shm aside", store.fault)
    (root / ".hmacfs/index.db").rename(root / "aside")
    asyncio.run(attend_until_well(store))
    store.close()


async def attend_until_well(store: Store) -> None:
    while store.fault:
        await store.attend()


@pytest.mark.usefixtures("no_fd_leak")
def test_an_index_of_a_newer_version_is_left_alone(root: Path) -> None:
    Store.open(str(root), rules()).close()
    with closing(sqlite3.connect(root / ".hmacfs/index.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    store = Store.open(str(root), rules())
    assert "version 99" in store.fault
    store.close()


@pytest.mark.usefixtures("no_fd_leak")
def test_an_index_of_the_first_version_keeps_its_rows(root: Path) -> None:
    (root / ".hmacfs").mkdir(parents=True)
    with closing(sqlite3.connect(root / ".hmacfs/index.db", isolation_level=None)) as connection:
        for statement in schema.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO file VALUES ('upload/a/b', 5, 3, 'text/x', 'me', x'0102', 7.5, 9.5)")
    Store.open(str(root), rules()).close()
    with closing(Index.open(str(root / ".hmacfs/index.db"), Durability.FULL)) as index:
        old = index.lookup("upload/a/b", 5)
        assert old is not None
        assert (old.size, old.content_type, old.owner, old.digest) == (3, "text/x", "me", b"\1\2")
        assert (old.created, old.expires, old.sha256) == (7.5, 9.5, None)
        new = dataclasses.replace(old, mtime_ns=6, sha256=b"\3")
        assert index.add([old, new]) == [False, True]
        assert index.lookup("upload/a/b", 6) == new


@pytest.mark.usefixtures("no_fd_leak")
def test_an_index_that_another_program_holds_says_so(root: Path) -> None:
    Store.open(str(root), rules()).close()
    path = root / ".hmacfs/index.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked by another program"):
            Index.open(str(path), Durability.FULL, busy_timeout_s=0.05)


@pytest.mark.parametrize(("durability", "level"), [(Durability.FULL, 2), (Durability.RELAXED, 1)])
def test_the_index_is_synced_as_promised(root: Path, durability: Durability, level: int) -> None:
    store = Store.open(str(root), rules(durability=durability))
    store._uploads.publisher._writer.submit(int).result()  # it has taken the connection over
    connection = store._uploads.publisher._index._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_many_workers_open_a_new_storage_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "import storage\n"
        "from hmacfs.store import Store\n"
        "sys.stdin.read()\n"
        "Store.open(sys.argv[3], storage.rules()).close()\n"
    )
    arguments = [sys.executable, "-c", code, str(ROOT), str(ROOT / "tests"), str(tmp_path / "new")]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(children.running(arguments, text=True, **pipes)) for _ in range(4)]
        for worker in workers:
            worker.stdin.close()
            worker.stdin = None
        outcomes = [(worker.communicate()[1], worker.returncode) for worker in workers]
    assert outcomes == [("", 0)] * 4


def faults_of(root: Path, margin: int = 0) -> dict[str, str]:
    """Return what is wrong with a storage, by the name of the check."""
    look = health.Health(str(root), ["upload"]).check(rules(min_free=margin), [])
    return {check.name: check.fault for check in look if check.fault}


@pytest.mark.usefixtures("no_fd_leak")
def test_readiness_is_told_from_outside(root: Path) -> None:
    Store.open(str(root), rules()).close()
    assert faults_of(root) == {}
    assert "bytes are free, less than the" in faults_of(root, 2**62)["disk_margin"]
    looked = health.Health(str(root), [])
    root.rename(root.with_name("aside"))
    assert {check.name for check in looked.check(rules(), []) if check.fault} >= {
        "storage_path",
        "disk_margin",
        "write_probe",
    }


def test_a_full_disk_is_not_ready(small_disk: Path) -> None:
    Store.open(str(small_disk), rules()).close()
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "fill").write_bytes(b"x" * 2**24)
    assert list(faults_of(small_disk)) == ["write_probe"]
