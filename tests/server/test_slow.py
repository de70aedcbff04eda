"""Hundreds of slow clients of every kind at once: all are ended in time, and nobody else notices."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import children
import procfs
import serving
import slow
from serving import PATIENCE_S, Server

if TYPE_CHECKING:
    import socket
    from pathlib import Path

FULL = os.environ.get("HMACFS_FULL") == "1"
EACH = 500
REQUESTS = 100_000 if FULL else 4000
# Of most requests; alone on the machine the slowest of all takes no longer than 50 ms. A request that waits
# for the slow takes seconds.
MOST_S = 0.050 if FULL else 2.0
CONFIG = """
[timeouts]
headertimeout = "10s"
readtimeout = "10s"
writetimeout = "10s"
"""
LATE_S = 45.0
KiB = 1 << 10
LARGE_BYTES = 64 << 20
SMALL = "slow/small.bin"
LARGE = "slow/large.bin"


def get_s(server: Server, kept: socket.socket | None) -> float:
    """Time one download, on a connection of its own or a kept one."""
    began = time.perf_counter()
    if kept is None:
        answer = server.get(SMALL)
    else:
        kept.sendall(serving.head("GET", f"/upload/{SMALL}", None))
        answer = serving.read_answer(kept)
    took = time.perf_counter() - began
    assert (answer.status, len(answer.body)) == (200, KiB)
    return took


def test_slow_clients_are_ended_and_nobody_else_notices(tmp_path: Path) -> None:
    procfs.raise_open_files(4 * EACH)
    with serving.running(tmp_path, workers=2, rest=CONFIG) as server:
        assert server.put(SMALL, os.urandom(KiB)).status == 201
        with (server.storage / "upload" / LARGE).open("wb") as file:
            file.truncate(LARGE_BYTES)
        targets = tmp_path / "targets"
        targets.write_text(
            "".join(serving.signed(serving.fresh(), slow.BODY_BYTES) + "\n" for _ in range(EACH))
        )
        command = [sys.executable, slow.__file__, server.host, str(server.port), str(targets)]
        times: list[float] = []
        with (
            children.running([*command, f"/upload/{LARGE}"], stdout=subprocess.PIPE, text=True) as crowd,
            server.connect() as kept,
        ):
            assert crowd.stdout.readline() == "open\n"
            while server.scrape()["hmacfs_active_uploads"] < EACH // 2:  # on a busy machine some end already
                assert crowd.poll() is None
            while crowd.poll() is None and len(times) < REQUESTS:
                times += [get_s(server, None), get_s(server, kept)]
            ended = json.loads(crowd.stdout.read())
        p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        serving.figure(
            f"{EACH} each, ended after {ended}; {len(times)} GET: p50 {p50 * 1000:.1f} ms, "
            f"p99 {p99 * 1000:.1f} ms, max {max(times) * 1000:.1f} ms"
        )
        assert set(ended) == {"head", "body", "read"}, ended
        assert max(ended.values()) < LATE_S, ended
        assert (max(times) if FULL else p99) < MOST_S
        deadline = time.monotonic() + PATIENCE_S
        while server.scrape()["hmacfs_connections"]:
            assert time.monotonic() < deadline
        assert server.files() == [f"upload/{LARGE}", f"upload/{SMALL}"]
