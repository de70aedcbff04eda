"""One file over several connections: partial uploads that the server joins (tus 1.0.0, Concatenation).

Law as in `upload`: what the server says is true, and nothing is kept here that it could be asked for. Which
bytes are whose follows from the file's size and the number of parts.

The joining is a request like others: where its answer is lost it is made again. Our server then answers as
before. Of another, whose parts are gone by then, nobody can tell whether it has stored the file, and this is
said rather than the file sent once more.

The digest of the whole file cannot follow bytes that go in several places at once: it is taken in a pass of
its own while they go.
"""

from __future__ import annotations

import asyncio
import base64
import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from hmacfs.client import calls as askings
from hmacfs.client.partial import GONE, Partial
from hmacfs.client.problem import Failed, GaveUp, TransientError
from hmacfs.http import digests
from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from hmacfs.client.calls import UploadClient
    from hmacfs.client.response import Response

LANGUAGE: Final = {"Tus-Resumable": "1.0.0"}
PART_BYTES: Final = 4 * MiB
"""Below this a part is not worth a connection: the round trips that it needs more cost what it gains."""
MOST_PARTS: Final = 32
"""Their URLs go in one field of the joining, and proxies take some 8 KiB of one (nginx)."""


def count_parts(size: int, connections: int) -> int:
    """Return in how many parts a file should go, if `connections` may be used; 1: as it is."""
    return max(min(connections, size // PART_BYTES, MOST_PARTS), 1)


class ParallelUpload:
    """One file on its way in parts."""

    def __init__(
        self, client: UploadClient, *, connections: int, chunk: int | None, moved: Callable[[int], None]
    ) -> None:
        """Upload to an endpoint over `connections`; else as `Upload`."""
        self._asking = client.speaking(LANGUAGE)
        self._connections = connections
        self._chunk = chunk
        self._moved = moved
        self._parts: list[Partial] = []
        # Whether the parts may have been joined, and the answer that said so was lost.
        self._tried = False

    @property
    def resource(self) -> str | None:
        """The URL to continue at; None if there is nothing to continue."""
        place = self._asking.place
        parts = [part.resource for part in self._parts] or list(place.parts)
        return place.with_parts(parts) if any(parts) else None

    async def begin(self) -> bool:
        """Return whether the file goes in parts: it is large and the server joins them. Else do not `run`.

        Raises Failed, and GaveUp if it may be asked again.
        """
        source, place = self._asking.source, self._asking.place
        begun = place.parts or (None,) * count_parts(source.size, self._connections)
        if not (place.parts or (place.is_endpoint and len(begun) > 1)):
            return False
        answer = await self._asking.retry(self._discover)
        self._asking.retry_policy.reset()  # it is asked again only when all has gone
        if "concatenation" not in answer.tus_extensions:
            if place.parts:
                raise Failed("the server does not join parts of a file any more")
            return False
        limits = answer.limits or {}
        self._asking.check_size(limits.get("max-size", answer.tus_max_size))
        self._divide(begun, self._chunk or limits.get("max-append-size"))
        return True

    async def run(self) -> str | None:
        """Upload; give the URL to download from, if the server tells. Raises as `Upload.run` does."""
        begun = self._asking.place.parts
        if begun:
            await self._each(Partial.find)
            self._tried = all(begun)
            if self._tried and all(part.gone for part in self._parts):
                return await self._asking.retry(self._join)
        return await self._asking.retry(self._advance)

    def _divide(self, begun: tuple[str | None, ...], most: int | None) -> None:
        """Divide the file into parts, some of which are `begun`; of requests of at most `most` bytes."""
        size, count = self._asking.source.size, len(begun)
        sent = [0] * count

        def show(number: int, moved: int) -> None:
            sent[number] = moved
            self._moved(sum(sent))

        self._parts = [
            Partial(
                self._asking.another(),
                (size * number // count, size * (number + 1) // count),
                resource and self._asking.place.trusted(resource),
                most=most,
                moved=functools.partial(show, number),
            )
            for number, resource in enumerate(begun)
        ]

    async def _discover(self) -> Response:
        answer = await self._asking.ask("OPTIONS", self._asking.place.url, {})
        if not answer.ok:
            askings.raise_passing(answer)
        return answer

    async def _advance(self) -> str | None:
        """Bring what is missing to the server, and have it joined; give the URL of the file."""
        await self._each(Partial.run, self._asking.source.digest())
        return await self._join()

    async def _join(self) -> str | None:
        source, place = self._asking.source, self._asking.place
        fields = {
            "Upload-Concat": f"final;{' '.join(part.resource or '' for part in self._parts)}",
            "Upload-Metadata": f"filename {_base64(source.name)},filetype {_base64(place.content_type)}",
            # Known by now; asked for once more, since the file must not have changed meanwhile.
            "Repr-Digest": digests.write(await source.digest()),
        }
        tried, self._tried = self._tried, True
        answer = await self._asking.ask("POST", place.url, fields, last=True)
        if answer.status == HTTPStatus.CREATED:
            self._moved(source.size)
            return answer.link("Content-Location") or answer.link("Location")
        problem = askings.trouble(answer)
        if answer.status not in GONE and problem.problem.code != "upload_parts":
            raise problem
        await self._each(Partial.find)
        if tried and all(part.gone for part in self._parts):
            raise Failed(
                "the server has no part of this upload any more: it may have stored the file, and the answer "
                f"was lost, or dropped them; to begin anew, upload it to {place.url}"
            )
        if all(part.done for part in self._parts):
            raise problem
        raise TransientError("the server misses a part of the upload")

    async def _each(
        self, step: Callable[[Partial], Awaitable[None]], *beside: Coroutine[None, None, object]
    ) -> None:
        """Take a step with each part, over all connections at the same time, and do what is `beside`.

        What one raises ends the others.
        """
        waiting = iter(self._parts)

        async def send_next() -> None:
            for part in waiting:
                await step(part)

        try:
            async with asyncio.TaskGroup() as group:
                for other in beside:
                    group.create_task(other)
                for _ in range(min(self._connections, len(self._parts))):
                    group.create_task(send_next())
        except ExceptionGroup as several:
            raised = several.exceptions
            # What is for good is worth more than what may be continued.
            raise next((one for one in raised if not isinstance(one, GaveUp)), raised[0]) from None


def _base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="replace")).decode("ascii")
