from __future__ import annotations

import asyncio
import math
import os
import threading
from typing import TYPE_CHECKING

import pytest
from storage import NANO, NOW_NS, Clock, names, put, rows, rules, slot

from hmacfs.model import Durability, StoredFile
from hmacfs.store import Store, condition, expire, list_expired, sweep
from hmacfs.store.files import Tree
from hmacfs.store.index import Index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = NOW_NS / NANO
KEEP = frozenset({"upload"})


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    root.mkdir()
    opened = Tree(str(root), file_mode=0o640, directory_mode=0o750)
    yield opened
    opened.close()


@pytest.fixture
def index(tree: Tree, root: Path) -> Iterator[Index]:
    del tree  # makes the directory
    opened = Index.open(condition.index_path(str(root)), Durability.FULL)
    yield opened
    opened.close()


def make(root: Path, index: Index, key: str, *, age_s: int, expires: float | None = None) -> StoredFile:
    """Put a file and its row there, as an upload `age_s` ago would have left them."""
    at_ns = NOW_NS - age_s * NANO
    (root / key).parent.mkdir(parents=True, exist_ok=True)
    (root / key).write_bytes(b"12345")
    os.utime(root / key, ns=(at_ns, at_ns))
    record = StoredFile(
        key=key,
        mtime_ns=at_ns,
        size=5,
        content_type=None,
        owner="",
        digest=None,
        created=at_ns / NANO,
        expires=expires,
    )
    assert index.add([record]) == [True]
    return record


def run(tree: Tree, index: Index, *, ttl_s: float | None = None, now: float = NOW) -> sweep.Swept | None:
    return sweep.sweep(tree, index, sweep.Due(now, ttl_s, KEEP), threading.Event(), files_per_s=math.inf)


def test_what_has_expired_goes_and_the_rest_stays(tree: Tree, index: Index, root: Path) -> None:
    make(root, index, "upload/1/own", age_s=5, expires=NOW)
    make(root, index, "upload/2/later", age_s=500, expires=NOW + 1)
    make(root, index, "upload/3/old", age_s=100)
    make(root, index, "upload/4/young", age_s=99)
    (root / "upload/5").mkdir()
    (root / "upload/5/unknown").write_bytes(b"")
    assert run(tree, index, ttl_s=100) == sweep.Swept(2, 10, 0)
    stays = {"upload/2", "upload/2/later", "upload/4", "upload/4/young", "upload/5", "upload/5/unknown"}
    assert names(root) == {"upload", *stays}
    assert [key for key, _ in rows(root)] == ["upload/2/later", "upload/4/young"]


def test_without_a_ttl_only_own_expiries_count(tree: Tree, index: Index, root: Path) -> None:
    make(root, index, "upload/1/own", age_s=5, expires=NOW - 1)
    make(root, index, "upload/2/old", age_s=10**8)
    assert run(tree, index) == sweep.Swept(1, 5, 0)
    assert (root / "upload/2/old").exists()


def test_a_dry_run_only_tells(index: Index, root: Path) -> None:
    one = make(root, index, "upload/1/own", age_s=5, expires=NOW)
    two = make(root, index, "upload/2/old", age_s=100)
    assert list(sweep.find_expired(index, now=NOW, ttl_s=100)) == [[one], [two]]
    assert len(rows(root)) == 2


def test_a_newer_file_of_the_name_stays(tree: Tree, index: Index, root: Path) -> None:
    make(root, index, "upload/1/it", age_s=100, expires=NOW - 1)
    os.utime(root / "upload/1/it", ns=(NOW_NS, NOW_NS))
    assert run(tree, index) == sweep.Swept(0, 0, 0)
    assert (root / "upload/1/it").exists()
    assert rows(root) == []


def test_a_row_whose_file_is_gone_goes_too(tree: Tree, index: Index, root: Path) -> None:
    make(root, index, "upload/1/it", age_s=100, expires=NOW - 1)
    (root / "upload/1/it").unlink()
    assert run(tree, index) == sweep.Swept(0, 0, 0)
    assert rows(root) == []


def test_a_file_that_cannot_be_removed_is_left_for_the_next_pass(
    tree: Tree, index: Index, root: Path
) -> None:
    make(root, index, "upload/1/it", age_s=100, expires=NOW - 2)
    make(root, index, "upload/2/it", age_s=100, expires=NOW - 1)
    (root / "upload/1").rename(root / "aside")
    (root / "upload/1").symlink_to(root / "aside")
    assert run(tree, index) == sweep.Swept(1, 5, 1)
    assert (root / "aside/it").exists()
    (root / "upload/1").unlink()
    (root / "aside").rename(root / "upload/1")
    assert run(tree, index) == sweep.Swept(1, 5, 0)
    assert rows(root) == []


def test_five_thousand_files_go_in_one_pass(tree: Tree, index: Index, root: Path) -> None:
    (root / "upload").mkdir()
    records = []
    for number in range(5000):
        path = root / f"upload/{number}"
        path.write_bytes(b"")
        records.append(
            StoredFile(
                key=f"upload/{number}",
                mtime_ns=path.stat().st_mtime_ns,
                size=0,
                content_type=None,
                owner="",
                digest=None,
                created=NOW - 100,
                expires=NOW - 1 if number % 2 else None,
            )
        )
    index.add(records)
    assert run(tree, index, ttl_s=50) == sweep.Swept(5000, 0, 0)
    assert names(root) == {"upload"}
    assert rows(root) == []


def test_both_searches_use_their_index(index: Index) -> None:
    connection = index._connection
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    list(sweep.find_expired(index, now=NOW, ttl_s=1.0))
    connection.set_trace_callback(None)
    queries = [query.replace("-Inf", "-9e999") for query in seen]  # SQLite cannot read what it shows
    plans = [
        "".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")) for query in queries
    ]
    assert len(plans) == 2
    assert "USING INDEX file_expires" in plans[0]
    assert "USING INDEX file_created" in plans[1]
    assert not any("TEMP B-TREE" in plan for plan in plans)


def test_one_process_sweeps(tree: Tree, index: Index, root: Path) -> None:
    make(root, index, "upload/1/it", age_s=100, expires=NOW - 1)
    with tree.locked(sweep.LOCK):
        assert run(tree, index) is None
    assert (root / "upload/1/it").exists()


def test_a_stopped_sweep_ends_after_a_batch(tree: Tree, index: Index, root: Path) -> None:
    for number in range(sweep.BATCH_FILES + 1):
        make(root, index, f"upload/{number}", age_s=100, expires=NOW - 1)
    stop = threading.Event()
    stop.set()
    swept = sweep.sweep(tree, index, sweep.Due(NOW, None, KEEP), stop, files_per_s=0.001)
    assert swept == sweep.Swept(sweep.BATCH_FILES, 5 * sweep.BATCH_FILES, 0)


@pytest.mark.usefixtures("no_fd_leak")
def test_a_sweep_in_one_store_is_seen_by_the_other(root: Path, clock: Clock) -> None:
    one, other = (Store.open(str(root), rules(), clock_ns=clock) for _ in range(2))

    async def main() -> None:
        await put(one, slot("U/it"), expires=clock() / NANO + 10)
        clock.pass_s(11)
        assert await other.sweep() == sweep.Swept(1, 4, 0)
        await put(one, slot("U/it"))  # the name is free again

    asyncio.run(main())
    one.close()
    other.close()


@pytest.mark.usefixtures("no_fd_leak")
def test_expiry_from_outside_lists_and_removes_the_same(root: Path, clock: Clock) -> None:
    store = Store.open(str(root), rules(), clock_ns=clock)
    asyncio.run(put(store, slot("1/own"), expires=NOW + 10))
    asyncio.run(put(store, slot("2/old")))
    now = NOW + 100
    listed = [record.key for record in list_expired(str(root), rules(ttl_s=50), now)]
    assert listed == ["upload/1/own", "upload/2/old"]
    assert len(rows(root)) == 2
    assert expire(str(root), rules(ttl_s=50), now) == sweep.Swept(2, 8, 0)
    store.close()
    assert names(root) == {"upload"}
