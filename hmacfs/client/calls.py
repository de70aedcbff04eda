"""What the languages of upload have in common: requests about one file at one place, and patience."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from hmacfs.client import response as answers
from hmacfs.client.problem import Failed, TransientError
from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from hmacfs.client.destination import Destination
    from hmacfs.client.response import Response
    from hmacfs.client.retry import RetryPolicy
    from hmacfs.client.source import Source
    from hmacfs.client.transport import Transport

T = TypeVar("T")

SLOWEST_RATE: Final = 32 * MiB
"""Bytes a second of a file that a server at least copies, syncs and digests before its last answer.

Who asks again before that makes it begin anew. A slow disk does each of the three at 100 MB/s.
"""


class Piece(NamedTuple):
    """What of the file one request brings."""

    start: int
    stop: int
    """One past its last byte."""
    moved: Callable[[int], None]
    """Told the place after each block that has gone."""


class UploadClient:
    """One connection's requests, in the name of the user and of the place."""

    def __init__(
        self,
        transport: Transport,
        source: Source,
        place: Destination,
        retry_policy: RetryPolicy,
        language: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Ask by `transport` about `source` at `place`; `language` are the fields of each request."""
        self._transport = transport
        self.source = source
        self.place = place
        self.retry_policy = retry_policy
        self._language = language

    def speaking(self, language: Mapping[str, str]) -> UploadClient:
        """Return the same in another language."""
        return UploadClient(self._transport, self.source, self.place, self.retry_policy, language)

    def another(self) -> UploadClient:
        """Return the same for another connection, which has a patience of its own."""
        return UploadClient(
            self._transport, self.source, self.place, self.retry_policy.another(), self._language
        )

    async def ask(self, method: str, url: str, fields: Mapping[str, str], *, last: bool = False) -> Response:
        """Make a request without a body; the `last` one may take as long as the whole file needs.

        Raises as `Transport.ask` does.
        """
        named = {**self._language, **self.place.fields, **fields}
        return await self._transport.ask(method, url, named, work_s=self._work_s(last))

    async def look(self, url: str) -> Response:
        """Ask what stands at `url`, and for its digest, as anybody who downloads. Raises as `ask`."""
        return await self._transport.ask("HEAD", url, answers.WANTED)

    async def send(
        self, method: str, url: str, fields: Mapping[str, str], piece: Piece, *, last: bool = False
    ) -> Response:
        """Make one with a piece of the file. Raises as `ask` does."""
        start, stop, moved = piece
        named = {**self._language, **self.place.fields, **fields, "Content-Length": str(stop - start)}
        body = self.source.blocks(start, stop, moved)
        return await self._transport.ask(method, url, named, body, work_s=self._work_s(last))

    async def retry(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step, again and again while it may help. Raises Failed, and GaveUp if it did not help."""
        while True:
            try:
                return await step()
            except TransientError as passing:
                await self.retry_policy.wait(passing)

    def _work_s(self, last: bool) -> float:  # noqa: FBT001 - as it was said
        return self.source.size / SLOWEST_RATE if last else 0.0

    def check_size(self, most: int | None) -> None:
        """Raise Failed if the server takes files of at most `most` bytes, and this one has more."""
        if most is not None and most < self.source.size:
            raise Failed(f"the server takes files of at most {most} bytes, and this has {self.source.size}")


def trouble(answer: Response) -> Failed | TransientError:
    """Return what an answer that is no success means now: an exception to raise."""
    return answers.trouble(answer, now=time.time())


def raise_passing(answer: Response) -> None:
    """Raise TransientError for an answer that says nothing yet; the next answer tells any other refusal."""
    if isinstance(found := trouble(answer), TransientError):
        raise found
