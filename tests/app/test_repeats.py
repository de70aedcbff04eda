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
from hmacfs.model import Grant
from hmacfs.store import Store

if TYPE_CHECKING:
    from pathlib import Path

GRANT = Grant(dialect="jwt", size=4, content_type="text/plain", owner="a@example.org")
SLOT = storage.slot("U/it")


@pytest.mark.parametrize(
    ("age_s", "changed", "content_type", "size", "want"),
    [
        (0.0, {}, "text/plain", 4, True),
        (0.0, {}, "text/plain", None, True),
        (WITHIN_S - 1, {}, "text/plain", 4, True),
        (WITHIN_S + 1, {}, "text/plain", 4, False),
        (0.0, {}, "text/html", 4, False),
        (0.0, {}, None, 4, False),
        (0.0, {}, "text/plain", 5, False),
        (0.0, {"owner": ""}, "text/plain", 4, False),
        (0.0, {"expires": 9e9}, "text/plain", 4, False),
    ],
)
def test_a_repeat_would_store_what_stands(  # noqa: PLR0913 - the columns of a table
    tmp_path: Path,
    age_s: float,
    changed: dict[str, Any],
    content_type: str | None,
    size: int | None,
    *,
    want: bool,
) -> None:
    async def find() -> bool:
        with contextlib.closing(Store.open(str(tmp_path), storage.rules())) as store:
            await storage.put(store, SLOT)
            record = await store.record(SLOT)
            assert record is not None
            repeats = Repeats(store, lambda: record.created + age_s)
            grant = dataclasses.replace(GRANT, **changed)
            found = await repeats.find(SLOT, grant, content_type, size)
            if size is None:
                assert await repeats.has(SLOT, grant, content_type, b"d" * 32)
                assert not await repeats.has(SLOT, grant, content_type, b"e" * 32)
            return found is not None

    assert asyncio.run(find()) is want


def test_what_no_index_knows_is_no_repeat(tmp_path: Path) -> None:
    async def find(key: str) -> object:
        with contextlib.closing(Store.open(str(tmp_path), storage.rules())) as store:
            return await Repeats(store, lambda: 0.0).find(storage.slot(key), GRANT, "text/plain", 4)

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
