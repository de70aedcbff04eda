"""Which requests are of a resumable upload, and of which kind."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hmacfs import resume
from hmacfs.app.resumable.chunks import GoChunkedUploads
from hmacfs.app.resumable.engine import Engine
from hmacfs.app.resumable.slots import SALVAGED, Slots
from hmacfs.app.resumable.tus_endpoint import TusEndpoint
from hmacfs.app.routing import CHUNKS, TUS
from hmacfs.errors import Refused
from hmacfs.resume import UploadProtocol

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hmacfs.app.context import AppContext
    from hmacfs.app.resumable.active import ActiveUpload, ActiveUploads
    from hmacfs.app.resumable.engine import UploadConnection
    from hmacfs.app.resumable.slots import Whole
    from hmacfs.app.routing import Route
    from hmacfs.model import Grant, Head, Reply, Slot
    from hmacfs.store import Part


class Resumable:
    """The resumable uploads of one configuration over one store."""

    def __init__(self, context: AppContext, underway: ActiveUploads, whole: Whole) -> None:
        """Serve all upload languages that the configuration permits.

        Plain PUTs that may be taken over are among those `underway`; `whole` stores a file of one request.
        """
        self._engine = engine = Engine(context)
        uploads, streaming = context.settings.uploads, context.settings.streaming
        self._plain = Slots(engine, underway, whole)
        self._slots = self._plain if uploads.resumable_uploads_enabled else None
        self._joins = streaming.connection_multiplexing
        self._tus = TusEndpoint(engine, joins=self._joins)
        concurrent = self._joins and uploads.concurrent_chunk_uploads
        self._chunks = GoChunkedUploads(engine, context.router.endpoints, concurrent=concurrent)

    def answer(self, head: Head, link: UploadConnection, route: Route) -> Coroutine[None, None, Reply] | None:
        """Return a coroutine that answers, or None for an ordinary request. Raises Refused NOT_FOUND."""
        if route.resource is TUS:
            assert route.endpoint is not None
            if head.method == "GET":
                return self._tus.lead(route.endpoint, route.upload)
            return self._tus.answer(head, link, route.endpoint, route.upload)
        if route.resource is CHUNKS:
            return self._chunks.answer(head, link)
        if self._slots is not None and (protocol := resume.detect(head)) is not None:
            return self._slots.answer(protocol, head, link, route.file())
        return None

    def unfinished(
        self, head: Head, link: UploadConnection, slot: Slot
    ) -> Coroutine[None, None, Reply] | None:
        """Return the answer to a HEAD of a file that is not there, if it shows a token; else None."""
        if self._slots is None or head.method != "HEAD":
            return None
        if not (head.query or b"authorization" in head.fields):
            return None
        return self._slots.answer(UploadProtocol.IETF, head, link, slot)

    def options(self, route: Route) -> list[tuple[str, str]]:
        """Return what OPTIONS says of resumable uploads."""
        if self._slots is None and route.resource is not TUS:
            return []
        return resume.options(self._engine.limits(), joins=self._joins)

    def too_large(self, head: Head, refused: Refused) -> list[tuple[str, str]]:
        """Return what a 413 says of sizes beside its own (the IETF's draft, Upload-Limit)."""
        told = any(name == "Upload-Limit" for name, _ in refused.fields)  # where the token sets a limit
        if told or resume.detect(head) not in {UploadProtocol.IETF, UploadProtocol.RANGE}:
            return []
        return [resume.limit(self._engine.limits())]

    def hold(self, head: Head, link: UploadConnection, slot: Slot, grant: Grant, part: Part) -> ActiveUpload:
        """Let the owner of a plain PUT that is coming take it over, until it is released."""
        return self._plain.hold(head, link, slot, grant, part)

    def is_under_way(self, slot: Slot) -> bool:
        """Whether any plain PUT to `slot` may be under way, at whichever worker; quick."""
        return self._plain.is_under_way(slot)

    async def make_way(self, head: Head, slot: Slot) -> None:
        """End those plain PUTs to `slot` that the token of `head` may end. Raises Refused BUSY."""
        await self._plain.make_way(head, slot)

    async def outdo(self, held: ActiveUpload, head: Head, slot: Slot) -> None:
        """End those of them that are older than `held`, or `held` itself if one is newer."""
        with contextlib.suppress(Refused):  # it was told to end, and does so later
            await self._plain.outdo(held, head, slot)

    async def salvage(self, broken: Refused, head: Head, slot: Slot, grant: Grant, part: Part) -> None:
        """Keep what has come of a plain PUT, if it broke off in a way that leaves it worth keeping."""
        if self._slots is not None and broken.refusal in SALVAGED:
            with contextlib.suppress(Refused):  # what the client is told is why it broke
                await self._slots.salvage(broken, head, slot, grant, part)

    async def forget(self, slot: Slot) -> None:
        """Drop what is left of a broken upload, now that a plain PUT has stored the file."""
        if self._slots is not None:
            await self._slots.forget(slot)
