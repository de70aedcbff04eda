"""A reply that cannot be rendered, by a fault of ours: its connection ends, and its file is closed."""

from __future__ import annotations

import os
import typing
from typing import TYPE_CHECKING

import procfs
import pytest
import serving
import stages
import workbench

from hmacfs.connection import HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_DATE = typing.cast("bytes", None)
"""What no head can be made of."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[workbench.Workbench]:
    bench = workbench.Workbench(tmp_path)
    yield bench
    bench.close()


@pytest.mark.parametrize("size", [1000, 1_000_000])
@pytest.mark.parametrize("fields", [{}, {"Range": "bytes=1-2,5-6"}, {"If-None-Match": "*"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_its_file_is_closed(
    bench: workbench.Workbench, method: str, fields: dict[str, str], size: int
) -> None:
    name = serving.fresh()
    path = bench.path_of(name)
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(size))
    ours, theirs = stages.tcp_pair()
    ours.setblocking(False)
    bench.loop.run_until_complete(
        bench.loop.connect_accepted_socket(lambda: HttpProtocol(bench.service), ours)
    )
    bench.service.date = NO_DATE
    with theirs:
        theirs.sendall(serving.head(method, f"/upload/{name}", fields))
        bench.until(lambda: not bench.service.connections, "it ends")
    assert any("request-failed" in line for line in bench.errors())
    assert str(path) not in procfs.descriptors(os.getpid()).values()
