"""The size of an upload's buffer, over real sockets: it follows the client, within the memory there is."""

from __future__ import annotations

import asyncio
import functools

import pytest
import stages
from scenes import play
from stages import Stage, until

from hmacfs.metrics import catalogue
from hmacfs.model import KiB, MiB
from hmacfs.policy import buffer_classes, buffer_memory

BODY = bytes(range(256)) * 4096  # 1 MiB
FIXED = buffer_classes.between(32 * KiB, 4 * MiB, adaptive=False)


def lent(stage: Stage) -> list[int]:
    """Return what was lent, in order; a slow disk makes an upload borrow what else nobody sees."""
    return [size // KiB for size in stage.lent if size > 0]


def stored(stage: Stage, count: int) -> bool:
    return sum(stage.advanced) == count


async def trickle(stage: Stage, pieces: int, size: int) -> None:
    """Send so many pieces, each once the one before is stored."""
    for count in range(pieces):
        await stage.send(BODY[:size])
        await until(functools.partial(stored, stage, (count + 1) * size))


def test_a_client_that_fills_its_buffer_gets_a_larger_one() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=True, initial=32 * KiB)
        sent = loop.create_task(stage.send(BODY))
        assert await stage.ended is None
        await sent
        assert lent(stage)[:2] == [32, 64]
        assert max(lent(stage)) > 64
        assert stage.row.read(catalogue.BUFFER_CHANGES["up"]) >= 2
        assert stage.row.read(catalogue.BUFFER_CHANGES["down"]) == 0
        await stage.close()

    play(scene)


def test_one_that_leaves_it_nearly_empty_gets_a_smaller_one() -> None:
    """And before that is known, it borrows no more than it can fill."""

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=True, initial=128 * KiB)
        await trickle(stage, 30, 1000)
        assert set(lent(stage)) == {32}
        assert stage.row.read(catalogue.BUFFER_CHANGES["down"]) == 2
        await stage.close()

    play(scene)


def test_on_a_fast_disk_it_is_the_same() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, initial=64 * KiB, steady=True)
        await trickle(stage, 20, 1000)
        assert stage.row.read(catalogue.BUFFER_CHANGES["down"]) == 1
        assert stage.row.read(catalogue.BUFFER_CHANGES["up"]) == 0
        sent = loop.create_task(stage.send(BODY[20_000:]))
        assert await stage.ended is None
        await sent
        assert stage.row.read(catalogue.BUFFER_CHANGES["up"]) >= 1
        assert lent(stage) == []
        await stage.close()

    play(scene)


def test_a_fixed_size_is_the_smallest() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=True, sizes=FIXED, initial=MiB)
        sent = loop.create_task(stage.send(BODY))
        assert await stage.ended is None
        await sent
        assert set(lent(stage)) == {32}
        await stage.close()

    play(scene)


def test_a_small_body_borrows_no_more_than_it_fills() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=50_000, slow=True)
        await stage.send(BODY[:50_000])
        assert await stage.ended is None
        assert set(lent(stage)) == {64}
        await stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("memory", [buffer_memory.LEAST_SHARE_BYTES, MiB])
def test_many_uploads_to_a_slow_disk_share_little_memory_and_none_fails(memory: int) -> None:
    """All of them could fill a buffer of 1 MiB; there is memory for one or two."""

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        given: list[int] = []
        most = [0]

        def note(size: int) -> None:
            given.append(size)
            most[0] = max(most[0], sum(given))

        shared = stages.scheduler(loop, slab=MiB, lent=note, memory=memory)
        many = [Stage(loop, length=MiB, shared=shared, slow=True) for _ in range(24)]
        sending = [loop.create_task(stage.send(BODY)) for stage in many]
        assert [await stage.ended for stage in many] == [None] * len(many)
        await asyncio.gather(*sending)
        assert all(stage.stored == BODY for stage in many)
        share = buffer_memory.share(memory, 1, stages.SIZES)
        assert 0 < most[0] <= share.lent <= memory - share.slab
        assert sum(given) == 0
        for stage in many:
            stage.receiving.abort()
        await shared.disk_threads.close()
        shared.close()
        for stage in many:
            stage.leave()

    play(scene)


def test_what_came_is_a_share_of_what_would_have_fitted() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, sizes=FIXED)
        sent = loop.create_task(stage.send(BODY))
        assert await stage.ended is None
        await sent
        buckets = catalogue.BUFFER_UTILIZATION
        seen = [stage.row.read(buckets.first + place) for place in range(len(buckets.bounds) + 1)]
        assert sum(seen) == 1
        assert seen[-1] == 0  # never more than all of it
        await stage.close()

    play(scene)
