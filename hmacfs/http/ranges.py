"""Byte ranges: a Range field and a size in, spans, "the whole" or a refusal out (RFC 9110 14).

Knows nothing of files, sockets or replies, so its tests are a table. Whether Range counts at all (only for
GET, 14.2, and only if If-Range holds, 13.1.5) is for the caller to say.
"""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Final

from hmacfs.errors import BAD_RANGE, Refused
from hmacfs.model import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

RANGES_MAX: Final = 16
"""More ranges than this count as no Range: RFC 9110 17.15; real clients ask for one, rarely a handful."""
NEAR_BYTES: Final = 80
"""A smaller gap is sent rather than skipped: a part's own header is about that long (RFC 9110 15.3.7.2)."""

_BEYOND: Final = 1 << 63
"""Stands for every position too large for any file."""
_BEYOND_DIGITS: Final = 19
"""So many digits or fewer are worth counting; beyond, int() would take quadratic time."""
_COMMAS_MOST: Final = 64
"""What has more, empty elements included, is not even taken apart."""
_SPEC: Final = re.compile(rb"([0-9]*)-([0-9]*)")


def resolve(header: bytes | None, size: int) -> tuple[Span, ...] | None:
    """Return the spans to send, in order; None for the whole file; refuse what no byte satisfies.

    Absent, in another unit, malformed, more than RANGES_MAX, or several that come to the whole file: None, as
    RFC 9110 14.2 allows a server to ignore such a Range. Overlapping, adjacent and near ranges become one;
    the rest keep the order in which the client named them first (15.3.7.2). So the spans are disjoint and
    never cover more than the file. Raises Refused(BAD_RANGE) with the size if nothing is satisfiable.
    """
    specs = None if header is None else _parse(header)
    if specs is None:
        return None
    spans = [span for first, last in specs if (span := _place(first, last, size)) is not None]
    if not spans:
        raise Refused(BAD_RANGE, fields=(("Content-Range", f"bytes */{size}"),))
    if size == 0:  # no Content-Range can tell of a part of nothing
        return None
    if len(specs) == 1:
        return (spans[0],)
    joined = _coalesce(spans)
    return None if joined == (Span(0, size),) else joined


def content_range(span: Span, size: int) -> str:
    """Return the Content-Range value of `span` (RFC 9110 14.4); the span must not be empty."""
    return f"bytes {span.start}-{span.stop - 1}/{size}"


def _parse(header: bytes) -> list[tuple[int | None, int | None]] | None:
    """Return first and last position of each range; None if the field is one to ignore."""
    unit, _, listed = header.partition(b"=")
    if (
        unit.lower() != b"bytes" or listed.count(b",") > _COMMAS_MOST
    ):  # range units are case-insensitive (14.1)
        return None
    # Empty list elements are allowed to recipients (5.6.1.2).
    elements = [element for part in listed.split(b",") if (element := part.strip(b" \t"))]
    if not 0 < len(elements) <= RANGES_MAX:
        return None
    specs = []
    for element in elements:
        if (match := _SPEC.fullmatch(element)) is None:
            return None
        first, last = (_position(digits) for digits in match.groups())
        if first is None and last is None:
            return None
        if first is not None and last is not None and last < first:
            return None
        specs.append((first, last))
    return specs


def _position(digits: bytes) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip(b"0") or b"0"
    return _BEYOND if len(digits) > _BEYOND_DIGITS else int(digits)


def _place(first: int | None, last: int | None, size: int) -> Span | None:
    """Return the span that one range selects; None if it is unsatisfiable (RFC 9110 14.1.2)."""
    if first is None:
        assert last is not None
        return Span(max(0, size - last), size) if last else None
    # Players ask for "bytes=0-" of everything and take 416 for a failure: an empty file is sent as it is,
    # by nginx and Go too (14.2 lets a server ignore Range).
    if first >= size and not first == size == 0:
        return None
    return Span(first, size if last is None else min(size, last + 1))


def _coalesce(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Join what overlaps, touches or lies near, and keep the order of first mention."""
    joined: list[tuple[int, Span]] = []
    for order, span in sorted(enumerate(spans), key=operator.itemgetter(1)):
        if joined and span.start - joined[-1][1].stop < NEAR_BYTES:
            mentioned, before = joined[-1]
            joined[-1] = (min(mentioned, order), Span(before.start, max(before.stop, span.stop)))
        else:
            joined.append((order, span))
    return tuple(span for _, span in sorted(joined))
