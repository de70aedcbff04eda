"""A disk that takes a second for a sync: downloads and other connections do not wait for it."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

import serving
import tracing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SYNC_S = 1.0
UPLOADS = 3
# What a download may take at most, on a machine that runs other tests too.
FAST_S = 0.5 * SYNC_S


def test_downloads_stay_fast_while_a_sync_is_slow(
    tmp_path: Path, program: Callable[[str], str], figure: Callable[[str], None]
) -> None:
    body = b"x" * 50_000
    slow = ("-e", "trace=fsync", "-e", f"inject=fsync:delay_exit={int(SYNC_S * 1e6)}")
    taken_s: list[float] = []
    with serving.running(tmp_path) as server:
        rels = [serving.fresh() for _ in range(20)]
        for rel in rels:
            assert server.put(rel, body).status == 201
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]) as trace:
            statuses: list[int] = []
            uploads = [
                threading.Thread(target=lambda: statuses.append(server.put(serving.fresh(), body).status))
                for _ in range(UPLOADS)
            ]
            for upload in uploads:
                upload.start()
            while any(upload.is_alive() for upload in uploads):
                for rel in rels:
                    began = time.monotonic()
                    assert server.get(rel).body == body
                    taken_s.append(time.monotonic() - began)
            for upload in uploads:
                upload.join()
        assert statuses == [201] * UPLOADS
    assert len(trace.calls()) >= 2 * UPLOADS
    assert all(re.search(r"\(DELAYED\)$", call.text) for call in trace.calls())
    assert max(taken_s) < FAST_S, max(taken_s)
    taken_s.sort()
    figure(
        f"{len(taken_s)} downloads while {len(trace.calls())} syncs took {SYNC_S} s each: "
        f"median {taken_s[len(taken_s) // 2] * 1000:.1f} ms, max {taken_s[-1] * 1000:.1f} ms"
    )
