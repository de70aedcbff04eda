"""What of the cold path's replies is handed to `_hot`, so that it may give them the next time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hmacfs import metrics
from hmacfs.http import lines
from hmacfs.policy import memory

if TYPE_CHECKING:
    from hmacfs import log
    from hmacfs._hot import Hot
    from hmacfs.model import Head, Reply


def columns() -> tuple[int, ...]:
    """Give the columns that `_hot` counts in, in its order."""
    requests, latency = metrics.REQUESTS, metrics.DOWNLOAD_LATENCY
    return (
        requests["GET", "ok"],
        requests["GET", "partial"],
        requests["GET", "not_modified"],
        requests["HEAD", "ok"],
        requests["HEAD", "not_modified"],
        metrics.RECEIVED_BYTES,
        metrics.SENT_BYTES,
        metrics.RANGE_REQUESTS,
        latency.first,
        latency.sum,
        *(int(bound * latency.scale) for bound in latency.bounds),
    )


class Memory:
    """Admits a file at its second request, and renews it each time the cold path has looked at it."""

    def __init__(self, hot: Hot, journal: log.Log) -> None:
        """Hand over to `hot`; targets are written as `journal` shows them."""
        self._hot = hot
        self._journal = journal
        self._seen: dict[bytes, None] = {}

    def offer(self, head: Head, reply: Reply) -> None:
        """Consider a reply about to be sent, its file still open."""
        kept, file = reply.kept, reply.file
        if kept is None or file is None:
            return
        target = head.target
        if target not in self._seen:
            self._seen[target] = None
            if len(self._seen) > memory.SEEN_TARGETS:
                del self._seen[next(iter(self._seen))]
            return
        etag = kept.etag.encode()
        body = self._hot.body_of(target, etag)
        if body is None:
            body = os.pread(file.fd, file.size, 0)
        if len(body) == file.size:
            self._hot.admit(
                target,
                _text(kept.fields),
                _text(kept.unmodified),
                _text(kept.shared),
                etag,
                body,
                self._journal.shown(target),
                kept.seconds,
            )


def _text(fields: list[tuple[str, str]]) -> bytes:
    return lines.encode([f"{name}: {value}" for name, value in fields])
