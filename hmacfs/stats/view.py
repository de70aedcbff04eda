"""Figures in, a page of text for a terminal out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.columns import Columns
from rich.console import Group
from rich.table import Table

from hmacfs.model import GiB, KiB, MiB, TiB

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from hmacfs.stats.figures import Bucket, Buffer, Count, Figures

BAR_WIDTH: Final = 20


def render(figures: Figures, console: Console) -> RenderableType:
    """Return the page; `console` tells what its encoding can draw."""
    bar = "#" if console.options.ascii_only else "█"
    beside = Columns([_now(figures), _latencies(figures)], padding=(0, 2))
    page: list[RenderableType] = [
        f"hmacfs {figures.version}, the last {figures.interval_s:.1f} s",
        "",
        beside,
    ]
    if any(bucket.count for row in figures.throughput.values() for bucket in row):
        page += ["", "Transfers by their bytes a second, since the start", _throughput(figures, bar)]
    if figures.buffers:
        best = size(figures.optimal_buffer_bytes)
        page += ["", f"Fast uploads by size of buffer, bytes a busy second; best: {best}"]
        page.append(_buffers(figures.buffers, bar))
    if figures.upload_errors or figures.download_errors:
        page += ["", "Errors since the start (of them in the interval)", _errors(figures)]
    return Group(*page)


def _table(*columns: str) -> Table:
    """Return a table whose first column holds words, and the others numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _now(figures: Figures) -> Table:
    table = _table("", "in", "out")
    table.add_row("files/s", f"{figures.uploads_per_s:.1f}", f"{figures.downloads_per_s:.1f}")
    rates = figures.received_bytes_per_s, figures.sent_bytes_per_s
    table.add_row("bytes/s", *(size(rate) for rate in rates))
    table.add_row("active", str(figures.active_uploads), str(figures.active_downloads))
    table.add_row("connections", str(figures.connections))
    table.add_row("workers", str(figures.workers))
    if figures.disk_free_bytes is not None and figures.disk_size_bytes:
        share = figures.disk_free_bytes / figures.disk_size_bytes
        table.add_row("disk free", size(figures.disk_free_bytes), f"{share:.0%}")
    return table


def _latencies(figures: Figures) -> Table:
    table = _table("latency", "p50", "p95", "p50 ever", "p95 ever")
    for kind, latency in figures.latency.items():
        spreads = (latency.now.p50_s, latency.now.p95_s, latency.ever.p50_s, latency.ever.p95_s)
        table.add_row(kind.replace("_", " "), *(duration(seconds) for seconds in spreads))
    return table


def _throughput(figures: Figures, bar: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(justify="right")
    for kind in figures.throughput:
        table.add_column(f"{kind}s", min_width=BAR_WIDTH)
        table.add_column(justify="right")
    most = [max(bucket.count for bucket in buckets) for buckets in figures.throughput.values()]
    rows = list(zip(*figures.throughput.values(), strict=True))
    used = [place for place, buckets in enumerate(rows) if any(bucket.count for bucket in buckets)]
    for buckets in rows[used[0] : used[-1] + 1]:
        cells: list[str] = []
        for bucket, longest in zip(buckets, most, strict=True):
            cells += [bar * _length(bucket.count, longest), str(bucket.count or "")]
        table.add_row(_bound(buckets[0]), *cells)
    return table


def _buffers(buffers: list[Buffer], bar: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column(min_width=BAR_WIDTH)
    table.add_column(justify="right")
    table.add_column(justify="right")
    most = max(buffer.rate for buffer in buffers)
    for buffer in buffers:
        drawn = bar * _length(buffer.rate, most)
        table.add_row(size(buffer.size), drawn, size(buffer.rate), f"of {size(buffer.received)}")
    return table


def _length(count: float, most: float) -> int:
    """Return the length of a bar; whatever happened can be seen."""
    return max(round(BAR_WIDTH * count / most), 1) if count else 0


def _bound(bucket: Bucket) -> str:
    return f"> {size(bucket.above)}" if bucket.upto is None else f"<= {size(bucket.upto)}"


def _errors(figures: Figures) -> Table:
    table = _table("code", "uploads", "downloads")
    for code in sorted(figures.upload_errors.keys() | figures.download_errors.keys()):
        table.add_row(
            code, _count(figures.upload_errors.get(code)), _count(figures.download_errors.get(code))
        )
    return table


def _count(count: Count | None) -> str:
    if count is None:
        return ""
    return f"{count.ever} ({count.now})" if count.now else str(count.ever)


def size(number: float) -> str:
    """Write a number of bytes with its largest binary unit."""
    for unit, word in ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if number >= unit:
            return f"{number / unit:.3g} {word}" if number < 1000 * unit else f"{number / unit:.0f} {word}"
    return f"{number:.0f} B"


def duration(seconds: float | None) -> str:
    """Write a time in the unit that suits it; "-" if there is none."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
