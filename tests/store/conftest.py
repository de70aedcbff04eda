"""Storage in a real directory, and the few nouns that a test of it needs."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest

from hmacfs.model import Durability, Endpoint, Secret, Slot
from hmacfs.store import Rules, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from hmacfs.store import Stored

NOW_NS = 1_800_000_000 * 10**9


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * 10**9)


class MakeSlot(Protocol):
    def __call__(self, rel: str, directory: str = "upload") -> Slot: ...


class MakeRules(Protocol):
    def __call__(
        self, *, ttl_s: float | None = None, min_free: int = 0, durability: Durability = Durability.FULL
    ) -> Rules: ...


class Put(Protocol):
    async def __call__(
        self, store: Store, slot: Slot, body: bytes = b"body", *, expires: float | None = None
    ) -> Stored: ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slot() -> MakeSlot:
    def make(rel: str, directory: str = "upload") -> Slot:
        endpoint = Endpoint(
            prefix="/upload/", directory=directory, protocols=("v2",), secrets=(Secret(b"x" * 32),)
        )
        return Slot(endpoint=endpoint, rel=rel, key=f"{directory}/{rel}" if directory else rel)

    return make


@pytest.fixture
def rules() -> MakeRules:
    def make(
        *, ttl_s: float | None = None, min_free: int = 0, durability: Durability = Durability.FULL
    ) -> Rules:
        return Rules(
            durability=durability,
            min_free_bytes=min_free,
            file_ttl_s=ttl_s,
            file_mode=0o640,
            directory_mode=0o750,
            directories=frozenset({"upload", ""}),
        )

    return make


@pytest.fixture
def store(root: Path, rules: MakeRules, clock: Clock) -> Iterator[Store]:
    opened = Store.open(str(root), rules(), clock_ns=clock)
    yield opened
    opened.close()


@pytest.fixture
def put() -> Put:
    async def upload(
        store: Store, slot: Slot, body: bytes = b"body", *, expires: float | None = None
    ) -> Stored:
        with await store.begin(slot, len(body)) as part:
            os.write(part.fd, body)
            return await part.commit(
                content_type="text/plain", owner="a@example.org", expires=expires, digest=b"d" * 32
            )

    return upload


@pytest.fixture
def run() -> Callable[[Coroutine[None, None, object]], None]:
    """Run one coroutine to its end."""

    def to_the_end(coroutine: Coroutine[None, None, object]) -> None:
        asyncio.run(coroutine)

    return to_the_end


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a filesystem of 8 MiB that can really be full."""
    if os.geteuid():
        pytest.skip("needs root, to mount a small tmpfs")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=200", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)
