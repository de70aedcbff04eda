"""One request and its reply: what is known of them, and the one seam where they are counted and logged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs.metrics import tally
from hmacfs.model import FinishedRequest

if TYPE_CHECKING:
    from hmacfs.connection.body import RequestBody
    from hmacfs.connection.context import WorkerContext
    from hmacfs.model import Head, Reply
    from hmacfs.policy.profiles import Profile


class Exchange:
    """A request from its first byte to its reply's last; a connection has one at a time."""

    __slots__ = (
        "body",
        "body_ended",
        "body_until",
        "dialect",
        "head",
        "head_bytes",
        "keep",
        "late",
        "noted",
        "noted_at",
        "owner",
        "profile",
        "request_id",
        "started",
        "unsent",
    )

    def __init__(self) -> None:
        """Know nothing yet."""
        self.started = 0.0  # monotonic time; 0 before anything came
        self.request_id = ""
        self.head: Head | None = None
        self.head_bytes = 0
        self.body: RequestBody | None = None
        self.body_ended = 0.0  # monotonic time; 0 if the body came with its head, or is still coming
        self.body_until = 0.0  # when a body that is still coming has taken too long, by the loop's clock
        self.dialect = ""
        self.owner = ""  # whom the token names as uploader
        self.keep = True  # whether another request may follow
        self.unsent = b""  # the rest of an interim answer that the socket took a part of
        self.late = False  # whether the reply outlived the turn in which it was begun
        self.noted = 0  # bytes of a large body that its client's profile knows of
        self.noted_at = 0.0  # monotonic time up to which it does
        self.profile: Profile | None = None  # that of the client, once it was asked for

    @property
    def body_unread(self) -> bool:
        """Whether bytes of the body may still come, so that the next request could not be told from them."""
        return self.body is not None and (self.body.unread or self.body.broken)

    def record(self, service: WorkerContext, peer: str, reply: Reply, *, sent: int, broken: str) -> None:
        """Count and log it; `broken` says why the reply is not out whole."""
        head = self.head
        method = "other" if head is None else head.method
        body_bytes = 0 if self.body is None else self.body.received
        finished = FinishedRequest(
            request_id=self.request_id,
            client=peer,
            method=method,
            target=b"" if head is None else head.target,
            status=reply.status,
            code=reply.code,
            received=self.head_bytes + body_bytes,
            sent=sent,
            elapsed_s=time.monotonic() - self.started,
            stored=body_bytes,
            dialect=self.dialect,
            broken=broken,
            detail=reply.detail,
        )
        tally.request(service.row, finished)
        service.log.request(finished)
        if reply.code == errors.HTTP2_PREFACE.code:
            service.log.event("info", "http2-preface", request_id=self.request_id, client=peer)
