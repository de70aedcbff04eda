from __future__ import annotations

import asyncio
import math
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage import NANO, NOW_NS, names, put, rows, rules, slot

from hmacfs.model import Durability, StoredFile
from hmacfs.store import Store, condition, reconcile, sweep
from hmacfs.store.files import Tree
from hmacfs.store.index import Identity, Index

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    opened = Index.open(condition.index_path(str(root)), Durability.FULL)
    yield opened
    opened.close()


def row(key: str, mtime_ns: int, *, age_s: float) -> StoredFile:
    return StoredFile(
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
    assert run(tree, index) == reconcile.Reconciled(dropped=0, added=4, skipped=3)
    assert dict(rows(root)) == wanted
    found = index.lookup("flat", wanted["flat"])
    assert found is not None
    assert (found.size, found.created, found.digest) == (3, wanted["flat"] / NANO, None)
    assert run(tree, index) == reconcile.Reconciled(dropped=0, added=0, skipped=3)


# Bytes of one name: what a file system can hold, but for what an operating system gives a meaning to.
NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in {b".", b"..", b".hmacfs"}
)


@given(names=st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=8, unique=True))
def test_every_name_that_a_file_system_can_hold_expires(names: list[tuple[bytes, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = os.fsencode(place)
        tree = Tree(place, file_mode=0o640, directory_mode=0o750)
        index = Index.open(condition.index_path(place), Durability.RELAXED)
        wanted = {b"/".join(pair) for pair in names}
        for path in wanted:
            Path(os.fsdecode(root + b"/" + path)).parent.mkdir(exist_ok=True)
            os.close(os.open(root + b"/" + path, os.O_CREAT, 0o600))
            os.utime(root + b"/" + path, ns=(0, NOW_NS - 10 * NANO))
        done = run(tree, index)
        assert done is not None
        assert (done.added, done.skipped) == (len(wanted), 0)
        assert done.unserved >= sum(not is_utf8(path) for path in wanted)
        assert all(name.isprintable() for name in done.unserved_names)
        assert run(tree, index) == done._replace(added=0)
        listed = list(sweep.find_expired(index, now=NOW, ttl_s=5.0, limit=3))
        assert {os.fsencode(record.key) for batch in listed for record in batch} == wanted
        due = sweep.Due(NOW, 5.0, frozenset())
        swept = sweep.sweep(tree, index, due, threading.Event(), files_per_s=math.inf)
        assert swept is not None
        assert (swept.removed, swept.failed) == (len(wanted), 0)
        assert [entry.name for entry in Path(place).iterdir()] == [".hmacfs"]
        assert index.page(Identity("", 0), 10) == []
        index.close()
        tree.close()


def is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"latin\xe4", r"latin\xe4"),
        (b"two\nlines", r"two\nlines"),
        (b"esc\x1b[31m", r"esc\x1b[31m"),
        (b"plain", ""),
    ],
)
def test_what_no_url_can_name_is_told(tree: Tree, index: Index, root: Path, name: bytes, told: str) -> None:
    os.close(os.open(os.fsencode(root) + b"/" + name, os.O_CREAT, 0o600))
    done = run(tree, index)
    assert done is not None
    assert done.unserved_names == ((told,) if told else ())


def test_rows_below_what_is_not_mounted_are_kept(index: Index, root: Path) -> None:
    """A disk that is mounted late must find signed types and expiry times as they were."""
    tree = Tree(str(root), file_mode=0o640, directory_mode=0o750, directories=["upload", "other"])
    (root / "upload").mkdir()
    index.add([row("upload/U/it", 5, age_s=10**6), row("other/U/it", 5, age_s=10**6)])
    assert run(tree, index) == reconcile.Reconciled(dropped=0, added=0, skipped=0)
    swept = sweep.sweep(tree, index, sweep.Due(NOW, 5.0, frozenset({"upload"})), threading.Event())
    assert swept == sweep.Swept(0, 0, 0)
    assert len(rows(root)) == 2
    (root / "upload/lost+found").mkdir()  # as it is on a disk
    assert run(tree, index) == reconcile.Reconciled(dropped=1, added=0, skipped=0)
    tree.close()


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
