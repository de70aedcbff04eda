"""Uploads of one request: a PUT to a slot, and a form of the Go server's."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import auth, errors, transfer
from hmacfs.app import go_server, routing
from hmacfs.app.repeats import Comparison, Repeats
from hmacfs.app.repr_digest import DeclaredDigests
from hmacfs.app.resumable import UploadConnection as ResumableLink
from hmacfs.app.routing import Resource
from hmacfs.app.unmeasured import Allowance, Counted
from hmacfs.errors import Refused
from hmacfs.metrics import catalogue
from hmacfs.model import Facts, Reply, StoredFile
from hmacfs.policy import buffers

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from hmacfs.app.context import AppContext
    from hmacfs.app.resumable import Resumable
    from hmacfs.app.routing import Route
    from hmacfs.model import Grant, Head, Slot
    from hmacfs.store import Part

# What PUT answers when one of the Go server's own dialects let it in: its clients look for JSON.
JSON_DIALECTS: Final = frozenset({"v3", "gojwt"})
_UNJUDGED: Final = ""
"""The dialect of a token that is judged behind the body."""


class SignedUploadConnection(ResumableLink, Protocol):
    """The client as an upload sees it."""

    @property
    def peer(self) -> str:
        """Address and port of the client, or "unix"."""


class SignedUploads:
    """The uploads of one configuration into one store."""

    def __init__(self, context: AppContext, resumable: Resumable) -> None:
        """Take uploads; a PUT that breaks off is left to `resumable`."""
        self._most = context.settings.server.max_upload_size
        self._store = context.store
        self._row = context.row
        self._now = context.now
        self._resumable = resumable
        self._repeats = Repeats(context.store, context.now)
        self._allowance = Allowance()

    # PUT.

    def put(self, head: Head, link: SignedUploadConnection, route: Route) -> Coroutine[None, None, Reply]:
        """Return a coroutine that stores the body. Raises Refused."""
        slot = route.file()
        if b"content-range" in head.fields:
            # RFC 9110 14.4: a server that takes no partial PUT must not store one.
            raise Refused(errors.RANGE_ON_PUT)
        if head.fields.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(errors.ENCODING_ON_PUT)
        grant = None
        try:
            grant = auth.upload(head, slot, now=self._now())
        except Refused as refused:
            if not _judged_later(refused, head):
                raise
        if grant is not None and grant.size is not None and grant.size > self._most:
            raise Refused(errors.TOO_LARGE, f"at most {self._most} bytes are taken")
        return self.whole(head, link, slot, grant)

    def whole(
        self, head: Head, link: ResumableLink, slot: Slot, grant: Grant | None
    ) -> Coroutine[None, None, Reply]:
        """Return a coroutine that stores the body under `grant`; None: its token is judged behind it."""
        if grant is None or grant.size is None:
            return self._unmeasured(head, link, slot, grant)
        return self._measured(head, link, slot, grant, grant.size)

    async def _measured(self, head: Head, link: ResumableLink, slot: Slot, grant: Grant, size: int) -> Reply:
        started = self._now()
        stored = _granted(slot, grant, size, grant.content_type or _sent_type(head))
        if self._resumable.is_under_way(slot):  # one for each token: else each would hold space
            await self._resumable.make_way(head, slot)
        try:
            begun = await self._store.begin(slot, size)
        except Refused as refused:
            record = await self._repeated(refused, slot, stored)
            await self._compare(head, link, grant, record)
            return self._reply(slot, grant, size, started)
        with begun as part:
            link.authorize(grant.dialect, grant.owner)
            plan = buffers.for_upload(Facts(length=head.length))
            promise = DeclaredDigests(head.fields[b"repr-digest"]) if b"repr-digest" in head.fields else None
            sink = transfer.FileSink(
                part.file, part.length, digests=promise.running if promise else (), room=part.room
            )
            poured = link.receive_into(sink, plan)
            held = None if poured.done() else self._resumable.hold(head, link, slot, grant, part)
            try:
                if held is not None:
                    await self._resumable.outdo(held, head, slot)
                stored.digest = await sink.whole(poured)
                stored.sha256 = promise.kept() if promise else None
                await self._commit(part, slot, stored)
            except Refused as broken:
                await self._resumable.salvage(broken, head, slot, grant, part)
                raise
            finally:
                if held is not None:  # until now: a request during the commit is told of the whole file
                    held.release()
        await self._resumable.forget(slot)
        return self._reply(slot, grant, size, started)

    async def _unmeasured(self, head: Head, link: ResumableLink, slot: Slot, grant: Grant | None) -> Reply:
        """Store a chunked body; without a grant its token is judged behind it, by the length that came.

        Raises Refused: LENGTH_REQUIRED for more than is taken of strangers, and what `auth.upload` says.
        """
        started = self._now()
        try:
            begun = await self._store.begin(slot, self._most, announced=False)
        except Refused as refused:
            grant, size = await self._repeat_unmeasured(refused, head, link, slot, grant)
            return self._reply(slot, grant, size, started)
        with begun as part, Counted(link, self._allowance if grant is None else None) as counted:
            link.authorize(*((_UNJUDGED, "") if grant is None else (grant.dialect, grant.owner)))
            promise = DeclaredDigests(head.fields.get(b"repr-digest", b""))
            sink = transfer.FileSink(part.file, self._most, digests=promise.running, room=part.room)
            await counted.receive_into(sink, buffers.for_upload(Facts(length=None)))
            size = counted.size
            if grant is None:
                grant = auth.upload(_of_length(head, size), slot, now=started)
                link.authorize(grant.dialect, grant.owner)
            stored = _granted(slot, grant, size, grant.content_type or _sent_type(head))
            stored.digest, stored.sha256 = sink.digest(), promise.kept()
            await self._commit(part, slot, stored)
        await self._resumable.forget(slot)
        return self._reply(slot, grant, size, started)

    def _reply(self, slot: Slot, grant: Grant, size: int, started: float) -> Reply:
        if grant.dialect not in JSON_DIALECTS:
            return Reply(status=201, code="created", fields=[])
        stored = go_server.GoUploadReply(
            path=routing.path_of(slot),
            name=slot.name,
            size=size,
            owner=grant.owner,
            seconds=self._now() - started,
        )
        return go_server.put_reply(stored)

    # Repeats.

    async def _repeated(self, refused: Refused, slot: Slot, stored: StoredFile) -> StoredFile:
        """Return the record that the `refused` upload may repeat. Raises `refused` if there is none."""
        record = None
        if refused.refusal is errors.EXISTS:
            record = await self._repeats.find(slot, stored)
        if record is None:
            raise refused
        return record

    async def _compare(self, head: Head, link: ResumableLink, grant: Grant, record: StoredFile) -> None:
        """Return if the body is what `record` tells of. Raises Refused EXISTS if it is not."""
        link.authorize(grant.dialect, grant.owner)
        comparison = Comparison(record.size)
        await link.receive_into(comparison, buffers.for_upload(Facts(length=head.length)))
        comparison.check(record)

    async def _repeat_unmeasured(
        self, refused: Refused, head: Head, link: ResumableLink, slot: Slot, grant: Grant | None
    ) -> tuple[Grant, int]:
        """Return grant and length of a chunked body, if it repeats what stands there. Raises Refused.

        Its length can only be that of what stands there, so the token is judged by that at once.
        """
        size = await self._store.size_of(slot.key) if refused.refusal is errors.EXISTS else None
        if size is None:
            raise refused
        if grant is None:
            try:
                grant = auth.upload(_of_length(head, size), slot, now=self._now())
            except Refused:
                raise refused from None
        stored = _granted(slot, grant, size, grant.content_type or _sent_type(head))
        record = await self._repeated(refused, slot, stored)
        await self._compare(head, link, grant, record)
        return grant, size

    # Forms.

    def form(self, head: Head, link: SignedUploadConnection, route: Route) -> Coroutine[None, None, Reply]:
        """Return a coroutine that stores the file of a form. Raises Refused."""
        endpoint = route.endpoint
        if route.resource is not Resource.FORM or endpoint is None:
            raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", "GET, HEAD, PUT, OPTIONS"),))
        boundary = go_server.boundary(head)
        grant = None
        try:
            grant = auth.form(head, endpoint, now=self._now())
        except Refused as refused:
            if not _judged_later(refused, head):
                raise
        if head.length is not None and head.length > self._most + go_server.FORM_OVERHEAD_BYTES:
            raise Refused(errors.TOO_LARGE, f"at most {self._most} bytes are taken")
        return self._form(
            head, link, go_server.AuthorizedForm(endpoint=endpoint, boundary=boundary, grant=grant)
        )

    async def _form(self, head: Head, link: SignedUploadConnection, form: go_server.AuthorizedForm) -> Reply:
        started, grant = self._now(), form.grant
        most = self._most if head.length is None else min(head.length, self._most)
        announced = grant is not None and head.length is not None
        with (
            await self._store.begin(None, most, announced=announced) as part,
            Counted(link, self._allowance if grant is None else None) as counted,
        ):
            link.authorize(*((_UNJUDGED, "") if grant is None else (grant.dialect, grant.owner)))
            plan = buffers.for_upload(Facts(length=head.length))
            name, size, digest = await transfer.receive_form(counted, part, form.boundary, plan)
            if grant is None:
                grant = auth.form(_of_length(head, counted.size), form.endpoint, now=started)
                link.authorize(grant.dialect, grant.owner)
            part.slot = slot = routing.form_slot(form.endpoint, name)
            known = _granted(slot, grant, size, None)
            known.digest = digest
            await self._commit(part, slot, known)
        stored = go_server.GoUploadReply(
            path=routing.path_of(slot),
            name=slot.name,
            size=size,
            owner=grant.owner,
            seconds=self._now() - started,
        )
        return go_server.form_reply(stored, client=link.peer, now=self._now())

    async def _commit(self, part: Part, slot: Slot, stored: StoredFile) -> None:
        """Publish what has come, unless it repeats what stands there, and note how long that took."""
        ended = time.monotonic()
        try:
            await part.commit(stored)
        except Refused as refused:
            if refused.refusal is not errors.EXISTS or not await self._repeats.has(slot, stored):
                raise
        self._row.observe(catalogue.COMMIT_SECONDS, time.monotonic() - ended)


def _granted(slot: Slot, grant: Grant, size: int, content_type: str | None) -> StoredFile:
    """Return what is known of a file before its content is."""
    return StoredFile(
        key=slot.key, size=size, content_type=content_type, owner=grant.owner, expires=grant.expires
    )


def _judged_later(refused: Refused, head: Head) -> bool:
    """Whether a token is not refused for good: it signs a length that only the body's end tells."""
    return head.chunked and refused.refusal is errors.LENGTH_REQUIRED


def _of_length(head: Head, size: int) -> Head:
    """Return the request as it would be, had it told its length."""
    return dataclasses.replace(head, length=size, chunked=False)


def _sent_type(head: Head) -> str | None:
    """Return the request's Content-Type: what is served where the token signs none (v, ejabberd)."""
    sent = head.fields.get(b"content-type", b"")
    return sent.decode("latin-1") if sent and sent.isascii() else None
