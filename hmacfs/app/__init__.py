"""What the server does: one short function per method, Head in, Reply out.

`App.answer` gives a Reply at once where nothing can block (a known file, a refusal) and a coroutine
where a disk or a body must be waited for. Refusals are raised, and turned into replies by `refuse`.
"""

from __future__ import annotations

import functools
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import auth, errors, metrics, resume
from hmacfs.app import files, go_server, routing
from hmacfs.app.offload import Offload
from hmacfs.app.resumable import ActiveUploads, Resumable
from hmacfs.app.uploads import SignedUploadConnection as UploadLink
from hmacfs.app.uploads import SignedUploads
from hmacfs.errors import Refused
from hmacfs.http import cors
from hmacfs.http import reply as replies
from hmacfs.model import METHODS, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hmacfs.app.resumable import UploadConnection as ResumableLink
    from hmacfs.config.settings import Settings
    from hmacfs.model import File, Grant, Head, Slot
    from hmacfs.store import FileMetadata, Store

ALLOW: Final = ", ".join(METHODS)


class ClientConnection(UploadLink, Protocol):
    """The client as the app sees it."""

    @property
    def trusted(self) -> bool:
        """Whether the peer is one of our own proxies, which may be told to send a file itself."""


class App:
    """All answers of one configuration over one store; a reload makes a new one."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        row: metrics.CounterRow,
        *,
        now: Callable[[], float] = time.time,
        underway: ActiveUploads | None = None,
    ) -> None:
        """Serve `settings` from `store`, counting in `row`; `now` is the wall clock.

        `underway` are the plain PUTs of this worker, also those begun under another configuration.
        """
        self.max_body_bytes = settings.server.max_upload_size
        """Bytes of a file at most."""
        self._endpoints = routing.by_length(settings.endpoints)
        self._cors = settings.cors
        self._shared_unmodified = cors.unmodified_fields(None, settings.cors.allow_origins)
        self._offload = Offload(settings.server)
        self.ranges = settings.streaming.range_requests
        """Whether parts of files may be asked for."""
        self.any_origin = cors.same_for_all(settings.cors.allow_origins)
        """Whether answers to downloads are the same whatever Origin asks."""
        self._store = store
        self._row = row
        self._now = now
        self._resumable = Resumable(
            settings,
            self._endpoints,
            store,
            row,
            now,
            underway=underway or ActiveUploads(),
            whole=self._store_whole,
        )
        self._uploads = SignedUploads(
            settings, self._endpoints, store, row, now, resumable=self._resumable, shared=self._shared
        )

    @property
    def offloads(self) -> bool:
        """Whether a trusted proxy is told to send files itself."""
        return bool(self._offload.field)

    def answer(self, head: Head, link: ClientConnection) -> Reply | Coroutine[None, None, Reply]:
        """Return the reply to `head`, or a coroutine that will. Raises Refused."""
        method = head.method
        if method == "OPTIONS":
            return self._options(head)
        if (resumed := self._resumable.answer(head, link)) is not None:
            return self._with_shared(resumed, head)
        if method in ("GET", "HEAD"):
            return self._get(head, link)
        if method == "PUT":
            return self._uploads.put(head, link)
        if method == "POST":
            return self._uploads.form(head, link)
        if method == "DELETE":
            return self._delete(head, link)
        raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", ALLOW),))

    def _store_whole(
        self, head: Head, link: ResumableLink, slot: Slot, grant: Grant | None
    ) -> Coroutine[None, None, Reply]:
        """Store a file that comes in one request."""
        return self._uploads.whole(head, link, slot, grant)

    async def _with_shared(self, answer: Coroutine[None, None, Reply], head: Head) -> Reply:
        """Return an answer with what all of ours carry."""
        reply = await answer
        reply.fields += self._shared(head)
        return reply

    def refuse(self, refused: Refused, head: Head | None, request_id: str) -> Reply:
        """Return the reply that a refusal amounts to."""
        reply = replies.refusal(refused, head, request_id)
        reply.fields += self._shared(head)
        if head is not None and refused.refusal.status == errors.TOO_LARGE.status:
            reply.fields += self._resumable.too_large(head, refused)
        reply.detail = refused.detail
        return reply

    def _shared(self, head: Head | None) -> list[tuple[str, str]]:
        """Fields of every answer: without CORS a browser takes an error for a broken network."""
        if head is None:
            return cors.fields(None, self._cors.allow_origins)
        shared = cors.fields(head.fields.get(b"origin"), self._cors.allow_origins)
        return shared + spoken if (spoken := resume.common_fields(head)) else shared

    # GET and HEAD.

    def _get(self, head: Head, link: ClientConnection) -> Reply | Coroutine[None, None, Reply]:
        if head.path == go_server.HEALTH:
            return Reply(
                status=200,
                code="ok",
                fields=[("Content-Type", "text/plain; charset=utf-8"), *self._shared(head)],
                pieces=[b"OK"],
            )
        slot = go_server.download(head.path, self._endpoints)
        attached = slot is not None
        if slot is None:
            slot = routing.find(head.path, self._endpoints)
        try:
            file = self._store.open_file(slot.key)
        except BlockingIOError:
            return self._get_cold(head, link, slot, attached=attached)
        except Refused as refused:
            return self._get_missing(head, link, slot, refused)
        return self._get_found(head, link, slot, file, attached=attached)

    async def _get_cold(self, head: Head, link: ClientConnection, slot: Slot, *, attached: bool) -> Reply:
        """Have a thread look for the file."""
        try:
            file = await self._store.open_file_aside(slot.key)
        except Refused as refused:
            return await self._get_missing(head, link, slot, refused)
        answer = self._get_found(head, link, slot, file, attached=attached)
        return answer if isinstance(answer, Reply) else await answer

    def _get_missing(
        self, head: Head, link: ClientConnection, slot: Slot, refused: Refused
    ) -> Coroutine[None, None, Reply]:
        """Answer for an unfinished upload, if that is asked about. Raises `refused` if it is not."""
        if refused.refusal is not errors.NOT_FOUND:
            raise refused
        upload = self._resumable.unfinished(head, link, slot)
        if upload is None:
            raise refused
        return self._with_shared(upload, head)

    def _get_found(
        self, head: Head, link: ClientConnection, slot: Slot, file: File, *, attached: bool
    ) -> Reply | Coroutine[None, None, Reply]:
        try:
            known = self._store.cached_metadata(slot.key, file)
        except Refused:
            file.descriptor.close()
            raise
        offloaded = self.offloads and link.trusted
        if known is None:
            return self._get_unknown(head, slot, file, attached=attached, offloaded=offloaded)
        return self._file(head, slot, file, known, attached=attached, offloaded=offloaded)

    async def _get_unknown(
        self, head: Head, slot: Slot, file: File, *, attached: bool, offloaded: bool
    ) -> Reply:
        """Ask the index for the signed type first."""
        try:
            known = await self._store.fetch_metadata(slot.key, file)
        except BaseException:
            file.descriptor.close()
            raise
        return self._file(head, slot, file, known, attached=attached, offloaded=offloaded)

    def _file(  # noqa: PLR0913 - all that a file's answer depends on
        self, head: Head, slot: Slot, file: File, known: FileMetadata, *, attached: bool, offloaded: bool
    ) -> Reply:
        try:
            representation = files.describe(
                file,
                name=slot.name,
                content_type=known.content_type,
                expires=known.expires,
                now=self._now(),
                attached=attached,
                ranges=self.ranges,
                sha256=known.sha256,
            )
            place = self._offload.place(slot.key) if offloaded else None
            if place is None:
                reply = files.reply(head, representation)
            else:
                reply = files.offloaded(representation, self._offload.field, place)
        except BaseException:
            file.descriptor.close()
            raise
        shared = self._shared(head)
        if not offloaded and (self.any_origin or b"origin" not in head.fields):
            reply.kept = functools.partial(
                files.kept,
                representation,
                slot.key,
                shared=shared,
                shared_unmodified=self._shared_unmodified,
            )
        if reply.status == HTTPStatus.NOT_MODIFIED:
            shared = cors.unmodified_fields(head.fields.get(b"origin"), self._cors.allow_origins)
        reply.fields += shared
        return reply

    # DELETE and OPTIONS.

    def _delete(self, head: Head, link: ClientConnection) -> Coroutine[None, None, Reply]:
        slot = routing.find(head.path, self._endpoints)
        auth.delete(head, slot, now=self._now())
        return self._remove(head, link, slot)

    async def _remove(self, head: Head, link: ClientConnection, slot: Slot) -> Reply:
        link.authorize("token")
        await self._store.remove(slot)
        self._row.add(metrics.DELETED_FILES)
        return Reply(status=204, code="no_content", fields=self._shared(head))

    def _options(self, head: Head) -> Reply:
        """Answer a preflight, or say what is allowed (RFC 9110 9.3.7)."""
        fields = cors.preflight(
            head.fields.get(b"origin"),
            head.fields.get(b"access-control-request-headers"),
            self._cors.allow_origins,
            int(self._cors.max_age_s),
        )
        fields += self._resumable.options(head)
        return Reply(status=200, code="ok", fields=[("Allow", ALLOW), *fields])
