"""Figures of two scrapes: what grew, what a restart leaves, quantiles as Prometheus gives them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from hmacfs.stats import figures, scrape, view

INFINITY = float("inf")
BUCKETS = [(1.0, 10.0), (2.0, 10.0), (4.0, 20.0), (INFINITY, 20.0)]


@pytest.mark.parametrize(
    ("q", "buckets", "want"),
    [
        (0.25, BUCKETS, 0.5),
        (0.5, BUCKETS, 1.0),
        (0.75, BUCKETS, 3.0),
        (1.0, BUCKETS, 4.0),
        (0.5, [(1.0, 1.0), (INFINITY, 4.0)], 1.0),  # beyond the last bound
        (0.5, [(1.0, 0.0), (INFINITY, 0.0)], None),
        (0.5, [], None),
    ],
)
def test_quantiles(q: float, buckets: list[tuple[float, float]], want: float | None) -> None:
    assert figures.quantile(q, buckets) == want


def scraped(uploads: int, requests: int) -> scrape.Scrape:
    return scrape.parse(
        f'hmacfs_uploads_total{{dialect="v2"}} {uploads}\n'
        f'hmacfs_uploads_total{{dialect="jwt"}} 1\n'
        f'hmacfs_requests_total{{method="GET",code="ok"}} {requests}\n'
        f'hmacfs_requests_total{{method="GET",code="not_modified"}} {requests}\n'
    )


def test_rates_are_what_grew_over_the_time() -> None:
    got = figures.between(scraped(10, 0), scraped(30, 8), 2.0)
    assert (got.uploads_per_s, got.downloads_per_s) == (10.0, 4.0)


def test_a_restarted_server_counts_from_0() -> None:
    assert figures.between(scraped(1000, 0), scraped(3, 0), 1.0).uploads_per_s == 3.0


def test_a_disk_that_does_not_answer_has_no_size() -> None:
    got = figures.between(scraped(0, 0), scraped(0, 0), 1.0)
    assert (got.disk_free_bytes, got.disk_size_bytes) == (None, None)


def test_sizes_of_buffers_that_were_used_are_compared() -> None:
    lines = []
    for number, (received, busy_s) in {65536: (9e6, 0.5), 16384: (0, 0), 262144: (4e6, 0.1)}.items():
        lines.append(f'hmacfs_buffer_trial_bytes_total{{size="{number}"}} {received}')
        lines.append(f'hmacfs_buffer_trial_seconds_total{{size="{number}"}} {busy_s}')
    after = scrape.parse("\n".join([*lines, "hmacfs_optimal_buffer_size_bytes 262144", ""]))
    got = figures.between(after, after, 1.0)
    assert [(buffer.size, buffer.rate) for buffer in got.buffers] == [(65536, 18e6), (262144, 40e6)]
    assert got.optimal_buffer_bytes == 262144
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(view.render(got, console))
    shown = console.export_text()
    assert "best: 256 KiB" in shown
    assert shown.count("█") == view.BAR_WIDTH + round(view.BAR_WIDTH * 18 / 40)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1 << 30, "1 GiB"),
        (1010 << 20, "1010 MiB"),
        (3 << 50, "3072 TiB"),
    ],
)
def test_sizes_are_written_in_their_largest_unit(number: float, words: str) -> None:
    assert view.size(number) == words
