"""The Go server's keys of chunks, buffers, sessions and the quality of lines, turned into ours.

What they hold is read here, since it is written otherwise there: rates ("10MB/s"), "fixed:2MB", hours.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from hmacfs.config import go_config, keys, units, values
from hmacfs.config.go_config import Cell
from hmacfs.config.report import show, spell
from hmacfs.config.settings import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.config.go_config import Adopted
    from hmacfs.config.report import KeyPath, Report

_STRATEGIES: Final = ("mobile", "desktop", "server")
_CHUNKS: Final = ("min_chunk_size", "max_chunk_size")
_BUFFERS: Final = ("min_buffer_size", "max_buffer_size")
_CHUNK_WORDS: Final = f'{units.SIZE_WORDS}, "adaptive" or "fixed:2MB"'
_QUALITIES: Final = ("excellent", "good", "fair", "poor")
_RATE_WORDS: Final = 'a rate such as "10MB/s"'
_DEFAULTS: Final = {entry.name: entry.default for entry in keys.entries(TABLES["performance"])}
_LIMITS: Final = {entry.name: entry.key for entry in keys.entries(TABLES["performance"])}


def foreign(adopted: Adopted, report: Report) -> None:
    """Turn what remains of these keys into ours, in place."""
    _concurrency(adopted, report)
    _sessions(adopted, report)
    _strategies(adopted, report)
    _chunk_size(adopted, report)
    _qualities(adopted, report)


def _concurrency(adopted: Adopted, report: Report) -> None:
    """Turn how many chunks may come at once into whether several may."""
    uploads = adopted.tables["uploads"]
    cell = uploads.get("concurrent_chunk_uploads")
    if cell is None or not isinstance(cell.value, int) or isinstance(cell.value, bool):
        return
    if cell.value < 0:
        del uploads["concurrent_chunk_uploads"]
        report.fault(cell.path, show(cell.value), "true, false or a number from 0")
        return
    several = cell.value > 1
    uploads["concurrent_chunk_uploads"] = Cell(several, cell.path)
    report.notice(cell.path, f"honoured as {show(several)}: several or one, the number bounds nothing")


def _sessions(adopted: Adopted, report: Report) -> None:
    """Turn hours into a duration."""
    if (cell := adopted.foreign.pop(("sessionstore", "expiry_hours"), None)) is not None:
        go_config.move(adopted, report, Cell(f"{cell.value}h", cell.path), ("uploads", "sessiontimeout"))


def _strategies(adopted: Adopted, report: Report) -> None:
    """Turn the strategies' sizes into the bounds between which measuring chooses.

    There a class of clients has a size, here each client has one of its own: the same sizes are in use.
    """
    switch = adopted.foreign.pop(("client_optimization", "enabled"), None)
    off = switch is not None and switch.value is False
    if switch is not None:
        words = "the strategies are not followed" if off else "clients are told apart by what is measured"
        report.notice(switch.path, f"honoured: {words}")
    for kind, bounds in (("chunk_size", _CHUNKS), ("buffer_size", _BUFFERS)):
        found: dict[str, tuple[int, Cell]] = {}
        for name in _STRATEGIES:
            cell = adopted.foreign.pop((f"client_optimization.strategy_{name}", kind), None)
            if cell is not None and off:
                report.notice(cell.path, "ignored: client_optimization.enabled is false")
            elif cell is not None and (size := _size(cell, report)) is not None:
                found[name] = (_bounded(size, bounds[0]), cell)
        _bounds(adopted, report, found, bounds)


def _bounds(
    adopted: Adopted, report: Report, found: dict[str, tuple[int, Cell]], bounds: tuple[str, str]
) -> None:
    """Make the smallest and the largest of the sizes the bounds, and say of each what it became."""
    if not found:
        return
    performance = adopted.tables["performance"]
    given = any(name in performance for name in bounds)
    least, most = min(found.values(), key=_first), max(found.values(), key=_first)
    became: dict[KeyPath, list[str]] = {}
    if not given:
        _derive(adopted, bounds[0], least, became)
        _derive(adopted, bounds[1], most, became)
    if bounds == _BUFFERS and "desktop" in found:
        _derive(adopted, "initial_buffer_size", found["desktop"], became)
    low, high = (_effective(adopted, name) for name in bounds)
    for size, cell in found.values():
        if cell.path in became:
            words = f"honoured as {' and '.join(became[cell.path])}"
        elif low <= size <= high:
            words = f"honoured: between {bounds[0]} and {bounds[1]}, where measuring chooses"
        else:
            words = f"ignored: it is not between performance.{bounds[0]} and {bounds[1]}"
        report.notice(cell.path, words)


def _effective(adopted: Adopted, name: str) -> int:
    """Return a size of [performance] as far as it is right; its own reader names what is wrong."""
    cell = adopted.tables["performance"].get(name)
    with contextlib.suppress(ValueError):
        return units.parse_size(_DEFAULTS[name] if cell is None else cell.value)
    return 0


def _first(found: tuple[int, Cell]) -> int:
    return found[0]


def _derive(adopted: Adopted, name: str, found: tuple[int, Cell], became: dict[KeyPath, list[str]]) -> None:
    """Set a key of [performance] to a size that follows from others, unless it is given."""
    size, cell = found
    performance = adopted.tables["performance"]
    if name not in performance:
        performance[name] = Cell(size, cell.path)
        became.setdefault(cell.path, []).append(f"performance.{name} = {units.format_size(size)}")


def _chunk_size(adopted: Adopted, report: Report) -> None:
    """Turn the size of all chunks into both bounds, "adaptive" into the switch."""
    cell = adopted.foreign.pop(("uploads", "chunk_size"), None)
    if cell is None:
        return
    performance = adopted.tables["performance"]
    text = cell.value.strip().lower() if isinstance(cell.value, str) else cell.value
    if text == "adaptive":
        go_config.move(adopted, report, Cell(True, cell.path), ("performance", "intelligent_chunking"))
        return
    if isinstance(text, str):
        text = text.removeprefix("fixed:")
    try:
        size = _bounded(units.parse_size(text), _CHUNKS[0])
    except ValueError:
        report.fault(cell.path, show(cell.value), _CHUNK_WORDS)
        return
    if given := [performance[name] for name in _CHUNKS if name in performance]:
        words = f"ignored: {spell(given[0].path)} (line {report.line(given[0].path)}) bounds chunks"
        report.notice(cell.path, words)
        return
    for name in _CHUNKS:
        performance[name] = Cell(size, cell.path)
    shown = units.format_size(size)
    report.notice(
        cell.path,
        f"honoured as performance.min_chunk_size = {shown} and performance.max_chunk_size = {shown}",
    )


def _size(cell: Cell, report: Report) -> int | None:
    try:
        return units.parse_size(cell.value)
    except ValueError as error:
        report.fault(cell.path, show(cell.value), str(error))
        return None


def _bounded(size: int, name: str) -> int:
    """Return the size nearest to `size` that the key `name` of [performance] takes."""
    key = _LIMITS[name]
    return int(min(max(size, key.least), key.most))


def _qualities(adopted: Adopted, report: Report) -> None:
    """Turn the list of qualities into the rates and latencies from which a line has them."""
    cell = adopted.foreign.pop(("streaming", "quality_thresholds"), None)
    if cell is None or not isinstance(cell.value, list):
        return
    seen: set[str] = set()
    for index, entry in enumerate(cell.value):
        path: KeyPath = (*cell.path, index)
        if not isinstance(entry, dict):
            report.fault(
                path, go_config.kind_of(entry), 'a table such as { name = "good", min_throughput = "1MB/s" }'
            )
            continue
        name = entry.get("name")
        if not isinstance(name, str) or name not in _QUALITIES:
            near = values.nearest(name, _QUALITIES) if isinstance(name, str) else ""
            at = (*path, "name") if "name" in entry else path
            words = show(name) if isinstance(name, str) else "no name in text"
            report.fault(at, words, "name = one of " + ", ".join(_QUALITIES), near)
            continue
        if name in seen:
            report.fault((*path, "name"), show(name), "each quality once")
            continue
        seen.add(name)
        _quality(adopted, report, name, path, entry)


def _quality(adopted: Adopted, report: Report, name: str, path: KeyPath, entry: dict[str, object]) -> None:
    """Turn one entry of the list into two keys of [streaming]."""
    for key, value in entry.items():
        cell = Cell(value, (*path, key))
        if key == "name":
            continue
        if key == "min_throughput":
            cell = Cell(_rate(value), cell.path)
            ours, words = f"{name}_rate", _RATE_WORDS
            right = _reads(units.parse_size, cell.value)
        elif key == "max_latency":
            ours, words = f"{name}_latency", units.DURATION_WORDS
            right = _reads(units.parse_duration, value)
        else:
            near = values.nearest(key, ("name", "min_throughput", "max_latency"))
            report.fault(cell.path, "unknown key", "name, min_throughput or max_latency", near)
            continue
        if not right:
            report.fault(cell.path, show(value), words)
        elif name == _QUALITIES[-1]:
            report.notice(cell.path, "ignored: whatever is below fair is poor")
        else:
            go_config.move(adopted, report, cell, ("streaming", ours))


def _rate(value: object) -> object:
    """Return a rate without what says that it is one."""
    return value.strip().removesuffix("/s").rstrip() if isinstance(value, str) else value


def _reads(parse: Callable[[object], float], value: object) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True
