"""Unfinished uploads in the store: begun, looked at, gone on with, cut, published, dropped, swept."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest
from storage import NANO, Clock, anybody, append, mine, names, put, rules, slot, terms, write

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any

    from hmacfs.errors import Refusal

pytestmark = pytest.mark.usefixtures("no_fd_leak")

NAME = "a" * 32
LIVES_S = 86_400


def refused(work: Coroutine[Any, Any, Any]) -> Refusal:
    """Return why `work` is refused, which it must be."""
    with pytest.raises(Refused) as caught:
        asyncio.run(work)
    return caught.value.refusal


def left(root: Path) -> list[str]:
    """Return the names that unfinished uploads have on the disk."""
    return sorted(path.name for path in (root / ".hmacfs/uploads").iterdir())


def test_an_upload_in_three_requests_is_a_file_like_any_other(store: Store, root: Path) -> None:
    async def main() -> None:
        sessions = store.sessions
        assert await sessions.begin(NAME, terms(), 11)
        found = await sessions.durable_status(NAME, mine)
        assert (found.offset, found.length, found.complete) == (0, 11, False)
        assert found.terms == terms()
        assert (await append(store, NAME, b"hello")).offset == 5
        assert (await append(store, NAME, b" ")).offset == 6
        assert names(root) == set()
        with await sessions.take_over(NAME, mine) as writing:
            write(writing, b"world")
            await sessions.keep(writing)
            await sessions.publish(writing, slot("U/it"), b"d" * 32)
        found = await sessions.durable_status(NAME, mine)
        assert (found.offset, found.length, found.complete) == (11, 11, True)

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello world"
    assert (root / "upload/U/it").stat().st_mode & 0o777 == 0o640
    assert left(root) == [f"{NAME}.note"]
    file = store.open_file("upload/U/it")
    assert asyncio.run(store.fetch_metadata("upload/U/it", file)).content_type == "text/plain"
    file.descriptor.close()


def test_a_length_that_is_told_late(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), None)
        await append(store, NAME, b"hello")
        with await store.sessions.take_over(NAME, mine) as writing:
            assert writing.found.length is None
            await store.sessions.declare_length(writing, 5, 0)
            await store.sessions.publish(writing, slot("U/it"), None)
        assert (await store.sessions.durable_status(NAME, mine)).length == 5

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello"


def test_a_name_is_begun_once(store: Store) -> None:
    async def main() -> None:
        assert await store.sessions.begin(NAME, terms(), 5)
        await append(store, NAME, b"he")
        assert not await store.sessions.begin(NAME, terms("upload/other"), 7)
        found = await store.sessions.durable_status(NAME, mine)
        assert (found.offset, found.length, found.terms.key) == (2, 5, "upload/U/it")

    asyncio.run(main())


def test_what_is_not_there_and_what_is_somebody_elses_look_alike(store: Store) -> None:
    asyncio.run(store.sessions.begin(NAME, terms(), 5))
    for name, allowed in ((NAME, lambda *_: False), ("b" * 32, anybody)):
        for verb in (
            store.sessions.durable_status,
            store.sessions.status,
            store.sessions.take_over,
            store.sessions.drop,
        ):
            assert refused(verb(name, allowed)) is errors.NOT_FOUND
    assert asyncio.run(store.sessions.durable_status(NAME, mine)).offset == 0


def test_a_taken_place_and_a_full_disk_are_told_at_the_beginning(store: Store) -> None:
    asyncio.run(put(store, slot("U/it")))
    assert refused(store.sessions.begin(NAME, terms(), 5)) is errors.EXISTS
    assert refused(store.sessions.begin(NAME, terms("upload/new"), 1 << 60)) is errors.DISK_FULL
    assert not store.sessions.has(NAME)


def test_a_place_that_is_taken_meanwhile_is_told_at_the_end(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 5)
        await append(store, NAME, b"hello")
        await put(store, slot("U/it"), b"other")
        with await store.sessions.take_over(NAME, mine) as writing:
            await store.sessions.publish(writing, slot("U/it"), None)

    assert refused(main()) is errors.EXISTS
    assert (root / "upload/U/it").read_bytes() == b"other"


def test_what_is_not_whole_is_not_published(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 6)
        await append(store, NAME, b"hello")
        with await store.sessions.take_over(NAME, mine) as writing:
            await store.sessions.publish(writing, slot("U/it"), None)

    assert refused(main()) is errors.SIZE_MISMATCH
    assert names(root) == set()


def test_what_is_published_is_published_once(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 5)
        await append(store, NAME, b"hello")
        for _ in range(2):
            with await store.sessions.take_over(NAME, mine) as writing:
                await store.sessions.publish(writing, slot("U/it"), None)
        with await store.sessions.take_over(NAME, mine) as writing:
            assert writing.found.complete
            assert await store.sessions.keep(writing) == writing.found  # nothing to keep, nothing wrong

    asyncio.run(main())
    assert names(root) == {"upload", "upload/U", "upload/U/it"}


def test_a_process_that_died_between_name_and_note(store: Store, root: Path) -> None:
    """Then the file is there, and the next request learns that the upload is complete."""

    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 5)
        await append(store, NAME, b"hello")
        (root / "upload/U").mkdir(parents=True)
        (root / "upload/U/it").hardlink_to(root / f".hmacfs/uploads/{NAME}")
        with await store.sessions.take_over(NAME, mine) as writing:
            await store.sessions.publish(writing, slot("U/it"), None)
        assert (await store.sessions.durable_status(NAME, mine)).complete

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello"


def test_a_cut_drops_what_the_request_brought_and_no_more(store: Store) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 100)
        await append(store, NAME, b"hello")
        with await store.sessions.take_over(NAME, mine) as writing:
            write(writing, b"wrong bytes")
            await store.sessions.discard_unverified(writing)
        assert (await store.sessions.durable_status(NAME, mine)).offset == 5
        assert (await append(store, NAME, b" world")).offset == 11

    asyncio.run(main())


@pytest.mark.parametrize(("trusted", "offset"), [(False, 5), (True, 11)])
def test_doubtful_bytes_count_once_they_are_trusted(store: Store, *, trusted: bool, offset: int) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 100)
        await append(store, NAME, b"hello")
        with await store.sessions.take_over(NAME, mine) as writing:
            await store.sessions.begin_unverified(writing)
            write(writing, b" world")
            if trusted:
                await store.sessions.confirm(writing)
        assert (await store.sessions.durable_status(NAME, mine)).offset == offset
        assert (await append(store, NAME, b"!")).offset == offset + 1
        assert (await store.sessions.durable_status(NAME, mine)).offset == offset + 1

    asyncio.run(main())


def test_bytes_count_even_if_nobody_came_to_keep_them(store: Store) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 100)
        with await store.sessions.take_over(NAME, mine) as writing:
            write(writing, b"hello")
        assert (await store.sessions.durable_status(NAME, mine)).offset == 5

    asyncio.run(main())


def test_room_that_was_reserved_is_not_what_has_come(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 1000)
        with await store.sessions.take_over(NAME, mine) as writing:
            await store.sessions.declare_length(writing, writing.found.length, 1000)
            write(writing, b"hello")
        assert (await store.sessions.durable_status(NAME, mine)).offset == 5

    asyncio.run(main())
    assert (root / f".hmacfs/uploads/{NAME}").stat().st_size == 5


def test_a_broken_upload_in_one_request_is_gone_on_with(store: Store, root: Path) -> None:
    async def main() -> None:
        with await store.begin(slot("U/it"), 11) as part:
            os.write(part.file.fileno(), b"hello ")
            await store.sessions.salvage(part, NAME, terms())
        found = await store.sessions.durable_status(NAME, mine)
        assert (found.offset, found.length) == (6, 11)
        with await store.sessions.take_over(NAME, mine) as writing:
            write(writing, b"world")
            await store.sessions.keep(writing)
            await store.sessions.publish(writing, slot("U/it"), None)

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello world"
    assert (root / "upload/U/it").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("first", "second", "stands"), [(b"hello", b"he", b"hello"), (b"he", b"hello", b"hello")]
)
def test_of_two_broken_uploads_the_longer_is_kept(
    store: Store, root: Path, first: bytes, second: bytes, stands: bytes
) -> None:
    async def main() -> None:
        for data in (first, second):
            with await store.begin(slot("U/it"), 11) as part:
                os.write(part.file.fileno(), data)
                await store.sessions.salvage(part, NAME, terms())

    asyncio.run(main())
    assert (root / f".hmacfs/uploads/{NAME}").read_bytes() == stands
    assert left(root) == [NAME, f"{NAME}.note"]


def test_a_broken_upload_of_another_token_takes_the_place(store: Store) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 20)
        await append(store, NAME, b"longer than the other")
        with await store.begin(slot("U/it"), 11) as part:
            os.write(part.file.fileno(), b"hello")
            await store.sessions.salvage(part, NAME, terms(most=11))
        found = await store.sessions.durable_status(NAME, anybody)
        assert (found.offset, found.length, found.terms.most) == (5, 11, 11)

    asyncio.run(main())


def test_of_an_upload_that_brought_nothing_nothing_is_kept(store: Store, root: Path) -> None:
    async def main() -> None:
        with await store.begin(slot("U/it"), 11) as part:
            await store.sessions.salvage(part, NAME, terms())

    asyncio.run(main())
    assert left(root) == []


def test_what_is_salvaged_is_in_use_from_then_on(store: Store, clock: Clock) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 11)
        clock.pass_s(LIVES_S - 10)
        with await store.begin(slot("U/it"), 11) as part:
            os.write(part.file.fileno(), b"hello")
            await store.sessions.salvage(part, NAME, terms())
        clock.pass_s(100)
        assert (await store.sessions.durable_status(NAME, mine)).offset == 5

    asyncio.run(main())


def test_a_dropped_upload_never_was(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 11)
        await append(store, NAME, b"hello")
        assert (await store.sessions.drop(NAME, mine)).offset == 5
        with pytest.raises(Refused, match="not_found"):
            await store.sessions.durable_status(NAME, mine)
        assert not store.sessions.has(NAME)
        assert await store.sessions.begin(NAME, terms(), 3)
        assert (await store.sessions.durable_status(NAME, mine)).offset == 0

    asyncio.run(main())
    assert left(root) == [f"{NAME}.note"]


def test_to_drop_a_finished_upload_leaves_its_file(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 5)
        with await store.sessions.take_over(NAME, mine) as writing:
            write(writing, b"hello")
            await store.sessions.keep(writing)
            await store.sessions.publish(writing, slot("U/it"), None)
        assert (await store.sessions.drop(NAME, mine)).complete

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == b"hello"
    assert left(root) == []


# What a join before has come to; in capitals, since it is not to be done again.
@pytest.mark.parametrize("came", [b"", b"ON", b"ONE ", b"ONE TW", b"ONE TWO THREE"])
def test_parts_are_joined_in_their_order(store: Store, root: Path, came: bytes) -> None:
    pieces = {"b" * 32: b"one ", "c" * 32: b"", "d" * 32: b"two ", "e" * 32: b"three"}

    async def main() -> None:
        sessions = store.sessions
        for name, data in pieces.items():
            await sessions.begin(name, terms(""), len(data))
            await append(store, name, data)
        whole = b"".join(pieces.values())
        await sessions.begin(NAME, terms(), len(whole))
        await append(store, NAME, came)
        parts = [await sessions.take_over(name, mine) for name in pieces]
        with await sessions.take_over(NAME, mine) as writing:
            assert (await sessions.concatenate(writing, parts)).offset == len(whole)
            await sessions.publish(writing, slot("U/it"), None)
        for part in parts:
            part.__exit__(None, None, None)

    asyncio.run(main())
    assert (root / "upload/U/it").read_bytes() == came + b"one two three"[len(came) :]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_the_digest_is_of_all_that_stands(store: Store, algorithm: str) -> None:
    async def main() -> str:
        await store.sessions.begin(NAME, terms(), 11)
        await append(store, NAME, b"hello ")
        await append(store, NAME, b"world")
        with await store.sessions.take_over(NAME, mine) as writing:
            return await store.sessions.digest(writing, algorithm)

    assert asyncio.run(main()) == hashlib.new(algorithm, b"hello world").hexdigest()


def test_an_unused_upload_is_gone_and_after_the_sweep_unknown(store: Store, clock: Clock, root: Path) -> None:
    asyncio.run(store.sessions.begin(NAME, terms(), 11))
    asyncio.run(append(store, NAME, b"hello"))
    clock.pass_s(LIVES_S + 1)
    for verb in (store.sessions.durable_status, store.sessions.status, store.sessions.take_over):
        assert refused(verb(NAME, mine)) is errors.UPLOAD_EXPIRED
    assert refused(store.sessions.durable_status(NAME, lambda *_: False)) is errors.NOT_FOUND
    assert asyncio.run(store.sweep_sessions()) == 1
    assert refused(store.sessions.durable_status(NAME, mine)) is errors.NOT_FOUND
    assert left(root) == []


def test_every_request_is_a_use(store: Store, clock: Clock) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(), 11)
        for _ in range(3):
            clock.pass_s(LIVES_S - 10)
            used_s = (await store.sessions.durable_status(NAME, mine)).used_s
            assert abs(used_s - clock() / NANO) < 1
            clock.pass_s(LIVES_S - 10)
            await append(store, NAME, b"x")
        assert await store.sweep_sessions() == 0

    asyncio.run(main())


def test_the_sweep_takes_what_is_over_and_counts_what_was_unfinished(
    store: Store, clock: Clock, root: Path
) -> None:
    whole, old, orphan, young = ("b" * 32, "c" * 32, "d" * 32, "e" * 32)

    async def main() -> None:
        await store.sessions.begin(whole, terms(), 0)
        with await store.sessions.take_over(whole, mine) as writing:
            await store.sessions.publish(writing, slot("U/it"), None)
        await store.sessions.begin(old, terms("upload/old"), 5)
        await append(store, old, b"he")
        (root / f".hmacfs/uploads/{orphan}").write_bytes(b"without a note")
        os.utime(root / f".hmacfs/uploads/{orphan}", ns=(clock(), clock()))
        clock.pass_s(LIVES_S + 1)
        await store.sessions.begin(young, terms("upload/young"), 5)
        assert await store.sweep_sessions() == 1

    asyncio.run(main())
    assert left(root) == [f"{young}.note"]
    assert (root / "upload/U/it").read_bytes() == b""


def test_a_sweep_that_must_end_does_so_after_a_batch(store: Store, clock: Clock) -> None:
    async def main() -> None:
        for number in range(60):
            await store.sessions.begin(f"{number:032x}", terms(f"upload/{number}"), 5)

    asyncio.run(main())
    clock.pass_s(LIVES_S + 1)
    stop = threading.Event()
    stop.set()
    assert store.sessions.sweep(stop) == 50
    assert store.sessions.sweep(threading.Event()) == 10


def test_a_shorter_life_is_the_rule_from_the_next_request_on(store: Store, clock: Clock) -> None:
    asyncio.run(store.sessions.begin(NAME, terms(), 11))
    clock.pass_s(100)
    store.reconfigure(dataclasses.replace(rules(), session_s=50.0))
    assert store.sessions.lives_s == 50.0
    assert refused(store.sessions.durable_status(NAME, mine)) is errors.UPLOAD_EXPIRED


def test_the_sweep_goes_by_the_real_clock_too(root: Path) -> None:
    """To look at a note must not make it look used."""
    rule = dataclasses.replace(rules(), session_s=60.0)
    with contextlib.closing(Store.open(str(root), rule)) as store:
        asyncio.run(store.sessions.begin(NAME, terms(), 11))
        long_ago = (0, 0)
        for name in left(root):
            os.utime(root / ".hmacfs/uploads" / name, ns=long_ago)
        assert refused(store.sessions.durable_status(NAME, mine)) is errors.UPLOAD_EXPIRED
        assert asyncio.run(store.sweep_sessions()) == 1
    assert left(root) == []


def test_the_place_is_cleared_whatever_stands_there(store: Store, clock: Clock, root: Path) -> None:
    async def main() -> None:
        await store.sessions.clear(NAME)  # nothing
        await store.sessions.begin(NAME, terms(), 11)
        clock.pass_s(LIVES_S + 1)
        await store.sessions.clear(NAME)  # expired
        assert await store.sessions.begin(NAME, terms(), 11)
        (root / f".hmacfs/uploads/{NAME}.note").write_bytes(b"damaged")
        await store.sessions.clear(NAME)
        assert await store.sessions.begin(NAME, terms(), 11)

    asyncio.run(main())
