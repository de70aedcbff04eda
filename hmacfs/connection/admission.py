"""What of the cold path's replies is handed to `_hot`, so that it may give them the next time."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Final

from hmacfs import _core, _hot
from hmacfs.http import lines
from hmacfs.metrics import catalogue
from hmacfs.policy import hot_limits
from hmacfs.transfer import NO_FILE

if TYPE_CHECKING:
    from hmacfs import log
    from hmacfs.model import CacheEntry, File, Head, Reply

_AGE: Final = re.compile(rb"(?<=max-age=)\d+")


def columns() -> tuple[int, ...]:
    """Return the columns that `_hot` counts in, in its order."""
    requests, latency = catalogue.REQUESTS, catalogue.DOWNLOAD_LATENCY
    return (
        requests["GET", "ok"],
        requests["GET", "not_modified"],
        requests["GET", "partial"],
        requests["HEAD", "ok"],
        requests["HEAD", "not_modified"],
        catalogue.RECEIVED_BYTES,
        catalogue.SENT_BYTES,
        catalogue.RANGE_REQUESTS,
        latency.first,
        latency.sum,
        *(int(bound * latency.scale) for bound in latency.bounds),
    )


class Admission:
    """Admits a file at its second request."""

    def __init__(self, hot: _hot.Hot, journal: log.Log) -> None:
        """Hand over to `hot`; targets are written as `journal` shows them."""
        self._hot = hot
        self._journal = journal
        self._seen: dict[bytes, None] = {}

    def offer(self, head: Head, reply: Reply) -> None:
        """Consider a reply about to be sent, its file still open."""
        if reply.kept is None or reply.file is None:
            return
        target = head.target
        if target not in self._seen:
            self._seen[target] = None
            if len(self._seen) > hot_limits.SEEN_TARGETS:
                del self._seen[next(iter(self._seen))]
            return
        file = reply.file
        if file.size <= hot_limits.BODY_BYTES and not _core.is_cached(file.descriptor, 0, file.size):
            return  # what is not in the kernel's memory is not waited for here
        kept = reply.kept()
        with contextlib.suppress(OSError):  # no descriptor is left, or the disk fails: the cold path will see
            if file.size > hot_limits.BODY_BYTES:
                self._admit(target, kept, file, None)
            elif len(body := os.pread(file.descriptor.fileno(), file.size, 0)) == file.size:
                self._admit(target, kept, file, body)

    def _admit(self, target: bytes, kept: CacheEntry, file: File, body: bytes | None) -> None:
        entry = _hot.Entry(
            fields=_parts(kept.fields, kept.expires),
            unmodified=_parts(kept.unmodified, kept.expires),
            shared=(_text(kept.shared), _text(kept.shared_unmodified)),
            etag=kept.etag.encode(),
            logged=self._journal.shown(target),
            path=kept.key.encode(),
            identity=(file.inode, file.size, file.mtime_ns),
            expires=kept.expires or 0.0,
            body=body,
            file=NO_FILE if body is not None else os.dup(file.descriptor.fileno()),
        )
        self._hot.admit(target, entry)


def _text(fields: list[tuple[str, str]]) -> bytes:
    return lines.encode([f"{name}: {value}" for name, value in fields])


def _parts(fields: list[tuple[str, str]], expires: float | None) -> tuple[bytes, bytes]:
    """Return the fields before and after the number of max-age, if that counts down."""
    text = _text(fields)
    if expires is None:
        return text, b""
    before, *after = _AGE.split(text, maxsplit=1)
    return before, b"".join(after)
