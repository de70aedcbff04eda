"""One part of a file on its way: a partial upload of tus 1.0.0, over a connection of its own.

Law as in `upload`: what the server says it has is true. A part that broke goes on after a HEAD, and one that
the server knows no more is begun anew.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from hmacfs.client import calls as askings
from hmacfs.client.calls import Piece
from hmacfs.client.problem import Failed, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.client.calls import UploadClient

GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class Partial:
    """The bytes of a file from `start` to `stop`."""

    def __init__(
        self,
        asking: UploadClient,
        span: tuple[int, int],
        resource: str | None,
        *,
        most: int | None,
        moved: Callable[[int], None],
    ) -> None:
        """Send `span` of the file, in requests of at most `most` bytes.

        `resource` is the URL of it, if an earlier run has begun it; `moved` is told how much of it has gone,
        which may become less again.
        """
        self._asking = asking
        self._start, stop = span
        self._length = stop - self._start
        self._most = most or self._length
        self._moved = moved
        self.resource = resource
        """Its URL, also if it is gone; None before it is begun."""
        self.gone = resource is None
        """Whether the server has nothing of it."""
        self._offset: int | None = None  # None: to be asked for
        self._reached = 0

    @property
    def done(self) -> bool:
        """Whether the server is known to have all of it."""
        return self._offset == self._length

    async def run(self) -> None:
        """Bring all of it to the server. Raises Failed, and GaveUp if it may be continued."""
        while not self.done:
            await self._asking.retry(self._advance)

    async def find(self) -> None:
        """Ask the server how much it has. Raises as `run` does."""
        await self._asking.retry(self._find)

    async def _advance(self) -> None:
        if self.resource is None or self.gone:
            await self._create()
        elif self._offset is None:
            await self._find()
        else:
            await self._append(self.resource, self._offset)

    async def _create(self) -> None:
        fields = {"Upload-Concat": "partial", "Upload-Length": str(self._length)}
        answer = await self._asking.ask("POST", self._asking.place.url, fields)
        if not answer.ok:
            raise askings.trouble(answer)
        resource = answer.link("Location")
        if resource is None:
            raise Failed("the server does not say where a part of the upload is")
        self.resource = self._asking.place.trusted(resource)
        self.gone = False
        self._stand(0)

    async def _find(self) -> None:
        self._offset = None
        if self.resource is None or self.gone:
            return
        answer = await self._asking.ask("HEAD", self.resource, {})
        if answer.status in GONE:
            self._forget()
            return
        if not answer.ok:
            raise askings.trouble(answer)
        if answer.length not in {None, self._length}:
            raise Failed(
                f"a part of {answer.length} bytes was begun there, and this one of the file has "
                f"{self._length}: that was another file, or not all of the parts are named"
            )
        self._stand(answer.offset)

    async def _append(self, resource: str, offset: int) -> None:
        stop = min(offset + self._most, self._length)
        fields = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        piece = Piece(
            self._start + offset, self._start + stop, lambda place: self._moved(place - self._start)
        )
        self._offset = None  # until the answer says more
        answer = await self._asking.send("PATCH", resource, fields, piece)
        if answer.status in GONE:
            self._forget()
            raise TransientError("the server has forgotten a part of the upload")
        if answer.status == HTTPStatus.CONFLICT:
            if answer.offset is not None:
                self._stand(answer.offset)
            raise TransientError("the server has another part of the file than was thought")
        if not answer.ok:
            raise askings.trouble(answer)
        if self._stand(answer.offset) <= offset:
            raise TransientError("the server says that it has no more than before")

    def _stand(self, offset: int | None) -> int:
        """Note and give how much the server has. Raises Failed if it does not say, or more than there is."""
        if offset is None or offset > self._length:
            raise Failed(f"the server says that it has {offset} bytes of a part that has {self._length}")
        self._offset = offset
        self._moved(offset)
        if offset > self._reached:
            self._reached = offset
            self._asking.retry_policy.reset()
        return offset

    def _forget(self) -> None:
        self.gone = True
        self._moved(0)
