"""Receiving: exactly the granted bytes reach the file, and every way to fail has its refusal."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3

from hmacfs import errors, transfer
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.model import Plan

if TYPE_CHECKING:
    from hmacfs.transfer import BodySink

PLAN = Plan(slab=1 << 15, budget=1 << 20)


@dataclass
class Part:
    file: Descriptor
    length: int
    room: None = None


class Link:
    """A client whose body comes in the given pieces and may break off."""

    def __init__(self, *pieces: bytes, broken: Refused | None = None) -> None:
        self._pieces = pieces
        self._broken = broken

    def receive_into(self, sink: BodySink, plan: Plan) -> asyncio.Future[None]:
        assert plan is PLAN
        poured: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            for piece in self._pieces:
                sink.take(memoryview(piece))
        except Refused as refused:
            poured.set_exception(refused)
        else:
            if self._broken is None:
                poured.set_result(None)
            else:
                poured.set_exception(self._broken)
        return poured


def receive(link: Link, length: int) -> tuple[bytes, bytes]:
    """Return what was stored and its digest."""

    async def whole() -> bytes:
        sink = transfer.FileSink(Descriptor(fd, owned=False), length)
        return await sink.whole(link.receive_into(sink, PLAN))

    fd = os.memfd_create("part")
    try:
        digest = asyncio.run(whole())
        return os.pread(fd, 1 << 20, 0), digest
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "pieces", [(), (b"",), (b"abc",), (b"a", b"", b"bc"), tuple(b"%c" % n for n in range(256))]
)
def test_the_granted_bytes_are_stored_and_digested(pieces: tuple[bytes, ...]) -> None:
    whole = b"".join(pieces)
    assert receive(Link(*pieces), len(whole)) == (whole, blake3(whole).digest())


@pytest.mark.parametrize(
    ("link", "length", "refusal"),
    [
        (Link(b"abc"), 4, errors.SIZE_MISMATCH),
        (Link(b"abc"), 2, errors.SIZE_MISMATCH),
        (Link(b"ab", b"c"), 2, errors.SIZE_MISMATCH),
        (Link(), 1, errors.SIZE_MISMATCH),
        (Link(b"abc", broken=Refused(errors.BODY_INCOMPLETE)), 3, errors.BODY_INCOMPLETE),
        (Link(b"ab", broken=Refused(errors.BODY_TOO_SLOW)), 3, errors.BODY_TOO_SLOW),
    ],
)
def test_anything_else_is_refused(link: Link, length: int, refusal: errors.Refusal) -> None:
    with pytest.raises(Refused) as caught:
        receive(link, length)
    assert caught.value.refusal is refusal


def test_bytes_past_the_grant_are_not_written() -> None:
    fd = os.memfd_create("part")
    sink = transfer.FileSink(Descriptor(fd, owned=False), 3)
    sink.take(memoryview(b"abc"))
    with pytest.raises(Refused):
        sink.take(memoryview(b"d"))
    assert (sink.moved, os.pread(fd, 10, 0)) == (3, b"abc")
    os.close(fd)


@pytest.mark.parametrize("path", ["/dev/full"])
def test_a_full_disk_is_told_as_such(path: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    with pytest.raises(Refused) as caught:
        transfer.FileSink(Descriptor(fd, owned=False), 3).take(memoryview(b"abc"))
    assert caught.value.refusal is errors.DISK_FULL
    os.close(fd)


def test_a_file_that_cannot_be_written_is_a_failed_storage() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(Refused) as caught:
        transfer.FileSink(Descriptor(fd, owned=False), 3).take(memoryview(b"abc"))
    assert caught.value.refusal is errors.STORAGE_FAILED
    os.close(fd)


@pytest.mark.parametrize("boundary", ["", "a\nb"])
def test_a_boundary_that_is_none_is_refused(boundary: str) -> None:
    fd = os.memfd_create("part")
    with pytest.raises(Refused) as caught:
        asyncio.run(transfer.receive_form(Link(), Part(Descriptor(fd, owned=False), 1), boundary, PLAN))
    assert caught.value.refusal is errors.FORM_MALFORMED
    os.close(fd)
