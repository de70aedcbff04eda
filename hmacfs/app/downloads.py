"""GET and HEAD: a file by its slot, or by its path below the storage as the Go server's /download/ has it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Protocol

from hmacfs import errors
from hmacfs.app import files, go_server
from hmacfs.app.offload import Offload
from hmacfs.app.resumable import UploadConnection
from hmacfs.app.routing import Resource
from hmacfs.errors import Refused
from hmacfs.http import cors
from hmacfs.model import Reply

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hmacfs.app.context import AppContext
    from hmacfs.app.resumable import Resumable
    from hmacfs.app.routing import Route
    from hmacfs.model import File, Head, Slot
    from hmacfs.store import FileMetadata


class DownloadConnection(UploadConnection, Protocol):
    """The client as a download sees it."""

    @property
    def trusted(self) -> bool:
        """Whether the peer is one of our own proxies, which may be told to send a file itself."""


class Downloads:
    """The downloads of one configuration."""

    def __init__(self, context: AppContext, resumable: Resumable) -> None:
        """Serve files; HEAD of one that is not there yet is answered by `resumable`."""
        settings = context.settings
        self._store = context.store
        self._now = context.now
        self._resumable = resumable
        self._offload = Offload(settings.server)
        self.offloads = bool(self._offload.field)
        """Whether a trusted proxy is told to send files itself."""
        self.ranges = settings.streaming.range_requests
        """Whether parts of files may be asked for."""
        # An answer that is kept is given to requests for which these are right, whatever the first one was.
        allow_origins = settings.cors.allow_origins
        self.any_origin = cors.same_for_all(allow_origins)
        """Whether an answer is the same whatever Origin asks."""
        self.shared = cors.fields(None, allow_origins)
        """What an answer carries to a request without an Origin."""
        self._shared_unmodified = cors.unmodified_fields(None, allow_origins)

    def get(self, head: Head, link: DownloadConnection, route: Route) -> Reply | Coroutine[None, None, Reply]:
        """Return the reply to a GET or HEAD, or a coroutine that will. Raises Refused."""
        if route.resource is Resource.HEALTH:
            return go_server.health()
        slot = route.file()
        try:
            file = self._store.open_file(slot.key)
        except BlockingIOError:
            return self._get_cold(head, link, route, slot)
        except Refused as refused:
            return self._get_missing(head, link, slot, refused)
        return self._get_found(head, link, route, file)

    async def _get_cold(self, head: Head, link: DownloadConnection, route: Route, slot: Slot) -> Reply:
        """Have a thread look for the file."""
        try:
            file = await self._store.open_file_aside(slot.key)
        except Refused as refused:
            return await self._get_missing(head, link, slot, refused)
        answer = self._get_found(head, link, route, file)
        return answer if isinstance(answer, Reply) else await answer

    def _get_missing(
        self, head: Head, link: UploadConnection, slot: Slot, refused: Refused
    ) -> Coroutine[None, None, Reply]:
        """Answer for an unfinished upload, if that is asked about. Raises `refused` if it is not."""
        if refused.refusal is not errors.NOT_FOUND:
            raise refused
        upload = self._resumable.unfinished(head, link, slot)
        if upload is None:
            raise refused
        return upload

    def _get_found(
        self, head: Head, link: DownloadConnection, route: Route, file: File
    ) -> Reply | Coroutine[None, None, Reply]:
        try:
            known = self._store.cached_metadata(route.file().key, file)
        except Refused:
            file.descriptor.close()
            raise
        offloaded = self.offloads and link.trusted
        if known is None:
            return self._get_unknown(head, route, file, offloaded=offloaded)
        return self._file(head, route, file, known, offloaded=offloaded)

    async def _get_unknown(self, head: Head, route: Route, file: File, *, offloaded: bool) -> Reply:
        """Ask the index for the signed type first."""
        try:
            known = await self._store.fetch_metadata(route.file().key, file)
        except BaseException:
            file.descriptor.close()
            raise
        return self._file(head, route, file, known, offloaded=offloaded)

    def _file(self, head: Head, route: Route, file: File, known: FileMetadata, *, offloaded: bool) -> Reply:
        slot = route.file()
        try:
            representation = files.describe(file, known, route, now=self._now(), ranges=self.ranges)
            place = self._offload.place(slot.key) if offloaded else None
            if place is None:
                reply = files.reply(head, representation)
            else:
                reply = files.offloaded(representation, self._offload.field, place)
        except BaseException:
            file.descriptor.close()
            raise
        if not offloaded and (self.any_origin or b"origin" not in head.fields):
            reply.kept = functools.partial(
                files.kept,
                representation,
                slot.key,
                shared=self.shared,
                shared_unmodified=self._shared_unmodified,
            )
        return reply
