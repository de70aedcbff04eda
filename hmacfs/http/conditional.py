"""Validators and preconditions: a request and a file's size and time in, a verdict out (RFC 9110 8.8, 13).

Knows nothing of files, replies or the clock.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import enum
import functools
import re
from typing import TYPE_CHECKING, Final

from hmacfs.model import NANOSECONDS, READ_METHODS

if TYPE_CHECKING:
    from hmacfs.model import Head

_LAST_S: Final = 253_402_300_799
"""The last second that a date with a year of four digits can name."""
_MONTHS: Final = {
    month: number
    for number, month in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_TIME: Final = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# The three forms of RFC 9110 5.6.7. Not email.utils.parsedate, which reads a date into nearly anything.
_DATES: Final = (
    re.compile(
        rb"[A-Z][a-z]{2}, (?P<day>[0-9]{1,2}) (?P<month>[A-Z][a-z]{2}) (?P<year>[0-9]{4}) " + _TIME + rb" GMT"
    ),
    re.compile(
        rb"[A-Z][a-z]{5,8}, (?P<day>[0-9]{2})-(?P<month>[A-Z][a-z]{2})-(?P<year>[0-9]{2}) " + _TIME + rb" GMT"
    ),
    re.compile(
        rb"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ 0-9][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"
    ),
)
# One element of a list of entity tags; tags may hold commas, so the list cannot be split.
_TAGS_BYTES: Final = 2048
"""So much of a list of entity tags counts: forty of ours, of which a cache holds one or two."""
_TAG: Final = re.compile(rb'[ \t,]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)')


class Verdict(enum.Enum):
    """What the preconditions of a request come to."""

    SEND = enum.auto()
    """Go on as if there were none."""
    NOT_MODIFIED = enum.auto()
    """Answer 304: the client has the file."""
    FAILED = enum.auto()
    """Answer 412."""


def etag(size: int, mtime_ns: int) -> str:
    """Return the strong entity tag, quoted (RFC 9110 8.8.3).

    Strong, since a published file is never written again: another content has another time.
    """
    return f'"{mtime_ns:x}-{size:x}"'


def last_modified(mtime_ns: int) -> str:
    """Return the Last-Modified value: an IMF-fixdate, the second rounded down (RFC 9110 8.8.2)."""
    return _format(_seconds(mtime_ns))


def parse_date(value: bytes) -> int | None:
    """Return seconds since 1970 of an HTTP-date in any of its three forms (RFC 9110 5.6.7), else None."""
    match = next((match for form in _DATES if (match := form.fullmatch(value))), None)
    if match is None or (month := _MONTHS.get(match["month"])) is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:  # noqa: PLR2004 - RFC 850's two digits, windowed as POSIX strptime does
        year += 1900 if year >= 69 else 2000  # noqa: PLR2004 - same
    try:
        moment = dt.datetime(
            year,
            month,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(59, int(match["second"])),  # the grammar allows a leap second, datetime does not
            tzinfo=dt.UTC,
        )
    except ValueError:
        return None
    return int(moment.timestamp())


def verdict(head: Head, etag: str, mtime_ns: int) -> Verdict:
    """Weigh the preconditions in the order of RFC 9110 13.2.2, for a file that exists.

    `etag` is the file's own, strong one. Malformed dates are ignored (13.1.3, 13.1.4); in a malformed list of
    tags only what stands before the fault counts.
    """
    fields = head.fields
    reads = head.method in READ_METHODS
    if (tags := fields.get(b"if-match")) is not None:
        if not _lists(tags, etag, weakly=False):
            return Verdict.FAILED
    elif (unmodified := fields.get(b"if-unmodified-since")) is not None:
        since = parse_date(unmodified)
        if since is not None and _seconds(mtime_ns) > since:
            return Verdict.FAILED
    if (tags := fields.get(b"if-none-match")) is not None:
        if _lists(tags, etag, weakly=True):
            return Verdict.NOT_MODIFIED if reads else Verdict.FAILED
    elif reads and (modified := fields.get(b"if-modified-since")) is not None:
        since = parse_date(modified)
        if since is not None and _seconds(mtime_ns) <= since:
            return Verdict.NOT_MODIFIED
    return Verdict.SEND


def if_range_holds(head: Head, etag: str, mtime_ns: int) -> bool:
    """Whether Range counts as far as If-Range says (RFC 9110 13.1.5): absent, or it names this very content.

    A weak tag never holds. A date holds if it is exactly Last-Modified's: that is strong in the sense of
    8.8.2.2, since a published file does not change, let alone twice within its second.
    """
    validator = head.fields.get(b"if-range")
    if validator is None:
        return True
    if validator.startswith((b'"', b"W/")):
        return validator == etag.encode("ascii")  # our tags are strong, so a weak one never equals them
    return parse_date(validator) == _seconds(mtime_ns)


def _lists(tags: bytes, etag: str, *, weakly: bool) -> bool:
    """Whether a list of entity tags is "*" or holds `etag` (RFC 9110 8.8.3.2)."""
    if tags == b"*":
        return True
    wanted, start = etag.encode("ascii"), 0
    tags = tags[:_TAGS_BYTES]
    while (match := _TAG.match(tags, start)) is not None:
        tag = match[1]
        if (tag.removeprefix(b"W/") if weakly else tag) == wanted:
            return True
        start = match.end()
    return False


def _seconds(mtime_ns: int) -> int:
    """Return the second that Last-Modified names; one that no HTTP-date can name becomes the nearest."""
    return min(max(0, mtime_ns // NANOSECONDS), _LAST_S)


@functools.lru_cache(maxsize=1024)
def _format(seconds: int) -> str:
    return email.utils.formatdate(seconds, usegmt=True)
