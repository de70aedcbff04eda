"""One upload: what to ask of the server next, and what its answer means.

Law: what the server says it has is true, and nothing is kept here that it could be asked for. So an upload
that broke anywhere goes on after a HEAD, in this run or a later one. The language is the draft "Resumable
Uploads for HTTP" (interop version 8); a server that knows nothing of it sees a plain PUT (XEP-0363).

Interim answers (104) are not waited for: many proxies swallow them. The upload resource of a slot is its own
URL, and an endpoint tells it in the answer to an empty beginning.

No Content-Digest goes with a part: of a part that breaks off the server could not check it, and would have to
drop what has come. The whole file's digest (Repr-Digest) covers all.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from hmacfs.client import calls as askings
from hmacfs.client import response as answers
from hmacfs.client.calls import Piece, UploadClient
from hmacfs.client.problem import Failed, TransientError
from hmacfs.http import digests
from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.client.response import Response

LANGUAGE: Final = {"Upload-Draft-Interop-Version": "8", **answers.WANTED}
FIRST_BYTES: Final = 8 * MiB
"""A file up to this size is sent in one request without a question before; sent again, it costs little."""
_TOO_LARGE: Final = 413  # the words for it changed in Python 3.13
_STORED: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})
_STORED_BY_PARTS: Final = _STORED | {HTTPStatus.NO_CONTENT}


class Upload:
    """One file on its way."""

    def __init__(self, client: UploadClient, *, chunk: int | None, moved: Callable[[int], None]) -> None:
        """Upload the source of `client` to its place.

        `chunk` are the bytes of a request, None to follow the server's advice; `moved` is told how much of
        the file has gone, which may become less again.
        """
        self._asking = client.speaking(LANGUAGE)
        self._source = client.source
        self._place = place = client.place
        self._chunk = chunk
        self._moved = moved
        self._limits: dict[str, int] | None = None  # None: nothing says that it can be resumed
        self._resource = None if place.is_endpoint else place.url
        self._offset: int | None = None  # None: nothing has begun
        self._reached = 0  # the furthest offset so far
        self._lost = False  # whether the offset must be asked for
        self._sent_whole = False  # whether a request that might have stored the file went out before
        self._url: str | None = None  # of the stored file

    @property
    def resource(self) -> str | None:
        """The URL by which the upload can be continued; None if there is none."""
        return None if self._limits is None else self._resource

    async def run(self) -> str | None:
        """Upload; give the URL to download from, if the server or the slot tells.

        Raises Failed, and GaveUp if it may be continued.
        """
        done = await self._asking.retry(self._discover) if self._source.size > self._first else False
        while not done:
            done = await self._asking.retry(self._advance)
        return self._url

    @property
    def _first(self) -> int:
        return FIRST_BYTES if self._chunk is None else self._chunk

    async def _discover(self) -> bool:
        """Learn whether the server resumes uploads, and whether this one has begun before."""
        if await self._find():
            return True
        if self._limits is None:
            answer = await self._asking.ask("OPTIONS", self._place.url, {})
            if not answer.ok:
                askings.raise_passing(answer)
            self._limits = answer.limits
        self._asking.check_size((self._limits or {}).get("max-size"))
        return False

    async def _advance(self) -> bool:
        """Learn where the upload stands if that is unknown, else send what comes next."""
        if self._lost:
            reached = self._reached
            if await self._find():
                return True
            self._lost = False
            if self._reached > reached:  # the way is good: no reason to wait longer and longer
                return False
        return await (self._create() if self._offset is None else self._append(self._offset))

    async def _find(self) -> bool:
        """Ask the server how much it has; give whether it has stored the file."""
        self._offset = None
        if self._resource is None:
            return False
        answer = await self._asking.ask("HEAD", self._resource, {}, last=self._sent_whole)
        if not answer.ok:
            askings.raise_passing(answer)
        elif answer.offset is not None:
            length = answer.offset if answer.complete else answer.length
            if length not in {None, self._source.size}:
                raise Failed(
                    f"an upload of {length} bytes was begun at this URL, and this file has "
                    f"{self._source.size}; it needs a URL of its own"
                )
            self._limits = answer.limits or self._limits or {}
            self._stand(answer.offset)
            if not answer.complete:
                return False
            if answer.sha256 is not None and not await self._is_ours(answer, sent=False):
                raise Failed("another file of this size stands at this URL; this one needs a URL of its own")
            return self._finish(answer)
        elif self._sent_whole and await self._is_ours(answer, sent=True):
            return self._finish(answer)  # a plain server shows the file itself: only its answer was lost
        return False

    async def _create(self) -> bool:
        resumable = self._limits is not None
        stop = self._stop(0) if resumable else self._source.size
        ends = stop == self._source.size
        if resumable and self._place.is_endpoint:
            # Empty, so that its answer with the upload's URL costs nothing to have again.
            stop, ends = 0, False
        fields = {"Upload-Length": str(self._source.size), "Content-Type": self._place.content_type}
        if self._place.is_endpoint:
            name = quote(self._source.name, safe="")
            fields["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
        method = "POST" if self._place.is_endpoint else "PUT"
        return await self._send(method, self._place.url, fields, (0, stop), ends=ends)

    async def _append(self, offset: int) -> bool:
        if self._resource is None:
            raise Failed("the server does not say where the upload is")
        stop = self._stop(offset)
        fields = {"Upload-Offset": str(offset), "Content-Type": "application/partial-upload"}
        return await self._send(
            "PATCH", self._resource, fields, (offset, stop), ends=stop == self._source.size
        )

    async def _send(
        self, method: str, url: str, fields: dict[str, str], span: tuple[int, int], *, ends: bool
    ) -> bool:
        start, stop = span
        fields["Upload-Complete"] = "?1" if ends else "?0"
        if ends:
            fields["Repr-Digest"] = digests.write(await self._source.digest())
        tried, self._sent_whole = self._sent_whole, self._sent_whole or ends
        self._lost = True  # until the answer says more
        answer = await self._asking.send(method, url, fields, Piece(start, stop, self._moved), last=ends)
        if not answer.ok:
            return await self._refused(answer, stop - start, tried=tried)
        self._limits = answer.limits or self._limits
        if ends and answer.complete is not False:
            if answer.status not in (_STORED if method == "PUT" else _STORED_BY_PARTS):
                raise Failed(
                    f"the server answers {answer.status}, which is no promise that the file is stored"
                )
            return self._finish(answer)
        if answer.complete is None:
            raise Failed("the server took a part for the whole file; let it forget this upload")
        self._limits = self._limits or {}
        if (resource := answer.link("Location")) is not None:
            self._resource = self._place.trusted(resource)
        self._stand(reached := stop if answer.offset is None else answer.offset)
        self._lost = False
        if ends or reached <= start < stop:
            raise TransientError("the server says that it has no more than before")
        return False

    async def _refused(self, answer: Response, sent: int, *, tried: bool) -> bool:
        """Find the way on after a refusal; raises what is none."""
        if answer.status == HTTPStatus.CONFLICT and answer.offset is not None:
            self._limits = answer.limits or self._limits or {}
            self._stand(answer.offset)
            self._lost = False
            raise TransientError("the server has another part of the file than was thought")
        if answer.status == HTTPStatus.CONFLICT and not self._place.is_endpoint:
            # As anybody who downloads: with the draft's fields it might tell of the upload instead.
            held = await self._asking.look(_without_query(self._place.url))
            if held.ok and await self._is_ours(held, sent=tried):
                return self._finish(held)
        if answer.status == _TOO_LARGE and answer.limits:
            self._limits = answer.limits
            if self._chunk is None and answer.limits.get("max-append-size", sent) < sent:
                raise TransientError("the server takes smaller parts than was thought")
        if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE} and self._offset is not None:
            self._resource = None if self._place.is_endpoint else self._place.url
            raise TransientError("the server has forgotten the upload")
        raise askings.trouble(answer)

    async def _is_ours(self, held: Response, *, sent: bool) -> bool:
        """Whether the file that the server holds is this one, though the answer that said so was lost.

        Its digest decides; of a server that tells none, the size, if the file was `sent` there just now.
        """
        if held.sha256 is not None:
            return held.sha256 == await self._source.digest()
        return sent and held.content_length == self._source.size

    def _stop(self, start: int) -> int:
        """Return the end of the request that begins at `start`.

        Without advice it is the file's: what has come of a request that breaks is kept.
        """
        advised = (self._limits or {}).get("max-append-size") or self._source.size
        return min(start + (self._chunk or advised), self._source.size)

    def _stand(self, offset: int) -> None:
        """Note how much the server has. Raises Failed if that is more than there is."""
        if offset > self._source.size:
            raise Failed(
                f"the server has {offset} bytes of this upload, and the file {self._source.size}; "
                "it needs a URL of its own"
            )
        self._offset = offset
        self._moved(offset)
        if offset > self._reached:
            self._reached = offset
            self._asking.retry_policy.reset()

    def _finish(self, answer: Response) -> bool:
        """Note where the stored file is: where the server says, else at its slot's URL."""
        self._moved(self._source.size)
        self._url = answer.link("Content-Location")
        if self._url is None and not self._place.is_endpoint:
            self._url = _without_query(self._place.url)
        return True


def _without_query(url: str) -> str:
    return urlsplit(url)._replace(query="", fragment="").geturl()
