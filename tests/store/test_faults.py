from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hmacfs import errors
from hmacfs.model import Dependency
from hmacfs.store import faults

if TYPE_CHECKING:
    from pathlib import Path


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
