"""Sending over real sockets from real files: every byte in order, one end, and nothing left open."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest
import stages
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import play

from hmacfs import transfer
from hmacfs._descriptor import Descriptor
from hmacfs.model import File, KiB, MiB, Plan, Reply, Span

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Stage:
    """One reply on its way from one end of a socket to the other."""

    def __init__(  # noqa: PLR0913 - what the tests vary
        self,
        loop: asyncio.AbstractEventLoop,
        pieces: list[bytes | Span],
        *,
        budget: int = MiB,
        content: bytes = CONTENT,
        buffer: int = 0,
        path: Path | None = None,
    ) -> None:
        self.loop = loop
        self.lent: list[int] = []
        self.scheduler = stages.scheduler(loop, slab=4 * KiB, lent=self.lent.append)
        self.disk_threads = self.scheduler.disk_threads
        self.ours, self.theirs = socket.socketpair()
        for sock in (self.ours, self.theirs):
            sock.setblocking(False)
        if buffer:
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        with tempfile.TemporaryFile() as source:
            source.write(content)
            source.flush()
            self.file = os.dup(source.fileno())
        if path is not None:
            os.close(self.file)
            self.file = os.open(path, os.O_RDONLY)
        self.ends: list[str] = []
        self.ended = loop.create_future()
        reply = Reply(
            status=200,
            code="ok",
            fields=[],
            pieces=pieces,
            file=File(Descriptor(self.file), len(content), 0, 0),
        )
        self.sending = transfer.PlainReplyTransfer(
            self.scheduler,
            Descriptor(self.ours.fileno(), owned=False),
            transfer.RenderedReply(reply, tuple(pieces)),
            Plan(slab=MiB, budget=budget),
            self._finished,
        )

    def _finished(self, why: str) -> None:
        self.ends.append(why)
        if not self.ended.done():
            self.ended.set_result(why)

    async def read(self, length: int) -> bytes:
        """Return the next `length` bytes that come out."""
        received = bytearray()
        while len(received) < length:
            more = await self.loop.sock_recv(self.theirs, min(length - len(received), 64 * KiB))
            assert more, "the other end closed"
            received += more
        return bytes(received)

    def close(self) -> None:
        self.scheduler.close()
        self.ours.close()
        self.theirs.close()


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


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("span", [Span(0, 3 * MiB), Span(MiB + 5, 2 * MiB + 7), Span(0, 40 * MiB)])
@pytest.mark.parametrize("cold", [False, True])
def test_a_file_that_is_not_in_memory_is_read_beside_the_loop(
    span: Span, tmp_path: Path, *, cold: bool
) -> None:
    path = tmp_path / "file"
    with path.open("wb") as made:
        made.write(CONTENT * 40)
        made.flush()
        os.fsync(made.fileno())
        if cold:
            os.posix_fadvise(made.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, [b"head", span], path=path)
        stage.sending.run()
        assert await stage.read(4 + span.length) == b"head" + (CONTENT * 40)[span.start : span.stop]
        await stage.ended
        assert stage.ends == [""]
        assert bool(stage.lent) is cold
        assert sum(stage.lent) == 0
        await stage.disk_threads.close()
        stage.close()

    play(scene)


@pytest.mark.usefixtures("no_fd_leak")
def test_an_abort_while_a_file_is_read_is_final(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as made:
        made.write(CONTENT)
        made.flush()
        os.fsync(made.fileno())
        os.posix_fadvise(made.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    async def scene(loop: asyncio.AbstractEventLoop) -> None:
        stage = Stage(loop, [b"head", Span(0, MiB)], path=path)
        stage.sending.run()
        stage.sending.abort("client_gone")
        await stage.disk_threads.close()
        assert stage.ends == ["client_gone"]
        assert stage.sending.moved == 0
        stage.close()

    play(scene)
