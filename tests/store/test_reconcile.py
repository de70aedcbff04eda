from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest
from storage import NANO, NOW_NS, names, put, rows, rules, slot

from hmacfs.model import Durability, Record
from hmacfs.store import Store, facade, reconcile
from hmacfs.store.files import Tree
from hmacfs.store.index import Identity, Index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = NOW_NS / NANO


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    root.mkdir()
    opened = Tree(str(root), file_mode=0o640, directory_mode=0o750)
    yield opened
    opened.close()


@pytest.fixture
def index(tree: Tree, root: Path) -> Iterator[Index]:
    del tree  # makes the directory
    opened = Index(facade.index_path(str(root)), Durability.FULL)
    yield opened
    opened.close()


def row(key: str, mtime_ns: int, *, age_s: float) -> Record:
    return Record(
        key=key,
        mtime_ns=mtime_ns,
        size=0,
        content_type="text/x-signed",
        owner="",
        digest=None,
        created=NOW - age_s,
        expires=None,
    )


def run(tree: Tree, index: Index, stop: threading.Event | None = None) -> reconcile.Reconciled | None:
    return reconcile.reconcile(tree, index, now=NOW, stop=stop or threading.Event())


@pytest.mark.usefixtures("no_fd_leak")
def test_a_store_of_another_server_is_adopted(tree: Tree, index: Index, root: Path) -> None:
    wanted: dict[str, int] = {}
    for key in ("flat", "upload/U/name", "upload/sub/U/n\u00e4me", "a/b/c/d/e/f/g"):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"123")
        os.utime(root / key, ns=(0, NOW_NS - len(wanted)))
        wanted[key] = NOW_NS - len(wanted)
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("flat")
    (root / "linked").symlink_to("upload")
    (root / ".hmacfs/draft").write_bytes(b"")
    os.close(os.open(os.fsencode(root) + b"/latin\xe4", os.O_CREAT, 0o600))
    assert run(tree, index) == reconcile.Reconciled(dropped=0, added=4, skipped=4)
    assert dict(rows(root)) == wanted
    found = index.lookup("flat", wanted["flat"])
    assert found is not None
    assert (found.size, found.created, found.digest) == (3, wanted["flat"] / NANO, None)
    assert run(tree, index) == reconcile.Reconciled(dropped=0, added=0, skipped=4)


def test_rows_without_their_file_are_dropped(tree: Tree, index: Index, root: Path) -> None:
    old = 2 * reconcile.GRACE_S
    (root / "is").write_bytes(b"")
    (root / "other").write_bytes(b"")
    mtime_ns = (root / "is").stat().st_mtime_ns
    index.add(
        [
            row("is", mtime_ns, age_s=old),
            row("other", 5, age_s=old),  # its file is another one
            row("is/below", 5, age_s=old),
            row("gone", 5, age_s=old),
            row("gone/too", 5, age_s=old),
            row("coming", 5, age_s=1),  # an upload that another worker is about to link
        ]
    )
    assert run(tree, index) == reconcile.Reconciled(dropped=4, added=1, skipped=0)
    kept = {record.key: record.content_type for record in index.page(Identity("", 0), 10)}
    assert kept == {"coming": "text/x-signed", "is": "text/x-signed", "other": None}


def test_more_than_a_batch_in_each_direction(tree: Tree, index: Index, root: Path) -> None:
    count = 2 * reconcile.BATCH_FILES + 1
    (root / "upload").mkdir()
    for number in range(count):
        (root / f"upload/{number}").write_bytes(b"")
    index.add(row(f"gone/{number}", 5, age_s=10**6) for number in range(count))
    assert run(tree, index) == reconcile.Reconciled(dropped=count, added=count, skipped=0)
    assert len(rows(root)) == count


def test_a_deeper_tree_than_is_walked_is_left_alone(tree: Tree, index: Index, root: Path) -> None:
    place = root.joinpath(*["d"] * (reconcile.MAX_DEPTH + 1))
    place.mkdir(parents=True)
    (place / "deep").write_bytes(b"")
    (place.parent / "reached").write_bytes(b"")
    assert run(tree, index) == reconcile.Reconciled(dropped=0, added=1, skipped=1)


def test_it_stops_when_told(tree: Tree, index: Index, root: Path) -> None:
    for number in range(reconcile.BATCH_FILES + 1):
        (root / str(number)).write_bytes(b"")
    stop = threading.Event()
    stop.set()
    assert run(tree, index, stop) == reconcile.Reconciled(0, reconcile.BATCH_FILES, 0)


def test_one_process_reconciles(tree: Tree, index: Index) -> None:
    with tree.locked(reconcile.LOCK):
        assert run(tree, index) is None


def test_it_does_no_harm_beside_uploads(root: Path) -> None:
    stores = [Store.open(str(root), rules()) for _ in range(2)]

    async def main() -> None:
        uploads = [put(stores[0], slot(f"{n}/it")) for n in range(200)]
        passes = [stores[1].reconcile() for _ in range(5)]
        await asyncio.gather(*uploads, *passes)

    asyncio.run(main())
    for store in stores:
        store.close()
    assert len(rows(root)) == 200
    assert len(names(root)) == 401
