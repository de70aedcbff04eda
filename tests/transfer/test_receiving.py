"""Receiving over real sockets into real files: exactly the body, whatever way it comes and ends."""

from __future__ import annotations

import asyncio
import socket

import pytest
import stages
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import play
from stages import Stage, until

from hmacfs import errors, transfer
from hmacfs.errors import Refused
from hmacfs.model import KiB, MiB
from hmacfs.policy import disk_latency

BODY = bytes(range(256)) * 4096  # 1 MiB
NEXT = b"GET /next HTTP/1.1\r\n\r\n"


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("slab", [1000, 64 * KiB, 2 * MiB])
@pytest.mark.parametrize("held", [0, 7, 20_000])
def test_the_body_is_stored_and_what_follows_is_left(slab: int, held: int, *, slow: bool) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, first=BODY[:held], slab=slab, slow=slow, steady=True)
        sent = loop.create_task(stage.send(BODY[held:] + NEXT))
        assert await stage.ended is None
        await sent
        assert stage.stored == BODY
        assert stage.sink.digest() == blake3(BODY).digest()
        assert sum(stage.advanced) == MiB
        assert stage.ours.recv(1000) == NEXT
        assert sum(stage.lent) == 0
        assert bool(stage.lent) == slow
        await stage.close()

    play(scene)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 50_000), min_size=1, max_size=12),
    st.integers(0, 3000),
    st.integers(1, 70_000),
    st.booleans(),
)
def test_where_the_wire_is_cut_does_not_matter(cuts: list[int], held: int, slab: int, slow: bool) -> None:  # noqa: FBT001
    length = held + sum(cuts)

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=length, first=BODY[:held], slab=slab, slow=slow)
        at = held
        for cut in cuts:
            await stage.send(BODY[at : at + cut])
            at += cut
            await asyncio.sleep(0)
        assert await stage.ended is None
        assert stage.stored == BODY[:length]
        assert stage.sink.digest() == blake3(BODY[:length]).digest()
        await stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("slow", [False, True])
def test_a_client_that_ends_in_the_middle_is_told_apart(*, slow: bool) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=slow)
        await stage.send(BODY[:100_000])
        stage.theirs.shutdown(socket.SHUT_WR)
        assert await stage.ended is transfer.Broken.ENDED
        assert stage.stored == BODY[:100_000]
        assert sum(stage.advanced) == 100_000
        await stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(("came", "broken"), [(0, transfer.Broken.LOST), (1000, transfer.Broken.ENDED)])
def test_what_came_before_a_reset_is_stored(came: int, broken: transfer.Broken, *, slow: bool) -> None:
    """An upload may go on with it."""

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=slow)
        stage.theirs.send(BODY[:came])
        stage.ours.send(b"never read")  # closing then resets, unix(7)
        stage.theirs.close()
        assert await stage.ended is broken
        assert stage.stored == BODY[:came]
        await stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(
    ("path", "limit", "refusal"),
    [("/dev/full", MiB, errors.DISK_FULL), ("", 70_000, errors.SIZE_MISMATCH)],
)
def test_a_refusal_in_the_middle_ends_it(
    path: str, limit: int, refusal: errors.Refusal, *, slow: bool
) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=slow, path=path, limit=limit)
        await stage.send(BODY[:100_000])
        broken = await stage.ended
        assert isinstance(broken, Refused)
        assert broken.refusal is refusal
        assert len(stage.endings) == 1
        await stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("slow", [False, True])
def test_an_abort_is_final(*, slow: bool) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=slow)
        await stage.send(BODY[:100_000])
        await asyncio.sleep(0)
        stage.receiving.abort()
        await stage.close()
        assert stage.endings == []

    play(scene)


def test_a_disk_found_slow_is_left_to_threads_and_taken_back_when_fast() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB)
        await stage.send(BODY[:1000])
        await until(lambda: bool(stage.advanced))
        assert stage.lent == []
        stage.disk_threads.note(2 * disk_latency.ALARM_S)
        sent = loop.create_task(stage.send(BODY[1000:]))
        await until(lambda: bool(stage.lent))
        while stage.disk_threads.slow:
            stage.disk_threads.note(0.0)
        assert await stage.ended is None
        await sent
        assert stage.stored == BODY
        await stage.close()

    play(scene)


@pytest.mark.parametrize(("came", "held"), [(1, 32 * KiB), (40_000, 64 * KiB), (90_000, 128 * KiB)])
def test_no_more_is_held_for_a_slow_disk_than_has_come(came: int, held: int) -> None:
    """Whatever its class: a client that sends little is waited for more often than served."""

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, length=MiB, slow=True)
        stage.theirs.send(BODY[:came])
        await until(lambda: bool(stage.advanced))
        assert max(stage.lent) == held
        sent = loop.create_task(stage.send(BODY[came:]))
        assert await stage.ended is None
        await sent
        assert stage.stored == BODY
        await stage.close()

    play(scene)


def test_large_ones_take_turns_and_leave_the_loop_to_others() -> None:
    """Two bodies that are there already: their pieces alternate, and a third party runs in between."""

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        scheduler = stages.scheduler(loop, slab=MiB, connections=range(3))
        order: list[str] = []

        class Mover:
            def __init__(self, name: str) -> None:
                self.name = name

            def turn(self, limit: int) -> int:
                order.append(self.name)
                if len(order) < 6:
                    scheduler.reschedule(self)
                return limit

            def fail(self, error: Exception) -> None:
                raise error

        for name in ("a", "b"):
            scheduler.reschedule(Mover(name))
        for _ in range(12):
            await asyncio.sleep(0)
            order.append("-")
        shown = "".join(order).strip("-")
        assert shown.replace("-", "") == "ababab"[: shown.count("a") + shown.count("b")]
        assert "ab" not in shown
        assert "ba" not in shown
        scheduler.close()
        await scheduler.disk_threads.close()

    play(scene)
