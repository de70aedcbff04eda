"""A slow client's packets are looked at several at a time, over real TCP; and none is left lying."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct

import pytest
from scenes import play
from stages import Stage, until

from hmacfs import transfer
from hmacfs.model import MiB
from hmacfs.policy.read_threshold import AT_ONCE

BODY = bytes(range(256)) * 4096  # 1 MiB
FIRST = 5_000
ITERATIONS = 50


def stored(stage: Stage, count: int) -> bool:
    return sum(stage.advanced) == count


async def begin(loop: asyncio.AbstractEventLoop, length: int) -> Stage:
    """Return an upload whose first bytes came so quickly that as many are waited for."""
    stage = Stage(loop, length=length, tcp=True)
    await stage.send(BODY[:FIRST])
    await until(functools.partial(stored, stage, FIRST))
    assert stage.scheduler.wakes_from(stage.sock) == min(FIRST, length - FIRST)
    return stage


async def send_unseen(stage: Stage, stop: int) -> None:
    """Send what is too little to look at; nothing of it is stored."""
    await stage.send(BODY[FIRST:stop])
    for _ in range(ITERATIONS):
        await asyncio.sleep(0)
    assert stored(stage, FIRST)


def test_a_few_bytes_are_looked_at_when_the_worker_looks_around() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = await begin(loop, MiB)
        await send_unseen(stage, 9_000)
        stage.scheduler.wake_stalled()
        for _ in range(ITERATIONS):
            await asyncio.sleep(0)
        assert stored(stage, FIRST)  # it may just have begun to wait
        stage.scheduler.wake_stalled()
        await until(functools.partial(stored, stage, 9_000))
        await stage.close()

    play(scene)


def test_enough_bytes_are_looked_at_at_once_and_the_last_ones_too() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = await begin(loop, MiB)
        await stage.send(BODY[FIRST : 2 * FIRST])
        await until(functools.partial(stored, stage, 2 * FIRST))
        sent = loop.create_task(stage.send(BODY[2 * FIRST :]))
        assert await stage.ended is None
        await sent
        assert stage.stored == BODY
        # The next request may be shorter than what was waited for.
        assert stage.ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == AT_ONCE
        await stage.close()

    play(scene)


def test_what_is_left_is_never_less_than_what_is_waited_for() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = await begin(loop, 9_000)
        await stage.send(BODY[FIRST:9_000])
        assert await stage.ended is None
        assert stage.stored == BODY[:9_000]
        await stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("reset", [False, True])
def test_what_came_before_the_end_is_stored_however_little(*, reset: bool) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = await begin(loop, MiB)
        await send_unseen(stage, 9_000)
        if reset:
            stage.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stage.theirs.close()
        assert await stage.ended is transfer.Broken.ENDED
        assert stage.stored == BODY[:9_000]
        await stage.close()

    play(scene)
