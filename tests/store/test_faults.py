from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hmacfs import errors
from hmacfs.model import Dependency
from hmacfs.store import faults

if TYPE_CHECKING:
    from pathlib import Path

    from hmacfs.errors import Refusal


@pytest.mark.parametrize(
    ("number", "reading", "writing"),
    [
        (errno.ENOENT, errors.NOT_FOUND, errors.STORAGE_FAILED),
        (errno.ENOTDIR, errors.NOT_FOUND, errors.EXISTS),
        (errno.EEXIST, errors.STORAGE_FAILED, errors.EXISTS),
        (errno.EACCES, errors.NOT_FOUND, errors.STORAGE_FAILED),
        (errno.ELOOP, errors.NOT_FOUND, errors.NOT_FOUND),
        (errno.EXDEV, errors.NOT_FOUND, errors.STORAGE_FAILED),
        (errno.ENAMETOOLONG, errors.NAME_TOO_LONG, errors.NAME_TOO_LONG),
        (errno.ENOSPC, errors.STORAGE_FAILED, errors.DISK_FULL),
        (errno.EDQUOT, errors.STORAGE_FAILED, errors.DISK_FULL),
        (errno.EFBIG, errors.STORAGE_FAILED, errors.DISK_FULL),
        (errno.EMFILE, errors.BUSY, errors.BUSY),
        (errno.ENFILE, errors.BUSY, errors.BUSY),
        (errno.ENOMEM, errors.BUSY, errors.BUSY),
        (errno.EIO, errors.STORAGE_FAILED, errors.STORAGE_FAILED),
        (errno.EROFS, errors.STORAGE_FAILED, errors.STORAGE_FAILED),
        (errno.EBADF, errors.STORAGE_FAILED, errors.STORAGE_FAILED),
    ],
)
def test_what_the_system_says_becomes_a_refusal(number: int, reading: Refusal, writing: Refusal) -> None:
    error = OSError(number, "words", "/srv/secret/place")
    assert faults.reading(error).refusal is reading
    assert faults.writing(error).refusal is writing
    assert "secret" not in faults.reading(error).detail + faults.writing(error).detail


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.EROFS, errno.EUCLEAN, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT]
)
def test_what_says_that_the_storage_is_broken(number: int) -> None:
    assert faults.writing(OSError(number, "")).broken is Dependency.STORAGE
    assert faults.reading(OSError(number, "")).broken is None


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENAMETOOLONG, errno.EMFILE, errno.EBUSY]
)
def test_what_says_nothing_of_the_storage(number: int) -> None:
    assert faults.writing(OSError(number, "")).broken is None


def test_an_error_without_a_number_is_a_failure() -> None:
    assert faults.writing(OSError("words")).refusal is errors.STORAGE_FAILED


def sql_error(connection: sqlite3.Connection, statement: str) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as caught:
        connection.execute(statement)
    return caught.value


def test_what_the_index_says_becomes_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as one:
        one.execute("CREATE TABLE t (x)")
        one.execute("PRAGMA max_page_count = 2")
        full = sql_error(one, "INSERT INTO t VALUES (zeroblob(100000))")
        one.execute("BEGIN EXCLUSIVE")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            busy = sql_error(other, "BEGIN IMMEDIATE")
    path.write_bytes(b"no database" * 1000)
    with closing(sqlite3.connect(path)) as one:
        damaged = sql_error(one, "SELECT * FROM t")
    refused = [faults.indexing(error) for error in (full, busy, damaged, sqlite3.Error("x"))]
    assert [(one.refusal, one.broken) for one in refused] == [
        (errors.DISK_FULL, None),
        (errors.BUSY, Dependency.INDEX),
        (errors.STORAGE_FAILED, Dependency.INDEX),
        (errors.STORAGE_FAILED, None),
    ]
