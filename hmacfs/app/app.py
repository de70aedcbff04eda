"""All answers: which part of the app gives one, and what each carries, whatever gave it.

`App.answer` gives a Reply at once where nothing can block (a known file, a refusal) and a coroutine
where a disk or a body must be waited for. Refusals are raised, and turned into replies by `refuse`. A reply
has the fields that are its own; those that all answers carry `decorate` adds, which the connection calls for
each before it makes bytes of it.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import auth, errors, metrics, resume
from hmacfs.app.context import AppContext
from hmacfs.app.downloads import DownloadConnection, Downloads
from hmacfs.app.resumable import ActiveUploads, Resumable
from hmacfs.app.routing import Router
from hmacfs.app.uploads import SignedUploadConnection, SignedUploads
from hmacfs.errors import Refused
from hmacfs.http import cors
from hmacfs.http import reply as replies
from hmacfs.metrics import catalogue
from hmacfs.model import METHODS, READ_METHODS, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hmacfs.app.resumable import UploadConnection
    from hmacfs.app.routing import Route
    from hmacfs.config.settings import Settings
    from hmacfs.model import Grant, Head, Slot
    from hmacfs.store import Store

ALLOW: Final = ", ".join(METHODS)


class ClientConnection(SignedUploadConnection, DownloadConnection, Protocol):
    """The client as the app sees it."""


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
        router = Router(settings.endpoints, chunked_uploads=settings.uploads.chunked_uploads_enabled)
        context = AppContext(settings=settings, router=router, store=store, row=row, now=now)
        self._context = context
        self.max_body_bytes = settings.server.max_upload_size
        """Bytes of a file at most."""
        self._router = router
        self._cors = settings.cors
        self._resumable = Resumable(context, underway or ActiveUploads(), self._store_whole)
        self._uploads = SignedUploads(context, self._resumable)
        self._downloads = Downloads(context, self._resumable)
        self.any_origin = self._downloads.any_origin
        """Whether answers to downloads are the same whatever Origin asks."""
        self._shared = self._downloads.shared
        self.ranges = self._downloads.ranges
        """Whether parts of files may be asked for."""
        self.offloads = self._downloads.offloads
        """Whether a trusted proxy is told to send files itself."""

    def answer(self, head: Head, link: ClientConnection) -> Reply | Coroutine[None, None, Reply]:
        """Return the reply to `head`, or a coroutine that will. Raises Refused."""
        method, route = head.method, self._router.resolve(head)
        if method == "OPTIONS":
            return Reply(status=200, code="ok", fields=[("Allow", ALLOW), *self._resumable.options(route)])
        if (resumed := self._resumable.answer(head, link, route)) is not None:
            return resumed
        if method in READ_METHODS:
            return self._downloads.get(head, link, route)
        if method == "PUT":
            return self._uploads.put(head, link, route)
        if method == "POST":
            return self._uploads.form(head, link, route)
        if method == "DELETE":
            return self._delete(head, link, route)
        raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", ALLOW),))

    def refuse(self, refused: Refused, head: Head | None, request_id: str) -> Reply:
        """Return the reply that a refusal amounts to."""
        reply = replies.refusal(refused, head, request_id)
        if head is not None and refused.refusal.status == errors.TOO_LARGE.status:
            reply.fields += self._resumable.too_large(head, refused)
        reply.detail = refused.detail
        return reply

    def decorate(self, reply: Reply, head: Head | None) -> None:
        """Add what every answer carries, and is nowhere else added: once, before bytes are made of it.

        Without the cross-origin fields a browser takes any answer for a broken network. `head` is None if
        the request was too broken to have one.
        """
        if head is None:
            reply.fields += self._shared
            return
        origin, allowed = head.fields.get(b"origin"), self._cors.allow_origins
        if reply.status == HTTPStatus.NOT_MODIFIED:
            reply.fields += cors.unmodified_fields(origin, allowed)
        elif head.method == "OPTIONS" and reply.status == HTTPStatus.OK:
            # A preflight; what is not one says the same, and what is allowed (RFC 9110 9.3.7).
            asked = head.fields.get(b"access-control-request-headers")
            reply.fields += cors.preflight(origin, asked, allowed, int(self._cors.max_age_s))
        else:
            reply.fields += self._shared if self.any_origin else cors.fields(origin, allowed)
            reply.fields += resume.common_fields(head)

    def _store_whole(
        self, head: Head, link: UploadConnection, slot: Slot, grant: Grant | None
    ) -> Coroutine[None, None, Reply]:
        """Store a file that comes in one request."""
        return self._uploads.whole(head, link, slot, grant)

    def _delete(self, head: Head, link: ClientConnection, route: Route) -> Coroutine[None, None, Reply]:
        slot = route.file()
        auth.delete(head, slot, now=self._context.now())
        return self._remove(link, slot)

    async def _remove(self, link: ClientConnection, slot: Slot) -> Reply:
        link.authorize("token")
        await self._context.store.remove(slot)
        self._context.row.add(catalogue.DELETED_FILES)
        return Reply(status=204, code="no_content", fields=[])
