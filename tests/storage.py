"""What tests of the store need: slots, rules, a clock to set, an upload in one line or in many requests."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from hmacfs.model import Durability, Endpoint, Secret, Slot, StoredFile
from hmacfs.store import Rules
from hmacfs.store.sessions import UploadInfo
from hmacfs.transfer import SharedSink

if TYPE_CHECKING:
    from pathlib import Path

    from hmacfs.store import Store
    from hmacfs.store.part import Part
    from hmacfs.store.sessions import Found, WriteLease

NOW_NS = 1_800_000_000 * 10**9
NANO = 10**9


class Clock:
    """A wall clock that a test sets; it never shows the same time twice."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * NANO)


def slot(rel: str, directory: str = "upload") -> Slot:
    endpoint = Endpoint(
        prefix="/upload/", directory=directory, protocols=("v2",), secrets=(Secret(b"x" * 32),)
    )
    return Slot(endpoint=endpoint, rel=rel, key=f"{directory}/{rel}" if directory else rel)


def rules(
    *, ttl_s: float | None = None, min_free: int = 0, durability: Durability = Durability.FULL
) -> Rules:
    return Rules(
        durability=durability,
        min_free_bytes=min_free,
        file_ttl_s=ttl_s,
        file_mode=0o640,
        directory_mode=0o750,
        session_s=86_400.0,
        most_unfinished=100,
        directories=frozenset({"upload"}),
        automatic_retry=True,
        exponential_backoff=True,
        circuit_breaker=True,
    )


async def put(
    store: Store,
    place: Slot,
    body: bytes = b"body",
    *,
    expires: float | None = None,
    sha256: bytes | None = None,
) -> StoredFile:
    with await store.begin(place, len(body)) as part:
        os.write(part.file.fileno(), body)
        stored = StoredFile(
            key=place.key,
            size=len(body),
            content_type="text/plain",
            owner="a@example.org",
            expires=expires,
            digest=b"d" * 32,
            sha256=sha256,
        )
        return await part.commit(stored)


def plain(part: Part, size: int | None = None) -> StoredFile:
    """Return what is known of a file of which nothing is."""
    assert part.slot is not None
    return StoredFile(key=part.slot.key, size=part.length if size is None else size)


def names(root: Path) -> set[str]:
    """Return what stands in the storage, private state aside."""
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.relative_to(root).parts[0] != ".hmacfs"}


def rows(root: Path) -> list[tuple[str, int]]:
    """Return key and mtime of each row of the index."""
    with closing(sqlite3.connect(root / ".hmacfs/index.db")) as connection:
        return connection.execute("SELECT key, mtime_ns FROM file ORDER BY key").fetchall()


def terms(
    key: str = "upload/U/it",
    *,
    most: int = 1 << 20,
    chunk: int = 0,
    digests: tuple[tuple[str, str], ...] = (),
) -> UploadInfo:
    """Return what an unfinished upload is begun with."""
    return UploadInfo(key=key, owner="me", content_type="text/plain", most=most, chunk=chunk, digests=digests)


def anybody(_terms: UploadInfo, _length: int | None) -> bool:
    return True


def mine(terms: UploadInfo, _length: int | None) -> bool:
    return terms.owner == "me"


def write(writing: WriteLease, data: bytes) -> None:
    """Write what comes next, as a request's body is: behind the fence."""
    start = os.fstat(writing.fd).st_size if not writing.found.terms.chunk else writing.found.offset
    sink = SharedSink(writing, start + len(data), start=start)
    with sink.guard(wait=True):
        sink.take(memoryview(data))


async def append(store: Store, name: str, data: bytes) -> Found:
    """Do what one request that brings `data` does; give what then stands."""
    with await store.sessions.take_over(name, anybody) as writing:
        write(writing, data)
        return await store.sessions.keep(writing)
