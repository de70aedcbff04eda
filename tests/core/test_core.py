"""The mechanism against real files and sockets; also run under the sanitizers and the tracer."""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from hmacfs import _core
from hmacfs._descriptor import Descriptor
from hmacfs.model import KiB, MiB, Span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_FILE = -1


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(60)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(range(256)) * 4096)  # 1 MiB
    yield fd
    os.close(fd)


def content(start: int, stop: int) -> bytes:
    return (bytes(range(256)) * 4096)[start:stop]


def drained(flow: _core.PieceSender, sock: socket.socket, budget: int = 64 * KiB) -> tuple[bytes, list[int]]:
    """Step until the flow stops for good; give what came out and why it stopped each time."""
    received = bytearray()
    reasons: list[int] = []
    while not reasons or reasons[-1] in {_core.WAIT, _core.BUDGET}:
        reasons.append(flow.step(budget))
        while len(received) < flow.moved:
            received += sock.recv(MiB)
    return bytes(received), reasons


class TestSlab:
    def test_is_a_writable_buffer_of_its_size(self) -> None:
        slab = _core.Slab(32 * KiB)
        view = memoryview(slab)
        view[:5] = b"hello"
        assert (len(slab), slab.size, view.nbytes, view.readonly) == (32768, 32768, 32768, False)
        assert bytes(view[:5]) == b"hello"

    def test_memory_outlives_the_slab_while_a_view_is_held(self) -> None:
        view = memoryview(_core.Slab(4 * KiB))
        view[:] = b"x" * 4096
        assert bytes(view) == b"x" * 4096

    @pytest.mark.parametrize("size", [0, -1])
    def test_refuses_sizes_that_are_none(self, size: int) -> None:
        with pytest.raises(ValueError, match="at least one byte"):
            _core.Slab(size)


class TestFileWriter:
    def test_writes_in_order(self, tmp_path: Path) -> None:
        fd = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT)
        intake = _core.FileWriter(Descriptor(fd, owned=False), 4 * KiB)
        for piece in (b"one ", b"", memoryview(bytearray(b"two ")), b"three"):
            intake.take(piece)
        assert intake.moved == 13
        assert os.pread(fd, 100, 0) == b"one two three"
        os.close(fd)

    def test_full_device_raises_enospc(self) -> None:
        fd = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(OSError, match="No space left") as caught:
            _core.FileWriter(Descriptor(fd, owned=False), 4 * KiB).take(b"x")
        assert caught.value.errno == errno.ENOSPC
        os.close(fd)

    def test_size_limit_keeps_the_count_of_what_was_written(self, tmp_path: Path) -> None:
        fd = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        intake = _core.FileWriter(Descriptor(fd, owned=False), 4 * KiB)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                intake.take(b"x" * 25)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.errno == errno.EFBIG
        assert intake.moved == os.fstat(fd).st_size == 10
        os.close(fd)


class TestPieceSender:
    def test_pieces_leave_in_order(self, pair: tuple[socket.socket, socket.socket], file: int) -> None:
        pieces = (b"head ", Span(3, 10), b"", b" middle ", Span(100, 100), Span(0, 4), b" tail")
        flow = _core.PieceSender(
            Descriptor(pair[0].fileno(), owned=False), Descriptor(file, owned=False), pieces
        )
        received, reasons = drained(flow, pair[1])
        assert received == b"head " + content(3, 10) + b" middle " + content(0, 4) + b" tail"
        assert reasons == [_core.DONE]

    def test_large_file_in_turns_of_the_budget(
        self, pair: tuple[socket.socket, socket.socket], file: int
    ) -> None:
        flow = _core.PieceSender(
            Descriptor(pair[0].fileno(), owned=False),
            Descriptor(file, owned=False),
            (b"h" * 1000, Span(0, MiB)),
        )
        received, reasons = drained(flow, pair[1], budget=10_000)
        assert received == b"h" * 1000 + content(0, MiB)
        assert reasons[-1] == _core.DONE
        assert _core.BUDGET in reasons
        assert len(reasons) >= MiB // 10_000

    def test_full_socket_says_wait_and_goes_on_later(
        self, pair: tuple[socket.socket, socket.socket], file: int
    ) -> None:
        flow = _core.PieceSender(
            Descriptor(pair[0].fileno(), owned=False), Descriptor(file, owned=False), (Span(0, MiB),)
        )
        assert flow.step(MiB) == _core.WAIT
        stuck = flow.moved
        assert 0 < stuck < MiB
        assert flow.step(MiB) == _core.WAIT
        assert flow.moved == stuck
        received, reasons = drained(flow, pair[1], budget=MiB)
        assert received == content(0, MiB)
        assert reasons[-1] == _core.DONE

    def test_file_that_shrank_says_ended(self, pair: tuple[socket.socket, socket.socket], file: int) -> None:
        os.ftruncate(file, 100)
        flow = _core.PieceSender(
            Descriptor(pair[0].fileno(), owned=False), Descriptor(file, owned=False), (Span(50, 200),)
        )
        received, reasons = drained(flow, pair[1])
        assert (received, reasons) == (content(50, 100), [_core.ENDED])

    def test_gone_client_raises(self, pair: tuple[socket.socket, socket.socket], file: int) -> None:
        pair[1].close()
        flow = _core.PieceSender(
            Descriptor(pair[0].fileno(), owned=False), Descriptor(file, owned=False), (b"head", Span(0, 10))
        )
        with pytest.raises(BrokenPipeError):
            flow.step(KiB)
        assert flow.moved == 0

    def test_refuses_what_is_no_piece(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with pytest.raises(TypeError):
            _core.PieceSender(Descriptor(pair[0].fileno(), owned=False), None, (5,))  # type: ignore[arg-type] # the point of the test


class TestOpenBeneath:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Iterator[int]:
        (tmp_path / "root/sub").mkdir(parents=True)
        (tmp_path / "root/sub/file").write_bytes(b"inside")
        (tmp_path / "outside").write_bytes(b"outside")
        (tmp_path / "root/link").symlink_to("sub/file")
        (tmp_path / "root/linked").symlink_to("sub")
        fd = os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY)
        yield fd
        os.close(fd)

    def test_opens_what_lies_beneath(self, root: int) -> None:
        with closing(os.fdopen(_core.open_beneath(root, b"sub/file", os.O_RDONLY), "rb")) as file:
            assert file.read() == b"inside"

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            (b"../outside", errno.EXDEV),
            (b"sub/../../outside", errno.EXDEV),
            (b"/etc/passwd", errno.EXDEV),
            (b"link", errno.ELOOP),
            (b"linked/file", errno.ELOOP),
            (b"sub/none", errno.ENOENT),
            (b"sub/file/x", errno.ENOTDIR),
            (b"x" * 256, errno.ENAMETOOLONG),
        ],
    )
    def test_refuses_the_rest(self, root: int, path: bytes, code: int) -> None:
        with pytest.raises(OSError, match=r".") as caught:
            _core.open_beneath(root, path, os.O_RDONLY)
        assert caught.value.errno == code

    def test_refuses_a_nul(self, root: int) -> None:
        with pytest.raises(ValueError, match="null byte"):
            _core.open_beneath(root, b"sub\0/file", os.O_RDONLY)


def test_fallocate_reserves_without_growing_the_file(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    _core.fallocate_keep(fd, MiB)
    found = os.fstat(fd)
    assert found.st_size == 0
    assert found.st_blocks * 512 >= MiB
    with pytest.raises(OSError, match=r".") as caught:
        _core.fallocate_keep(fd, 1 << 60)
    assert caught.value.errno in {errno.EFBIG, errno.ENOSPC}
    os.close(fd)
