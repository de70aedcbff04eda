"""Several who write to one unfinished upload: the newest wins, and not another byte of the others lands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import children
import pytest
from storage import anybody, append, mine, names, rules, slot, terms, write

from hmacfs.errors import Refused
from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hmacfs._descriptor import Descriptor
    from hmacfs.model import StoredFile
    from hmacfs.store.sessions import Sessions, WriteLease
    from hmacfs.store.upload import PendingPublication

NAME = "a" * 32
CHUNK = 4
ROOT = Path(__file__).parents[2]
# Takes an upload over and writes to it as its reader says, a line for each.
OTHER = """
import asyncio, sys
sys.path[:0] = sys.argv[1:3]
import storage
from hmacfs.errors import Refused
from hmacfs.store import Store

async def main(store):
    with await store.sessions.take_over(sys.argv[4], storage.mine) as writing:
        print(writing.found.offset, flush=True)
        for line in sys.stdin:
            try:
                storage.write(writing, line.encode())
                print("written", flush=True)
            except Refused as refused:
                print(refused.refusal.code, flush=True)

store = Store.open(sys.argv[3], storage.rules())
asyncio.run(main(store))
store.close()
"""


@pytest.fixture
def pair(root: Path) -> Iterator[tuple[Store, Store]]:
    """Return two stores over one directory, as two workers have them."""
    with contextlib.ExitStack() as stack:
        one, other = (Store.open(str(root), rules()) for _ in range(2))
        stack.callback(one.close)
        stack.callback(other.close)
        yield one, other


@pytest.mark.usefixtures("no_fd_leak")
def test_the_newer_of_two_workers_wins(pair: tuple[Store, Store], root: Path) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(), None)
        with await one.sessions.take_over(NAME, mine) as old:
            write(old, b"hello ")
            with await other.sessions.take_over(NAME, mine) as new:
                assert new.found.offset == 6
                with pytest.raises(Refused, match="upload_taken_over"):
                    write(old, b"never")
                write(new, b"world")
                for verb in (one.sessions.discard_unverified(old), one.sessions.declare_length(old, 7, 0)):
                    with pytest.raises(Refused, match="upload_taken_over"):
                        await verb
                assert (await other.sessions.keep(new)).offset == 11
        assert (await one.sessions.durable_status(NAME, mine)).offset == 11

    asyncio.run(main())
    assert (root / f".hmacfs/uploads/{NAME}").read_bytes() == b"hello world"


@pytest.mark.usefixtures("no_fd_leak")
def test_to_look_stops_the_writer_so_that_what_is_told_stays_true(pair: tuple[Store, Store]) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(), 100)
        with await one.sessions.take_over(NAME, mine) as old:
            write(old, b"hello")
            assert (await other.sessions.durable_status(NAME, mine)).offset == 5
            with pytest.raises(Refused, match="upload_taken_over"):
                write(old, b"never")

    asyncio.run(main())


@pytest.mark.usefixtures("no_fd_leak")
def test_whoever_may_not_have_it_stops_nobody(pair: tuple[Store, Store]) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(), 100)
        with await one.sessions.take_over(NAME, mine) as writing:
            for verb in (other.sessions.durable_status, other.sessions.drop, other.sessions.take_over):
                with pytest.raises(Refused, match="not_found"):
                    await verb(NAME, lambda *_: False)
            await other.sessions.status(NAME, mine)
            write(writing, b"hello")

    asyncio.run(main())


@pytest.mark.usefixtures("no_fd_leak")
def test_a_dropped_upload_takes_no_more_bytes(pair: tuple[Store, Store], root: Path) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(), 5)
        with await one.sessions.take_over(NAME, mine) as old:
            await other.sessions.drop(NAME, mine)
            await other.sessions.begin(NAME, terms(), 5)
            with pytest.raises(Refused, match="upload_taken_over"):
                write(old, b"never")
            with pytest.raises(Refused):
                await one.sessions.publish(old, slot("U/it"), None)
        assert (await append(other, NAME, b"he")).offset == 2

    asyncio.run(main())
    assert names(root) == set()


@pytest.mark.usefixtures("no_fd_leak")
def test_the_sweep_stops_who_writes_too(pair: tuple[Store, Store], root: Path) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(), 5)
        with await one.sessions.take_over(NAME, mine) as old:
            for file in (root / ".hmacfs/uploads").iterdir():
                os.utime(file, (0, 0))
            assert await other.sweep_sessions() == 1
            with pytest.raises(Refused, match="upload_taken_over"):
                write(old, b"never")

    asyncio.run(main())


@pytest.mark.usefixtures("no_fd_leak")
def test_what_was_dropped_while_it_was_published_does_not_harm_the_next(
    pair: tuple[Store, Store], root: Path
) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(), 5)
        with await one.sessions.take_over(NAME, mine) as old:
            write(old, b"hello")
            await one.sessions.keep(old)
            sealed = one.sessions._completion.seal(old, "upload/U/it")
            # As a request does that asks meanwhile, and by which the storage is found to have lost bytes.
            with await other.sessions.take_over(NAME, mine) as asking:
                other.sessions._keeping.discard(asking)
            await other.sessions.begin(NAME, terms(), 5)
            await append(other, NAME, b"he")
            one.sessions._completion.mark_stored(old)
            assert sealed is not None
            sealed.close()
        found = await other.sessions.durable_status(NAME, mine)
        assert (found.offset, found.complete) == (2, False)

    asyncio.run(main())
    assert (root / f".hmacfs/uploads/{NAME}").read_bytes() == b"he"


async def whole(store: Store) -> WriteLease:
    """Bring an upload to where it needs only to be published; give the hold on it."""
    writing = await store.sessions.replace(NAME, terms(), 5, 5)
    write(writing, b"hello")
    await store.sessions.keep(writing)
    return writing


class Slow:
    """Publication as on a slow disk: it is `under_way`, and ends as soon as it may `go`."""

    def __init__(self, sessions: Sessions) -> None:
        self.under_way, self.go = asyncio.Event(), asyncio.Event()
        self._owner = sessions._owner
        sessions._owner = self

    async def publish(self, upload: PendingPublication) -> StoredFile:
        self.under_way.set()
        await self.go.wait()
        return await self._owner.publish(upload)

    def drop(self, file: Descriptor) -> None:
        self._owner.drop(file)

    def fail(self, refused: Refused) -> None:
        self._owner.fail(refused)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("verb", ["drop", "clear", "start", "sweep"])
def test_what_is_being_published_cannot_be_dropped(pair: tuple[Store, Store], root: Path, verb: str) -> None:
    one, other = pair
    verbs: dict[str, Callable[[], Awaitable[object]]] = {
        "drop": lambda: other.sessions.drop(NAME, mine),
        "clear": lambda: other.sessions.clear(NAME),
        "start": lambda: other.sessions.replace(NAME, terms(), 5, 5),
    }

    async def main() -> None:
        slow = Slow(one.sessions)
        with await whole(one) as old:
            ends = asyncio.create_task(one.sessions.publish(old, slot("U/it"), None))
            await slow.under_way.wait()
            if verb == "sweep":
                for file in (root / ".hmacfs/uploads").iterdir():
                    os.utime(file, (0, 0))
                assert await other.sweep_sessions() == 0
            else:
                with pytest.raises(Refused, match="busy"):
                    await verbs[verb]()
            slow.go.set()
            await ends
        assert (await other.sessions.durable_status(NAME, mine)).complete

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello"


@pytest.mark.usefixtures("no_fd_leak")
def test_to_drop_waits_until_it_is_published_and_says_so(pair: tuple[Store, Store], root: Path) -> None:
    one, other = pair

    async def main() -> None:
        slow = Slow(one.sessions)
        with await whole(one) as old:
            ends = asyncio.create_task(one.sessions.publish(old, slot("U/it"), None))
            await slow.under_way.wait()
            dropped = asyncio.create_task(other.sessions.drop(NAME, mine))
            while old.fence.holds:  # noqa: ASYNC110 - it is a thread that takes it
                await asyncio.sleep(0)
            slow.go.set()
            await ends
        assert (await dropped).complete
        assert not other.sessions.has(NAME)

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello"


@pytest.mark.usefixtures("no_fd_leak")
def test_to_drop_finds_what_was_published_as_its_process_died(pair: tuple[Store, Store], root: Path) -> None:
    one, other = pair

    async def main() -> None:
        with await whole(one) as old:
            (root / "upload/U").mkdir(parents=True)
            os.link(root / f".hmacfs/uploads/{NAME}", root / "upload/U/it")
            old.note.touch(0)
        assert (await other.sessions.drop(NAME, mine)).complete

    asyncio.run(main())


@pytest.mark.usefixtures("no_fd_leak")
def test_of_two_that_begin_the_newer_has_it_and_the_older_learns_so(
    pair: tuple[Store, Store], root: Path
) -> None:
    one, other = pair

    async def main() -> None:
        with (
            await one.sessions.replace(NAME, terms(), 5, 5) as old,
            await other.sessions.replace(NAME, terms(), 5, 5) as new,
        ):
            with pytest.raises(Refused, match="upload_taken_over"):
                write(old, b"never")
            publish = one.sessions.publish(old, slot("U/it"), None)
            for verb in (one.sessions.keep(old), one.sessions.discard_unverified(old), publish):
                with pytest.raises(Refused, match="upload_taken_over"):
                    await verb
            write(new, b"hello")
            await other.sessions.keep(new)
            await other.sessions.publish(new, slot("U/it"), None)
        with pytest.raises(Refused, match="exists"):
            await one.sessions.replace(NAME, terms(), 5, 5)
        assert (await one.sessions.durable_status(NAME, mine)).complete

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello"


@pytest.mark.usefixtures("no_fd_leak")
def test_another_process_is_fenced_off(root: Path) -> None:
    with contextlib.closing(Store.open(str(root), rules())) as store:
        asyncio.run(store.sessions.begin(NAME, terms(), 100))
        arguments = [str(ROOT), str(ROOT / "tests"), str(root), NAME]
        with children.running(
            [sys.executable, "-c", OTHER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout.readline() == "0\n"
            print("1234", file=child.stdin, flush=True)
            assert child.stdout.readline() == "written\n"
            assert asyncio.run(append(store, NAME, b"5")).offset == 6
            print("never", file=child.stdin, flush=True)
            assert child.stdout.readline() == "upload_taken_over\n"
        assert asyncio.run(store.sessions.durable_status(NAME, mine)).offset == 6


@pytest.mark.usefixtures("no_fd_leak")
def test_of_many_at_once_one_has_it_and_every_byte_is_of_one(pair: tuple[Store, Store], root: Path) -> None:
    """Each writes its own letter, a byte at a time; what stands is runs, never a letter between others."""
    asyncio.run(pair[0].sessions.begin(NAME, terms(), 1 << 20))

    def race(letter: int) -> int:
        store, written = pair[letter % 2], 0
        while written < 60:
            with contextlib.suppress(Refused), store.sessions._registry.take_over(NAME, anybody) as writing:
                for _ in range(20):
                    write(writing, bytes([letter]))
                    written += 1
        return written

    with ThreadPoolExecutor(8) as pool:
        written = sum(pool.map(race, b"abcdefgh"))
    body = (root / f".hmacfs/uploads/{NAME}").read_bytes()
    assert len(body) == written
    assert asyncio.run(pair[1].sessions.durable_status(NAME, mine)).offset == written


@pytest.mark.usefixtures("no_fd_leak")
def test_whoever_finishes_at_the_same_time_is_told_to_wait_and_nobody_hangs(
    pair: tuple[Store, Store], root: Path
) -> None:
    """More than the store has threads: were each to wait on one, the first would have none to end on."""
    one, other = pair

    async def finish(store: Store) -> str:
        try:
            with await store.sessions.take_over(NAME, mine) as writing:
                await store.sessions.publish(writing, slot("U/it"), None)
        except Refused as refused:
            return refused.refusal.code
        return "published"

    async def main() -> list[str]:
        await one.sessions.begin(NAME, terms(), 5)
        with await one.sessions.take_over(NAME, mine) as writing:
            write(writing, b"hello")
            await one.sessions.keep(writing)
            sealed = one.sessions._completion.seal(writing, "upload/U/it")
            others = await asyncio.gather(*(finish(one if n % 2 else other) for n in range(30)))
            assert sealed is not None
            sealed.close()
        return [*others, await finish(one), await finish(other)]

    said = asyncio.run(main())
    assert set(said[:-2]) <= {"busy", "upload_taken_over"}
    assert said[-2:] == ["published", "published"]
    assert (root / "upload/U/it").read_bytes() == b"hello"


@pytest.mark.usefixtures("no_fd_leak")
def test_chunks_come_in_any_order_and_once(pair: tuple[Store, Store], root: Path) -> None:
    one, other = pair
    whole = b"aaaabbbbcc"

    async def bring(store: Store, number: int) -> list[int] | None:
        taken = await store.sessions.take_chunk(NAME, mine, number, alone=False)
        if taken is None:
            return None
        with taken as writing:
            assert writing.found.offset == number * CHUNK
            write(writing, whole[number * CHUNK : (number + 1) * CHUNK])
            return list((await store.sessions.keep_chunk(writing)).chunks)

    async def main() -> None:
        await one.sessions.begin(NAME, terms(chunk=CHUNK), len(whole))
        assert await bring(one, 2) == [2]
        assert await bring(other, 0) == [0, 2]
        assert await bring(one, 0) is None
        assert list((await other.sessions.status(NAME, mine)).chunks) == [0, 2]
        assert await bring(one, 1) == [0, 1, 2]
        with await other.sessions.take_over(NAME, mine) as writing:
            await other.sessions.publish(writing, slot("U/it"), None)
        assert await bring(one, 1) is None

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == whole


async def chunk(store: Store, number: int, *, alone: bool = False) -> WriteLease:
    """Take over a chunk that is not stored."""
    taken = await store.sessions.take_chunk(NAME, mine, number, alone=alone)
    assert taken is not None
    return taken


@pytest.mark.usefixtures("no_fd_leak")
def test_several_chunks_at_the_same_time_unless_one_wants_to_be_alone(pair: tuple[Store, Store]) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(chunk=CHUNK), 8)
        with await chunk(one, 0) as first, await chunk(other, 1) as second:
            write(second, b"bbbb")
            write(first, b"aaaa")
            await one.sessions.keep_chunk(first)
        with await chunk(one, 1, alone=True), pytest.raises(Refused, match="busy"):
            await other.sessions.take_chunk(NAME, mine, 1, alone=True)

    asyncio.run(main())


@pytest.mark.usefixtures("no_fd_leak")
def test_the_same_chunk_twice_at_once_is_the_newers(pair: tuple[Store, Store]) -> None:
    one, other = pair

    async def main() -> None:
        await one.sessions.begin(NAME, terms(chunk=CHUNK), 8)
        with await chunk(one, 1) as old, await chunk(other, 1) as new:
            with pytest.raises(Refused, match="upload_taken_over"):
                write(old, b"oooo")
            write(new, b"nnnn")
            with pytest.raises(Refused, match="upload_taken_over"):
                await one.sessions.keep_chunk(old)
            assert list((await other.sessions.keep_chunk(new)).chunks) == [1]

    asyncio.run(main())
