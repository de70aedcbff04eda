"""What is known of clients: what workers share, what is forgotten, and that damage costs no more."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from hmacfs.store import profile_database
from hmacfs.store.profile_database import ProfileDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hmacfs.store.profile_database import News

NOW = 1_700_000_000.0


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / ".hmacfs").mkdir()
    return tmp_path


@contextlib.contextmanager
def opened(storage: Path, count: int, most: int = 100) -> Iterator[list[ProfileDatabase]]:
    found = [ProfileDatabase(str(storage), most) for _ in range(count)]
    yield found
    for one in found:
        one.close()


def exchange(
    one: ProfileDatabase, *keys: bytes, since: int = 0, now: float = NOW, keep_s: float = 60.0
) -> News:
    return one.exchange(
        keys,
        lambda _key, text: f"{text or ''}+",
        since=since,
        now=now,
        forget_before=now - keep_s,
    )


def test_what_one_brings_the_other_reads_and_adds_to(storage: Path) -> None:
    with opened(storage, 2) as (one, other):
        first = exchange(one, b"a", b"b")
        assert dict(first.rows) == {b"a": "+", b"b": "+"}
        second = exchange(other, b"a")
        assert dict(second.rows) == {b"a": "++", b"b": "+"}
        assert exchange(one, since=first.version).rows == [(b"a", "++")]
        assert exchange(one, since=second.version).rows == []


def test_what_was_written_last_comes_first(storage: Path) -> None:
    with opened(storage, 1) as (one,):
        assert [key for key, _ in exchange(one, b"a", b"b", b"c").rows] == [b"c", b"b", b"a"]


def test_it_survives_a_restart(storage: Path) -> None:
    with opened(storage, 1) as (one,):
        exchange(one, b"a")
    with opened(storage, 1) as (again,):
        assert exchange(again).rows == [(b"a", "+")]


def test_who_is_not_seen_for_long_is_forgotten(storage: Path) -> None:
    with opened(storage, 1) as (one,):
        exchange(one, b"a", b"b")
        later = exchange(one, b"c", now=NOW + 61)
        assert later.rows == [(b"c", "+")]
        # The last one stays as long as there is no other, or versions would begin anew.
        last = exchange(one, now=NOW + 1000)
        assert last.version == later.version
        assert exchange(one, b"d", now=NOW + 1000).version > later.version


def test_no_more_are_kept_than_there_may_be(storage: Path) -> None:
    with opened(storage, 1, most=10) as (one,):
        for number in range(25):
            exchange(one, b"%d" % number)
        assert [key for key, _ in exchange(one).rows] == [b"%d" % n for n in range(24, 14, -1)]


@pytest.mark.parametrize(
    "content", [b"", b"not a database at all, but long enough" * 100, b"SQLite format 3\0"]
)
def test_a_damaged_file_is_begun_anew(storage: Path, content: bytes) -> None:
    (storage / ".hmacfs" / profile_database.NAME).write_bytes(content)
    with opened(storage, 2) as (one, other):
        exchange(one, b"a")
        assert exchange(other, b"b").rows == [(b"b", "+"), (b"a", "+")]


def test_a_file_that_is_damaged_while_in_use_is_begun_anew_once(storage: Path) -> None:
    with opened(storage, 2) as (one, other):
        for number in range(100):
            exchange(one, *(b"%d-%d" % (number, n) for n in range(5)))
        seen = exchange(other)
        with contextlib.closing(sqlite3.connect(storage / ".hmacfs" / profile_database.NAME)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file = storage / ".hmacfs" / profile_database.NAME
        file.write_bytes(file.read_bytes()[:4096] + b"\xa5" * (file.stat().st_size - 4096))
        for damaged in (one, other):
            with pytest.raises(sqlite3.DatabaseError):
                exchange(damaged, b"x", since=seen.version)
        assert exchange(one, b"a").rows == [(b"a", "+")]
        assert exchange(other, b"b", since=seen.version).rows == [(b"b", "+"), (b"a", "+")]


def test_a_file_of_another_release_is_begun_anew(storage: Path) -> None:
    with contextlib.closing(sqlite3.connect(storage / ".hmacfs" / profile_database.NAME)) as connection:
        connection.execute("CREATE TABLE client (something)")
        connection.execute("PRAGMA user_version = 99")
    with opened(storage, 1) as (one,):
        assert exchange(one, b"a").rows == [(b"a", "+")]


def test_a_file_that_is_busy_says_so_and_is_none_the_worse(storage: Path) -> None:
    with opened(storage, 2) as (one, other):
        exchange(one, b"a")
        with contextlib.closing(
            sqlite3.connect(storage / ".hmacfs" / profile_database.NAME, isolation_level=None)
        ) as rival:
            rival.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError):
                exchange(one, b"a")
            rival.execute("ROLLBACK")
        assert exchange(other, b"a").rows == [(b"a", "++")]


def test_without_its_directory_it_says_so(tmp_path: Path) -> None:
    with opened(tmp_path / "nowhere", 1) as (one,), pytest.raises(sqlite3.OperationalError):
        exchange(one, b"a")
