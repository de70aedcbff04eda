"""[performance] on a real server: a fixed buffer is obeyed, and what was found before a restart is used."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import serving
import tracing

from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READ = re.compile(r"recvfrom\(.*, (\d+), MSG_DONTWAIT, ")
BODY = bytes(16 * MiB)
OPTIMAL = "hmacfs_optimal_buffer_size_bytes"
WEIGHED = 'hmacfs_buffer_trial_bytes_total{{size="{}"}}'
STATE = {"best": 256 * KiB, "weights": {str(256 * KiB): [1e9, 1.0]}}


def largest_read(server: serving.Server, strace: str, log: Path) -> int:
    """Return the most bytes that one read of a large upload asks for."""
    with tracing.attached(strace, log, "-e", "trace=recvfrom", process=server.workers[0]) as trace:
        assert server.put(serving.fresh(), BODY).status == 201
    asked = [int(found[1]) for call in trace.calls() if (found := READ.match(call.text))]
    return max(asked)


@pytest.mark.parametrize(
    ("rest", "least", "most"),
    [
        ('adaptive_buffers = false\nmin_buffer_size = "64KB"', 64 * KiB, 64 * KiB),
        ('max_buffer_size = "128KB"\ninitial_buffer_size = "1MB"', 128 * KiB, 128 * KiB),
        ('max_memory_usage = "1MB"', 256 * KiB, 512 * KiB),  # a half of it
        ("", 256 * KiB, MiB),
    ],
)
def test_reads_are_as_large_as_the_configuration_says(
    rest: str, least: int, most: int, tmp_path: Path, program: Callable[[str], str]
) -> None:
    with serving.running(tmp_path, rest=f"[performance]\n{rest}") as server:
        assert least <= largest_read(server, program("strace"), tmp_path / "log") <= most
        scraped = server.scrape()
    assert scraped[OPTIMAL] == most
    assert scraped["hmacfs_buffer_utilization_ratio_count"] == 1
    assert scraped["hmacfs_buffer_pool_bytes"] == 0


@pytest.mark.parametrize(("state", "optimal"), [(json.dumps(STATE), 256 * KiB), ("no JSON", MiB)])
def test_what_was_found_outlives_a_restart(state: str, optimal: int, tmp_path: Path) -> None:
    private = tmp_path / "store" / ".hmacfs"
    private.mkdir(parents=True)
    (private / "buffers.json").write_text(state)
    with serving.running(tmp_path, workers=2) as server:
        assert server.scrape()[OPTIMAL] == optimal
        assert server.put(serving.fresh(), BODY).status == 201


def test_a_ranking_is_kept(tmp_path: Path) -> None:
    """Two sizes only, so that less than a GiB is enough to have tried both."""
    sizes = 'min_buffer_size = "512KB"\nmax_buffer_size = "1MB"'
    rest = f'[performance]\n{sizes}\nbuffer_optimization_interval = "1s"'
    kept = tmp_path / "store" / ".hmacfs" / "buffers.json"
    with serving.running(tmp_path, rest=rest, server='durability = "relaxed"') as server:
        while not kept.exists():  # the test's own time is the limit
            assert server.put("same/" + serving.fresh(), 2 * BODY).status == 201
        scraped = server.scrape()
    state = json.loads(kept.read_text())
    assert state["best"] == scraped[OPTIMAL]
    assert set(state["weights"]) <= {str(512 * KiB), str(MiB)}
    assert all(scraped[WEIGHED.format(size)] for size in state["weights"])
    assert scraped[WEIGHED.format(2 * MiB)] == 0
