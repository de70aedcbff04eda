"""Workers of this room's tests: whatever becomes of them, they are closed and no callback has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from manual_loop import ManualLoop
from worker.parts import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def loop() -> Iterator[ManualLoop]:
    loop = ManualLoop()
    yield loop
    loop.close()
    assert loop.faults == []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make workers."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
