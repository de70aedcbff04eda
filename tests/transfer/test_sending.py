"""Sending over real sockets from real files: every byte in order, one end, and nothing left open."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from hmacfs import transfer
from hmacfs.model import File, KiB, MiB, Plan, Reply, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CONTENT = bytes(range(256)) * 4096  # 1 MiB
PATIENCE_S = 20

uvloop.new_event_loop().close()  # libuv's pipe for signals stays open from the first loop on


class Stage:
    """One reply on its way from one end of a socket to the other."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pieces: list[bytes | Span],
        *,
        budget: int = MiB,
        content: bytes = CONTENT,
        buffer: int = 0,
    ) -> None:
        self.loop = loop
        self.ours, self.theirs = socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setblocking(False)
        if buffer:
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        with tempfile.TemporaryFile() as source:
            source.write(content)
            source.flush()
            self.file = os.dup(source.fileno())
        self.ends: list[str] = []
        self.ended = loop.create_future()
        reply = Reply(
            status=200, code="ok", fields=[], pieces=pieces, file=File(self.file, len(content), 0, 0)
        )
        self.sending = transfer.Sending(
            loop,
            self.ours.fileno(),
            reply=reply,
            pieces=tuple(pieces),
            plan=Plan(slab=MiB, budget=budget),
            finished=self._finished,
        )

    def _finished(self, why: str) -> None:
        self.ends.append(why)
        if not self.ended.done():
            self.ended.set_result(why)

    async def read(self, length: int) -> bytes:
        """Give the next `length` bytes that come out."""
        received = bytearray()
        while len(received) < length:
            more = await self.loop.sock_recv(self.theirs, min(length - len(received), 64 * KiB))
            assert more, "the other end closed"
            received += more
        return bytes(received)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


def play(scene: Callable[[asyncio.AbstractEventLoop], Coroutine[None, None, None]]) -> None:
    """Run a scene on the loop that the server uses; faults in callbacks fail the test."""
    faults: list[object] = []

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        await asyncio.wait_for(scene(loop), PATIENCE_S)
        await asyncio.sleep(0)  # whatever was left scheduled shows itself

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
    assert not faults


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def expected(pieces: list[bytes | Span]) -> bytes:
    return b"".join(CONTENT[p.start : p.stop] if isinstance(p, Span) else p for p in pieces)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("budget", [1 * KiB, 64 * KiB, MiB])
@pytest.mark.parametrize(
    "pieces",
    [
        [b"head"],
        [b"head", Span(0, MiB)],
        [b"head", Span(5, 6), b"\r\n--x\r\n", Span(0, 0), Span(MiB - 9, MiB), b"\r\n--x--\r\n"],
        [b"", Span(0, 1)],
    ],
)
def test_everything_arrives_in_order(pieces: list[bytes | Span], budget: int) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, pieces, budget=budget, buffer=32 * KiB)
        want = expected(pieces)
        stage.sending.run()
        assert await stage.read(len(want)) == want
        await stage.ended
        assert (stage.ends, stage.sending.moved) == ([""], len(want))
        assert not is_open(stage.file)
        stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
def test_a_small_reply_is_out_at_once() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, [b"head", Span(0, 1000)])
        stage.sending.run()
        assert stage.ends == [""]
        assert await stage.read(1004) == b"head" + CONTENT[:1000]
        stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("budget", [64 * KiB, 100 * MiB])
def test_a_client_that_leaves_ends_it(budget: int) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, [b"head", Span(0, MiB)], budget=budget, buffer=32 * KiB)
        stage.sending.run()
        await stage.read(100)
        stage.theirs.close()
        assert await stage.ended == "client_gone"
        assert stage.ends == ["client_gone"]
        assert not is_open(stage.file)
        stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("budget", [1 * KiB, 100 * MiB])
def test_an_abort_is_final(budget: int) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, [b"head", Span(0, MiB)], budget=budget, buffer=32 * KiB)
        stage.sending.run()
        stage.sending.abort("client_stalled")
        stage.sending.abort("client_gone")
        moved = stage.sending.moved
        stage.sending.run()
        await asyncio.sleep(0)
        assert (stage.ends, stage.sending.moved) == (["client_stalled"], moved)
        assert not is_open(stage.file)
        stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("budget", [1 * KiB, MiB])
def test_a_file_that_shrank_is_not_padded(budget: int) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, [b"head", Span(0, 5000)], content=b"x" * 3000, budget=budget)
        stage.sending.run()
        assert await stage.ended == "file_shrunk"
        assert await stage.read(3004) == b"head" + b"x" * 3000
        assert stage.sending.moved == 3004
        stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
def test_what_has_arrived_is_less_than_what_was_sent_until_it_is_read() -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, [b"head", Span(0, MiB)], buffer=32 * KiB)
        stage.sending.run()
        before = stage.sending.arrived
        assert before < stage.sending.moved < MiB
        await stage.read(16 * KiB)
        assert stage.sending.arrived > before
        stage.sending.abort("client_gone")
        stage.close()

    play(scene)


PIECE = st.one_of(
    st.binary(max_size=3000),
    st.tuples(st.integers(0, MiB), st.integers(0, 9000)).map(lambda at: Span(at[0], min(at[0] + at[1], MiB))),
)


@settings(max_examples=50)
@given(st.lists(PIECE, max_size=8), st.integers(1, 5000))
def test_any_reply_arrives_whole(pieces: list[bytes | Span], budget: int) -> None:
    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, pieces, budget=budget, buffer=4 * KiB)
        want = expected(pieces)
        stage.sending.run()
        assert await stage.read(len(want)) == want
        await stage.ended
        assert stage.ends == [""]
        stage.close()

    play(scene)
