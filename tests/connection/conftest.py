"""A workbench whose clock the test sets, for the tests of one connection without a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import workbench
from manual_loop import ManualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REST = """
[timeouts]
headertimeout = "10s"
idletimeout = "60s"
readtimeout = "30s"
writetimeout = "20s"
min_rate = "1kB"
linger = "2s"
[uploads]
bodytimeout = "300s"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "jwt"]
"""


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., workbench.Workbench]]:
    """Return what makes a workbench with a few more keys of `[server]`."""
    made: list[workbench.Workbench] = []

    def make(server: str = "") -> workbench.Workbench:
        where = tmp_path / str(len(made))
        where.mkdir()
        bench = workbench.Workbench(where, rest=REST, server=server, loop=ManualLoop())
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., workbench.Workbench]) -> workbench.Workbench:
    return make_bench()
