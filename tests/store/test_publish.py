from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import children
import pytest
import stages
import storage
from storage import names, put, rows, rules, slot

from hmacfs import errors
from hmacfs.errors import Refusal, Refused
from hmacfs.model import Durability, MiB
from hmacfs.store import Store


@pytest.mark.parametrize("durability", list(Durability))
@pytest.mark.parametrize("body", [b"", b"1", b"x" * 70_000])
@pytest.mark.parametrize(
    ("rel", "directory"),
    [
        ("U/name", "upload"),
        ("U/name", ""),
        ("name", "upload"),
        ("name", ""),
        ("a/b/c/d", "x/y"),
        ("U/\u00fc \U0001f600", "upload"),
        ("U/" + "n" * 255, "upload"),
    ],
)
def test_a_committed_file_is_there(
    root: Path,
    rel: str,
    directory: str,
    body: bytes,
    durability: Durability,
) -> None:
    place = slot(rel, directory)
    store = Store.open(str(root), rules(durability=durability))

    async def main() -> None:
        stored = await put(store, place, body)
        file = store.open_file(place.key)
        assert (file.size, file.mtime_ns) == (len(body), stored.mtime_ns)
        known = store.cached_metadata(place.key, file)
        assert known is not None
        assert known.content_type == "text/plain"
        file.descriptor.close()

    asyncio.run(main())
    store.close()
    assert (root / place.key).read_bytes() == body
    assert rows(root) == [(place.key, (root / place.key).stat().st_mtime_ns)]
    locks = {"open.lock", "remove.lock", "sweep.lock", "reconcile.lock"}
    assert {p.name for p in (root / ".hmacfs").iterdir()} == {"index.db", "uploads", *locks}


@pytest.mark.parametrize(
    ("rel", "body", "refusal"),
    [
        ("U/it", b"123", errors.SIZE_MISMATCH),
        ("U/it", b"12345", errors.SIZE_MISMATCH),
        ("taken/it", b"1234", errors.EXISTS),
        ("taken", b"1234", errors.EXISTS),  # a directory
        ("taken/it/below", b"1234", errors.EXISTS),
        ("way/it", b"1234", errors.NOT_FOUND),
        ("U/" + "n" * 256, b"1234", errors.NAME_TOO_LONG),
        ("n" * 256 + "/it", b"1234", errors.NAME_TOO_LONG),
        ("../../it", b"1234", errors.NOT_FOUND),
    ],
)
@pytest.mark.parametrize("late", [0, 1])  # as a form does it, whose name comes at the end
@pytest.mark.usefixtures("no_fd_leak")
def test_a_refused_upload_leaves_nothing(
    root: Path,
    rel: str,
    body: bytes,
    refusal: Refusal,
    late: int,
) -> None:
    (root / "upload/taken").mkdir(parents=True)
    (root / "upload/taken/it").write_bytes(b"first")
    (root / "upload/way").symlink_to("/")
    store = Store.open(str(root), rules())
    before = names(root)

    async def main() -> None:
        with await store.begin(None if late else slot(rel), 4) as part:
            os.write(part.file.fileno(), body)
            part.slot = slot(rel)
            await part.commit(storage.plain(part))

    with pytest.raises(Refused) as caught:
        asyncio.run(main())
    assert caught.value.refusal is refusal
    store.close()
    assert names(root) == before
    assert rows(root) == []
    assert (root / "upload/taken/it").read_bytes() == b"first"


@pytest.mark.usefixtures("no_fd_leak")
def test_a_part_that_is_not_committed_vanishes(root: Path) -> None:
    store = Store.open(str(root), rules())

    async def main() -> None:
        with await store.begin(slot("U/it"), 4) as part:
            os.write(part.file.fileno(), b"1234")
        part.close()
        with pytest.raises(ValueError, match="already"):
            await part.commit(storage.plain(part))

    asyncio.run(main())
    store.close()
    assert names(root) == set()


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("turns", range(4))
def test_a_cancelled_upload_leaves_all_or_nothing(root: Path, turns: int) -> None:
    store = Store.open(str(root), rules())

    async def main() -> None:
        for number in range(20):
            task = asyncio.create_task(put(store, slot(f"{number}/it")))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    store.close()
    for key, mtime_ns in rows(root):
        assert (root / key).stat().st_mtime_ns == mtime_ns
    for path in root.glob("upload/*/it"):
        assert path.read_bytes() == b"body"


def test_surplus_space_is_given_back(store: Store, root: Path) -> None:
    async def main() -> None:
        with await store.begin(slot("U/it"), 4 * MiB) as part:
            os.write(part.file.fileno(), b"small")
            assert part.room is not None
            part.room.reach(3 * MiB)
            assert os.fstat(part.file.fileno()).st_blocks * 512 >= 3 * MiB
            await part.commit(storage.plain(part, 5))

    asyncio.run(main())
    assert (root / "upload/U/it").stat().st_blocks * 512 <= 8192


@pytest.mark.usefixtures("no_fd_leak")
def test_a_full_disk_is_507_and_recovers(small_disk: Path) -> None:
    store = Store.open(str(small_disk), rules(min_free=MiB))

    async def main() -> None:
        for length in (64 * MiB, 7 * MiB + 512 * 1024):  # no room at all; room, but not the margin
            with pytest.raises(Refused) as caught:
                await store.begin(slot("U/it"), length)
            assert caught.value.refusal is errors.DISK_FULL
        parts = await asyncio.gather(
            *(store.begin(slot(f"{n}/it"), 2 * MiB) for n in range(8)), return_exceptions=True
        )
        held = [part for part in parts if not isinstance(part, BaseException)]
        for part in held:  # each has room for its first bytes, and not all for the others
            with contextlib.suppress(Refused):
                assert part.room is not None
                part.room.reach(2 * MiB)
        assert held
        # None, if all have looked before any has taken.
        assert sum(part.room is not None and part.room.end == 2 * MiB for part in held) <= 3
        room = os.statvfs(small_disk)
        assert room.f_bavail * room.f_frsize >= MiB
        last = held.pop()
        for part in held:
            part.close()
        assert last.room is not None
        await stages.until(lambda: os.statvfs(small_disk).f_bavail * room.f_frsize >= 3 * MiB)
        last.room.reach(2 * MiB)  # what the others held is free
        assert last.room.end == 2 * MiB
        last.close()

    asyncio.run(main())
    store.close()
    store = Store.open(str(small_disk), rules(min_free=MiB))
    asyncio.run(put(store, slot("U/it"), b"x" * 1000))
    store.close()
    assert names(small_disk) == {"upload", "upload/U", "upload/U/it"}


@pytest.mark.usefixtures("no_fd_leak")
def test_no_inode_left_at_publication_leaves_nothing(small_disk: Path) -> None:
    store = Store.open(str(small_disk), rules())

    async def main() -> None:
        with await store.begin(slot("U/it"), 4) as part:
            os.write(part.file.fileno(), b"1234")
            for number in range(os.statvfs(small_disk).f_ffree):
                (small_disk / f"{number}.fill").write_bytes(b"")
            with pytest.raises(Refused) as caught:
                await part.commit(storage.plain(part))
            assert caught.value.refusal is errors.DISK_FULL

    asyncio.run(main())
    store.close()
    assert not (small_disk / "upload").exists()
    assert rows(small_disk) == []


@pytest.mark.slow
def test_one_name_goes_to_one_of_many(root: Path) -> None:
    """Eight uploads at a time over two stores, as two workers have them; a hundred rounds."""
    stores = [Store.open(str(root), rules()) for _ in range(2)]

    async def main() -> None:
        for number in range(100):
            place = slot(f"{number}/it")
            outcomes = await asyncio.gather(
                *(put(stores[n % 2], place, b"%d" % n) for n in range(8)), return_exceptions=True
            )
            won = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
            lost = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
            assert (len(won), len(lost)) == (1, 7)
            assert {refused.refusal for refused in lost} == {errors.EXISTS}
            assert (root / place.key).read_bytes() == b"%d" % won[0]

    asyncio.run(main())
    for store in stores:
        store.close()
    assert len(rows(root)) == 100
    for key, mtime_ns in rows(root):
        assert (root / key).stat().st_mtime_ns == mtime_ns


def test_uploads_at_once_share_their_syncs(root: Path) -> None:
    store = Store.open(str(root), rules())
    commits: list[str] = []
    store._uploads.publisher._index._connection.set_trace_callback(commits.append)

    async def main() -> None:
        # While the writer is held up, all others gather behind it.
        gate = threading.Event()
        store._uploads.publisher._writer.submit(gate.wait)
        uploads = [asyncio.create_task(put(store, slot(f"{n}/it"))) for n in range(50)]
        await asyncio.sleep(0)
        while len(store._uploads.publisher._waiting) < 50:  # noqa: ASYNC110 - other threads fill it
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*uploads)

    asyncio.run(main())
    store.close()
    assert commits.count("COMMIT") == 1
    assert len(rows(root)) == 50


@pytest.mark.usefixtures("no_fd_leak")
def test_a_busy_index_is_503(root: Path) -> None:
    store = Store.open(str(root), rules())
    store._uploads.publisher._index._connection.execute("PRAGMA busy_timeout = 50")
    asyncio.run(put(store, slot("before/it")))
    other = sqlite3.connect(root / ".hmacfs/index.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    async def main() -> None:
        with pytest.raises(Refused) as caught:
            await put(store, slot("U/it"))
        assert caught.value.refusal is errors.BUSY
        file = store.open_file("upload/before/it")  # readers are not held up
        store._lookup._cache._files.clear()
        known = await store.fetch_metadata("upload/before/it", file)
        file.descriptor.close()
        assert known.content_type == "text/plain"
        other.execute("ROLLBACK")
        await put(store, slot("U/it"))

    asyncio.run(main())
    other.close()
    store.close()
    assert {key for key, _ in rows(root)} == {"upload/before/it", "upload/U/it"}


def test_two_stores_share_what_they_know(root: Path) -> None:
    one, other = (Store.open(str(root), rules()) for _ in range(2))

    async def main() -> None:
        await put(one, slot("U/it"))
        file = other.open_file("upload/U/it")
        assert other.cached_metadata("upload/U/it", file) is None
        known = await other.fetch_metadata("upload/U/it", file)
        assert other.cached_metadata("upload/U/it", file) == known
        assert known.content_type == "text/plain"
        file.descriptor.close()
        await other.remove(slot("U/it"))
        with pytest.raises(Refused):
            one.open_file("upload/U/it")
        await put(one, slot("U/it"))

    asyncio.run(main())
    one.close()
    other.close()


@pytest.mark.parametrize("durability", list(Durability))
def test_the_digest_of_a_file_is_that_of_its_very_upload(root: Path, durability: Durability) -> None:
    one, other = (Store.open(str(root), rules(durability=durability)) for _ in range(2))

    async def main() -> None:
        await put(one, slot("U/it"), sha256=b"s" * 32)
        await put(one, slot("U/plain"))
        for store in (
            one,
            other,
            other,
        ):  # what it has stored itself, what the index says, what that has said
            assert await store.sha256_of("upload/U/it") == b"s" * 32
            assert await store.sha256_of("upload/U/plain") is None
        (root / "upload/U/it").write_bytes(b"else")
        for store in (one, other):
            assert await store.sha256_of("upload/U/it") is None
            assert await store.sha256_of("upload/U/none") is None
            with pytest.raises(Refused):
                await store.sha256_of("upload/U/" + "n" * 256)

    asyncio.run(main())
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("expires_s", "ttl_s", "age_s"),
    [
        (None, None, None),
        (10, None, 10),
        (None, 10, 10),
        (100, 10, 100),  # its own expiry decides, not the site's
        (10, 100, 10),
    ],
)
def test_an_expired_file_is_gone_at_once(
    root: Path,
    clock: storage.Clock,
    expires_s: int | None,
    ttl_s: int | None,
    age_s: int | None,
) -> None:
    uploader, reader = (Store.open(str(root), rules(ttl_s=ttl_s), clock_ns=clock) for _ in range(2))

    async def main() -> None:
        expires = None if expires_s is None else clock() / 1e9 + expires_s
        await put(uploader, slot("U/it"), expires=expires)
        file = uploader.open_file("upload/U/it")
        clock.pass_s(10**9 if age_s is None else age_s - 1)
        assert uploader.cached_metadata("upload/U/it", file) == await reader.fetch_metadata(
            "upload/U/it", file
        )
        clock.pass_s(2)
        if age_s is not None:
            with pytest.raises(Refused):
                uploader.cached_metadata("upload/U/it", file)
            with pytest.raises(Refused):
                await reader.fetch_metadata("upload/U/it", file)
        file.descriptor.close()

    asyncio.run(main())
    uploader.close()
    reader.close()


def test_a_file_that_the_index_does_not_know_ages_by_its_mtime(root: Path, clock: storage.Clock) -> None:
    store = Store.open(str(root), rules(ttl_s=60), clock_ns=clock)
    for name, age_s in (("young", 50), ("old", 70)):
        (root / name).write_bytes(b"")
        at = clock() - age_s * 10**9
        os.utime(root / name, ns=(at, at))

    async def main() -> None:
        for name in ("young", "old"):
            file = store.open_file(name)
            try:
                known = await store.fetch_metadata(name, file)
                assert (name, known.content_type) == ("young", None)
            except Refused as refused:
                assert (name, refused.refusal) == ("old", errors.NOT_FOUND)  # noqa: PT017 - either way
            file.descriptor.close()

    asyncio.run(main())
    store.close()


@pytest.mark.parametrize("stays", [False, True])
def test_a_file_whose_name_is_not_durable_goes_or_stays_with_its_row(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, stays: bool
) -> None:
    """On a disk that fails, the name of a refused upload can perhaps not be taken away either."""
    store = Store.open(str(root), rules(durability=Durability.FULL))
    sync, unlink = os.fsync, os.unlink

    def failing_sync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "injected")
        sync(fd)

    def failing_unlink(path: str | bytes, *, dir_fd: int | None = None) -> None:
        if stays:
            raise OSError(errno.EIO, "injected")
        unlink(path, dir_fd=dir_fd)

    async def main() -> None:
        monkeypatch.setattr(os, "fsync", failing_sync)
        monkeypatch.setattr(os, "unlink", failing_unlink)
        with pytest.raises(Refused) as caught:
            await put(store, slot("a/it"))
        monkeypatch.undo()
        assert caught.value.refusal is errors.STORAGE_FAILED

    asyncio.run(main())
    store.close()
    kept = ["upload/a/it"] if stays else []
    assert [name for name in names(root) if name.endswith("it")] == kept
    assert [key for key, _ in rows(root)] == kept


@pytest.mark.parametrize("durability", list(Durability))
def test_a_removed_file_is_gone_with_its_row_and_directories(root: Path, durability: Durability) -> None:
    store = Store.open(str(root), rules(durability=durability))

    async def main() -> None:
        await put(store, slot("a/b/it"))
        await put(store, slot("a/other"))
        await store.remove(slot("a/b/it"))
        for missing in ("a/b/it", "a/b", "nothing", "x/y"):
            with pytest.raises(Refused) as caught:
                await store.remove(slot(missing))
            assert caught.value.refusal is errors.NOT_FOUND

    asyncio.run(main())
    store.close()
    assert names(root) == {"upload", "upload/a", "upload/a/other"}
    assert [key for key, _ in rows(root)] == ["upload/a/other"]


def test_other_rules_hold_from_the_next_request_on(store: Store, root: Path) -> None:
    async def main() -> None:
        await put(store, slot("1/it"))
        store.reconfigure(rules(ttl_s=0.0, durability=Durability.RELAXED))
        file = store.open_file("upload/1/it")
        with pytest.raises(Refused):
            store.cached_metadata("upload/1/it", file)
        file.descriptor.close()
        store.reconfigure(rules(min_free=2**60))
        with pytest.raises(Refused) as caught:
            await store.begin(slot("2/it"), 1)
        assert caught.value.refusal is errors.DISK_FULL

    asyncio.run(main())
    assert stat.S_IMODE((root / "upload/1/it").stat().st_mode) == 0o640


def test_only_so_many_files_are_remembered(store: Store) -> None:
    store._lookup._cache._capacity = 3

    async def main() -> None:
        for number in range(10):
            await put(store, slot(f"{number}/it"))

    asyncio.run(main())
    assert [key for key, _, _ in store._lookup._cache._files] == [f"upload/{n}/it" for n in (7, 8, 9)]


RACER = """
import asyncio, sys
sys.path[:0] = sys.argv[1:3]
import storage
from hmacfs.errors import Refused
from hmacfs.store import Store

async def main():
    store = Store.open(sys.argv[3], storage.rules())
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    for number in range(100):
        uploads = (storage.put(store, storage.slot(f"{number}/it")) for _ in range(4))
        outcomes = await asyncio.gather(*uploads, return_exceptions=True)
        won += sum(not isinstance(outcome, BaseException) for outcome in outcomes)
        assert all(o.refusal.code == "exists" for o in outcomes if isinstance(o, Refused))
        assert not any(isinstance(o, BaseException) and not isinstance(o, Refused) for o in outcomes)
    store.close()
    print(won)

asyncio.run(main())
"""


@pytest.mark.slow
def test_one_name_goes_to_one_of_many_processes(root: Path) -> None:
    here = Path(__file__).parents[2]
    arguments = [sys.executable, "-c", RACER, str(here), str(here / "tests"), str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        racers = [stack.enter_context(children.running(arguments, text=True, **pipes)) for _ in range(3)]
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [int(racer.communicate()[0]) for racer in racers]
    assert sum(won) == 100
    assert len(rows(root)) == 100
    for key, mtime_ns in rows(root):
        assert (root / key).stat().st_mtime_ns == mtime_ns
