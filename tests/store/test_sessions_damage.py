"""Unfinished uploads after a crash, a power cut, or something that should not have happened."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage import anybody, append, mine, names, rules, slot, terms, write

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "a" * 32
BOOT_AT, BOOT_BYTES = 32, 16


def place(root: Path) -> Path:
    return root / ".hmacfs/uploads" / NAME


def note(root: Path) -> Path:
    return place(root).with_name(f"{NAME}.note")


def forge(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    """Return a store by the real clock, which is the one that a forged note is dated by."""
    with contextlib.closing(Store.open(str(root), rules())) as opened:
        yield opened


def boot_again(root: Path) -> None:
    """Have the note say that its last writer was of another boot."""
    forge(note(root), BOOT_AT, bytes(BOOT_BYTES))


@pytest.mark.usefixtures("no_fd_leak")
def test_all_that_is_known_outlives_the_process(root: Path) -> None:
    for expected, data in ((0, b"hello "), (6, b"wor"), (9, b"ld")):
        with contextlib.closing(Store.open(str(root), rules())) as store:
            if not expected:
                asyncio.run(store.sessions.begin(NAME, terms(), 11))
            found = asyncio.run(store.sessions.durable_status(NAME, mine))
            assert (found.offset, found.length, found.terms) == (expected, 11, terms())
            asyncio.run(append(store, NAME, data))
    assert place(root).read_bytes() == b"hello world"


@pytest.mark.usefixtures("no_fd_leak")
def test_after_a_power_cut_a_file_ends_at_its_first_hole(store: Store, root: Path) -> None:
    """Its size may have reached the disk before its bytes did."""
    asyncio.run(store.sessions.begin(NAME, terms(), 1 << 20))
    asyncio.run(append(store, NAME, b"x" * 8192))
    os.truncate(place(root), 100_000)
    assert (
        asyncio.run(store.sessions.durable_status(NAME, mine)).offset == 100_000
    )  # of this boot: somebody wrote them
    boot_again(root)
    assert asyncio.run(store.sessions.durable_status(NAME, mine)).offset == 8192
    assert place(root).read_bytes() == b"x" * 8192
    os.truncate(place(root), 20_000)
    assert asyncio.run(store.sessions.durable_status(NAME, mine)).offset == 20_000  # the boot was noted


@pytest.mark.usefixtures("no_fd_leak")
def test_after_a_power_cut_the_hole_before_a_chunk_stays(store: Store, root: Path) -> None:
    async def main() -> None:
        await store.sessions.begin(NAME, terms(chunk=8192), 16384)
        taken = await store.sessions.take_chunk(NAME, mine, 1, alone=False)
        assert taken is not None
        with taken as writing:
            write(writing, b"b" * 8192)
            await store.sessions.keep_chunk(writing)
        boot_again(root)
        with await store.sessions.take_over(NAME, mine) as writing:
            assert list(writing.found.chunks) == [1]
        assert place(root).stat().st_size == 16384

    asyncio.run(main())


def damages() -> Iterator[bytes]:
    """Return what may stand in a note that is none."""
    yield b""
    yield b"hmacfs1\n"
    yield b"hmacfs2\n" + bytes(500)
    yield b"hmacfs1\n" + bytes(48)  # no terms
    head = struct.pack("<8sQqII16s16x", b"hmacfs1\n", 1, 5, 0, 2**32 - 1, b"")
    yield head + b"{}"  # more terms than there are bytes
    for text in (
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"key": 1}',
        b'{"parts": 1, "digests": 2}',
        b"{" * 9000,
    ):
        yield struct.pack("<8sQqII16s16x", b"hmacfs1\n", 1, 5, 0, len(text), b"") + text
    good = b'{"key": "upload/U/it", "owner": "me", "parts": [], "digests": []}'
    yield struct.pack("<8sQqII16s16x", b"hmacfs1\n", 1, 5, 77, len(good), b"") + good  # an unknown state


@pytest.mark.usefixtures("no_fd_leak")
@pytest.mark.parametrize("damaged", list(damages()))
def test_a_damaged_note_is_no_upload_and_holds_nothing_up(store: Store, root: Path, damaged: bytes) -> None:
    note(root).write_bytes(damaged)
    place(root).write_bytes(b"whatever")

    async def main() -> None:
        sessions = store.sessions
        for verb in (sessions.durable_status, sessions.status, sessions.take_over, sessions.drop):
            with pytest.raises(Refused, match="not_found"):
                await verb(NAME, anybody)
        with pytest.raises(Refused, match="not_found"):
            await sessions.take_chunk(NAME, anybody, 0, alone=False)
        with await store.begin(slot("U/it"), 11) as part:
            os.write(part.file.fileno(), b"hello")
            await sessions.salvage(part, NAME, terms(most=11))
        assert (await sessions.durable_status(NAME, mine)).offset == 5

    asyncio.run(main())
    assert names(root) == set()


@pytest.mark.usefixtures("no_fd_leak")
def test_a_damaged_note_is_swept_like_any_other(store: Store, root: Path) -> None:
    note(root).write_bytes(b"damaged")
    place(root).write_bytes(b"whatever")
    assert asyncio.run(store.sweep_sessions()) == 0
    assert note(root).exists()
    os.utime(note(root), (0, 0))
    os.utime(place(root), (0, 0))
    assert asyncio.run(store.sweep_sessions()) == 0
    assert not note(root).exists()
    assert not place(root).exists()


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
@pytest.mark.parametrize("suffix", ["", ".note"])
@pytest.mark.usefixtures("no_fd_leak")
def test_what_is_no_file_is_not_followed(store: Store, root: Path, kind: str, suffix: str) -> None:
    secret = root.parent / "secret"
    secret.write_bytes(b"untouched")
    asyncio.run(store.sessions.begin(NAME, terms(), 11))
    here = place(root).with_name(NAME + suffix)
    here.unlink(missing_ok=not suffix)  # of the bytes there is no file yet
    if kind == "link":
        here.symlink_to(secret)
    elif kind == "directory":
        here.mkdir()
    else:
        os.mkfifo(here)
    with pytest.raises(Refused):
        asyncio.run(append(store, NAME, b"hello"))
    assert secret.read_bytes() == b"untouched"


def test_terms_longer_than_a_page_are_read_whole(store: Store) -> None:
    long = terms(f"upload/{'x' * 200}")
    metadata = 'filename "' * 40_000
    asyncio.run(store.sessions.begin(NAME, type(long)(key=long.key, owner="me", metadata=metadata), 11))
    assert asyncio.run(store.sessions.durable_status(NAME, mine)).terms.metadata == metadata


@settings(max_examples=30)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_damage_is_a_fault(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    root = tmp_path_factory.mktemp("damage")
    with contextlib.closing(Store.open(str(root), rules())) as store:
        asyncio.run(store.sessions.begin(NAME, terms(), 11))
        forge(note(root), at, junk)
        with contextlib.suppress(Refused):
            asyncio.run(store.sessions.durable_status(NAME, anybody))
        with contextlib.suppress(Refused):
            asyncio.run(append(store, NAME, b"hello"))
        asyncio.run(store.sessions.clear(NAME))
        assert not store.sessions.has(NAME)
        with pytest.raises(Refused) as caught:
            asyncio.run(store.sessions.durable_status(NAME, anybody))
        assert caught.value.refusal is errors.NOT_FOUND
