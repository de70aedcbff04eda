"""One download: what to ask of the server next, and what its answer means.

Bytes of two answers are joined only under one strong entity tag (RFC 9110 13.1.5, 15.3.7.3); where there is
none, a download that broke begins anew.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from hmacfs.client import response as answers
from hmacfs.client.problem import Failed, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.client.response import Response
    from hmacfs.client.retry import RetryPolicy
    from hmacfs.client.sink import DownloadTarget
    from hmacfs.client.transport import Transport

# What must not name a file: separators of any system, hidden and dot names, what terminals obey.
_BAD_NAME: Final = re.compile(r"\.|.*[/\\\x00-\x1f\x7f-\x9f]", re.DOTALL)


class Download:
    """One file on its way."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        sink: DownloadTarget,
        retry_policy: RetryPolicy,
        moved: Callable[[int, int | None], None],
    ) -> None:
        """Download `url` into `sink`; `moved` is told how much has come, and of how much if that is known."""
        self._transport = transport
        self._url = url
        self._sink = sink
        self._retry_policy = retry_policy
        self._moved = moved
        self._size: int | None = None  # of the whole file, once an answer has told
        self._sha256: bytes | None = None  # the same

    async def run(self) -> None:
        """Download, check and finish. Raises Failed, and GaveUp if it may be continued."""
        while True:
            had = self._sink.size
            try:
                await self._fetch()
                break
            except TransientError as passing:
                if self._sink.size > had:
                    self._retry_policy.reset()
                await self._retry_policy.wait(passing)
        if self._sha256 is not None and self._sha256 != await self._sink.digest():
            self._sink.begin(None)
            raise Failed(
                "what came has another SHA-256 than the file that was uploaded, by what the server tells: "
                "it was damaged there or on the way, and is dropped"
            )
        self._sink.finish()

    async def _fetch(self) -> None:
        """Ask for what is missing and take it. Raises TransientError if something still is."""
        had = self._sink.size
        fields = {}
        if had and self._sink.tag is not None:
            fields = {"Range": f"bytes={had}-", "If-Range": self._sink.tag}
        async with self._transport.fetch(self._url, {**answers.WANTED, **fields}) as (answer, blocks):
            if missing := self._accept(answer):
                self._moved(self._sink.size, self._size)
                async for block in blocks:
                    self._sink.write(block)
                    self._moved(self._sink.size, self._size)
        if not missing and self._sha256 is None:
            await self._ask_digest()
        if self._size is not None and self._sink.size != self._size:
            raise TransientError(f"{self._sink.size} bytes came of {self._size}")

    async def _ask_digest(self) -> None:
        """Learn the digest of what an earlier run has brought whole: the 416 did not tell it."""
        fields = {"Range": "bytes=0-0", **answers.WANTED}
        async with self._transport.fetch(self._url, fields) as (answer, _):
            if answer.ok and answer.etag == self._sink.tag:
                self._sha256 = answer.sha256

    def _accept(self, answer: Response) -> bool:
        """Make the sink ready for the answer's body; False if it has everything already."""
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return self._beyond(answer)
        if answer.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            if answer.ok:
                raise Failed(f"the server answers {answer.status}, which carries no file")
            raise answers.trouble(answer, now=time.time())
        if answer.fields.get("Content-Encoding", "identity").lower() != "identity":
            raise Failed("the server sends the file compressed, though it was asked not to")
        if answer.status == HTTPStatus.OK:
            self._sink.begin(answer.etag)
            self._size = answer.content_length
        else:
            first, self._size = answer.content_range
            if first != self._sink.size or answer.etag not in {None, self._sink.tag}:
                self._sink.begin(None)
                raise TransientError("the server sent another part than it was asked for")
        self._sha256 = answer.sha256
        return True

    def _beyond(self, answer: Response) -> bool:
        """Judge a 416: either nothing was missing, or the file is not what it was."""
        _, size = answer.content_range
        # The tag still holds, or the server would have sent the whole (RFC 9110 13.1.5).
        if self._sink.size and size == self._sink.size:
            self._size = size
            self._moved(size, size)
            return False
        if not self._sink.size:
            raise answers.trouble(answer, now=time.time())
        self._sink.begin(None)
        raise TransientError("the file has become shorter on the server")


def name_of(url: str) -> str | None:
    """Return the bare name that a URL ends in; None if it is none that a file should get unasked."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    return None if not name or _BAD_NAME.match(name) else name
