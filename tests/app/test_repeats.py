"""What counts as the same upload once more: the record that stands, minutes old."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import storage
from blake3 import blake3

from hmacfs import errors
from hmacfs.app.repeats import WITHIN_S, Comparison, Repeats
from hmacfs.errors import Refused
from hmacfs.model import StoredFile
from hmacfs.store import Store

if TYPE_CHECKING:
    from pathlib import Path

STORED = StoredFile(
    key="upload/U/it", size=4, content_type="text/plain", owner="a@example.org", digest=b"d" * 32
)
SLOT = storage.slot("U/it")


@pytest.mark.parametrize(
    ("age_s", "changed", "want"),
    [
        (0.0, {}, True),
        (WITHIN_S - 1, {}, True),
        (WITHIN_S + 1, {}, False),
        (0.0, {"content_type": "text/html"}, False),
        (0.0, {"content_type": None}, False),
        (0.0, {"size": 5}, False),
        (0.0, {"owner": ""}, False),
        (0.0, {"expires": 9e9}, False),
    ],
)
def test_a_repeat_would_store_what_stands(
    tmp_path: Path, age_s: float, changed: dict[str, Any], *, want: bool
) -> None:
    async def find() -> bool:
        with contextlib.closing(Store.open(str(tmp_path), storage.rules())) as store:
            await storage.put(store, SLOT)
            record = await store.record(SLOT)
            assert record is not None
            repeats = Repeats(store, lambda: record.created + age_s)
            stored = dataclasses.replace(STORED, **changed)
            assert await repeats.has(SLOT, stored) is want
            assert not await repeats.has(SLOT, dataclasses.replace(stored, digest=b"e" * 32))
            return await repeats.find(SLOT, stored) is not None

    assert asyncio.run(find()) is want


def test_what_no_index_knows_is_no_repeat(tmp_path: Path) -> None:
    async def find(key: str) -> object:
        with contextlib.closing(Store.open(str(tmp_path), storage.rules())) as store:
            return await Repeats(store, lambda: 0.0).find(storage.slot(key), STORED)

    (tmp_path / "upload/U/folder").mkdir(parents=True)
    (tmp_path / "upload/U/file").write_bytes(b"body")
    assert asyncio.run(find("U/folder")) is None
    assert asyncio.run(find("U/file")) is None
    assert asyncio.run(find("U/none")) is None


@pytest.mark.parametrize(
    ("pieces", "same"),
    [([b"body"], True), ([b"bo", b"dy"], True), ([b"bod"], False), ([b"bode"], False), ([], False)],
)
def test_a_body_is_compared(pieces: list[bytes], *, same: bool) -> None:
    record: Any = type("Record", (), {"digest": blake3(b"body").digest()})
    comparison = Comparison(4)
    for piece in pieces:
        comparison.take(memoryview(piece))
    with contextlib.nullcontext() if same else pytest.raises(Refused):
        comparison.check(record)


def test_more_than_stands_is_refused_at_once() -> None:
    comparison = Comparison(4)
    with pytest.raises(Refused) as caught:
        comparison.take(memoryview(b"bodyx"))
    assert caught.value.refusal is errors.EXISTS
