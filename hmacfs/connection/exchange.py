"""One request and its reply: what is known of them, and the one seam where they are counted and logged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs.metrics import tally
from hmacfs.model import FinishedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.connection.body import RequestBody
    from hmacfs.log import Log
    from hmacfs.metrics import CounterRow
    from hmacfs.model import Head, Reply
    from hmacfs.policy.profiles import Profile


class Exchange:
    """A request from its first byte to its reply's last; a connection has one at a time."""

    __slots__ = (
        "body",
        "body_ended",
        "dialect",
        "head",
        "head_bytes",
        "keep",
        "late",
        "noted",
        "noted_at",
        "owner",
        "peer",
        "profile",
        "profile_address",
        "request_id",
        "started",
        "unsent",
    )

    def __init__(self, peer: str, profile_address: str) -> None:
        """Begin where nothing has come; both addresses are what is known without a head."""
        self.peer = peer  # the client as the log shows it
        self.profile_address = profile_address  # the one it is remembered by; "" if our proxy names none
        self.started = 0.0  # monotonic time; 0 before anything came
        self.request_id = ""
        self.head: Head | None = None
        self.head_bytes = 0
        self.body: RequestBody | None = None
        self.body_ended = 0.0  # monotonic time; 0 if the body came with its head, or is still coming
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

    def begin(self, request_id: str, head_bytes: int) -> None:
        """Note that a head of `head_bytes` bytes is whole."""
        self.started = time.monotonic()
        self.request_id = request_id
        self.head_bytes = head_bytes

    def resolve_client(self, resolve: Callable[[bytes | None, bytes | None], bytes], peer: bytes) -> None:
        """Note the client that our proxy, which is `peer`, names in the head, if it names one."""
        fields = {} if self.head is None else self.head.fields
        named = resolve(fields.get(b"x-forwarded-for"), fields.get(b"forwarded"))
        if named and named != peer:
            self.peer = self.profile_address = named.decode()

    def log_fault(self, log: Log, error: BaseException) -> None:
        """Write to `log` that `error`, a fault of ours, has ended it."""
        log.event("error", "request-failed", request_id=self.request_id, error=repr(error))

    def record(self, row: CounterRow, log: Log, reply: Reply, *, sent: int, broken: str) -> None:
        """Count it in `row` and write it to `log`; `broken` says why the reply is not out whole."""
        head = self.head
        method = "other" if head is None else head.method
        body_bytes = 0 if self.body is None else self.body.received
        # Not by keywords, which take a class 700 instructions each (Python 3.11), and an attribute 100.
        finished = FinishedRequest.__new__(FinishedRequest)
        finished.request_id = self.request_id
        finished.client = self.peer
        finished.method = method
        finished.target = b"" if head is None else head.target
        finished.status = reply.status
        finished.code = reply.code
        finished.received = self.head_bytes + body_bytes
        finished.sent = sent
        finished.elapsed_s = time.monotonic() - self.started
        finished.stored = body_bytes
        finished.dialect = self.dialect
        finished.broken = broken
        finished.detail = reply.detail
        tally.request(row, finished)
        log.request(finished)
        if reply.code == errors.HTTP2_PREFACE.code:
            log.event("info", "http2-preface", request_id=self.request_id, client=self.peer)
