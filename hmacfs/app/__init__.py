"""What the server does: one short function per method, Head in, Reply out.

`App.answer` gives a Reply at once where nothing can block (a known file, a refusal) and a coroutine
where a disk or a body must be waited for. Refusals are raised, and turned into replies by `refuse`.
"""

from __future__ import annotations

import functools
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import auth, errors, metrics, resume, transfer
from hmacfs.app import doors, files, places
from hmacfs.app.offload import Offload
from hmacfs.app.promise import Promise
from hmacfs.app.resumable import Link as ResumableLink
from hmacfs.app.resumable import Resumable, Underway
from hmacfs.errors import Refused
from hmacfs.http import cors
from hmacfs.http import reply as replies
from hmacfs.model import Facts, Reply
from hmacfs.policy import buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hmacfs.config.settings import Settings
    from hmacfs.model import File, Grant, Head, Slot
    from hmacfs.store import Known, Part, Store

ALLOW: Final = "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"
# What PUT answers when one of the Go server's own dialects let it in: its clients look for JSON.
JSON_DIALECTS: Final = frozenset({"v3", "gojwt"})


class Link(ResumableLink, Protocol):
    """The client as the app sees it."""

    @property
    def peer(self) -> str:
        """Address and port of the client, or "unix"."""

    @property
    def trusted(self) -> bool:
        """Whether the peer is one of our own proxies, which may be told to send a file itself."""


class App:
    """All answers of one configuration over one store; a reload makes a new one."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        row: metrics.Row,
        *,
        now: Callable[[], float] = time.time,
        underway: Underway | None = None,
    ) -> None:
        """Serve `settings` from `store`, counting in `row`; `now` is the wall clock.

        `underway` are the plain PUTs of this worker, also those begun under another configuration.
        """
        self.max_body_bytes = settings.server.max_upload_size
        self._endpoints = places.by_length(settings.endpoints)
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
            settings, self._endpoints, store, row, now, underway=underway or Underway()
        )

    @property
    def offloads(self) -> bool:
        """Whether a trusted proxy is told to send files itself."""
        return bool(self._offload.field)

    def answer(self, head: Head, link: Link) -> Reply | Coroutine[None, None, Reply]:
        """Give the reply to `head`, or a coroutine that will. Raises Refused."""
        method = head.method
        if method == "OPTIONS":
            return self._options(head)
        if (resumed := self._resumable.answer(head, link)) is not None:
            return self._resume(resumed, head)
        if method in ("GET", "HEAD"):
            return self._get(head, link)
        if method == "PUT":
            return self._put(head, link)
        if method == "POST":
            return self._post(head, link)
        if method == "DELETE":
            return self._delete(head, link)
        raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", ALLOW),))

    async def _resume(self, answer: Coroutine[None, None, Reply], head: Head) -> Reply:
        """Give an answer of a resumable upload, with what all of ours carry."""
        reply = await answer
        reply.fields += self._shared(head)
        return reply

    def refuse(self, refused: Refused, head: Head | None, request_id: str) -> Reply:
        """Give the reply that a refusal amounts to."""
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
        return shared + spoken if (spoken := resume.every(head)) else shared

    # GET and HEAD.

    def _get(self, head: Head, link: Link) -> Reply | Coroutine[None, None, Reply]:
        if head.path == doors.HEALTH:
            return Reply(
                status=200,
                code="ok",
                fields=[("Content-Type", "text/plain; charset=utf-8"), *self._shared(head)],
                pieces=[b"OK"],
            )
        slot = doors.download(head.path, self._endpoints)
        attached = slot is not None
        if slot is None:
            slot = places.find(head.path, self._endpoints)
        try:
            file = self._store.find(slot.key)
        except BlockingIOError:
            return self._get_cold(head, link, slot, attached=attached)
        except Refused as refused:
            return self._get_missing(head, link, slot, refused)
        return self._get_found(head, link, slot, file, attached=attached)

    async def _get_cold(self, head: Head, link: Link, slot: Slot, *, attached: bool) -> Reply:
        """Have a thread look for the file."""
        try:
            file = await self._store.fetch(slot.key)
        except Refused as refused:
            return await self._get_missing(head, link, slot, refused)
        answer = self._get_found(head, link, slot, file, attached=attached)
        return answer if isinstance(answer, Reply) else await answer

    def _get_missing(
        self, head: Head, link: Link, slot: Slot, refused: Refused
    ) -> Coroutine[None, None, Reply]:
        """Answer for an unfinished upload, if that is asked about. Raises `refused` if it is not."""
        upload = self._resumable.unfinished(head, link, slot)
        if refused.refusal is not errors.NOT_FOUND or upload is None:
            raise refused
        return self._resume(upload, head)

    def _get_found(
        self, head: Head, link: Link, slot: Slot, file: File, *, attached: bool
    ) -> Reply | Coroutine[None, None, Reply]:
        try:
            known = self._store.known(slot.key, file)
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
            known = await self._store.learn(slot.key, file)
        except BaseException:
            file.descriptor.close()
            raise
        return self._file(head, slot, file, known, attached=attached, offloaded=offloaded)

    def _file(  # noqa: PLR0913 - all that a file's answer depends on
        self, head: Head, slot: Slot, file: File, known: Known, *, attached: bool, offloaded: bool
    ) -> Reply:
        try:
            sheet = files.describe(
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
                reply = files.reply(head, sheet)
            else:
                reply = files.offloaded(sheet, self._offload.field, place)
        except BaseException:
            file.descriptor.close()
            raise
        shared = self._shared(head)
        if not offloaded and (self.any_origin or b"origin" not in head.fields):
            reply.kept = functools.partial(
                files.kept,
                sheet,
                slot.key,
                shared=shared,
                shared_unmodified=self._shared_unmodified,
            )
        if reply.status == HTTPStatus.NOT_MODIFIED:
            shared = cors.unmodified_fields(head.fields.get(b"origin"), self._cors.allow_origins)
        reply.fields += shared
        return reply

    # PUT, POST, DELETE, OPTIONS.

    def _put(self, head: Head, link: Link) -> Coroutine[None, None, Reply]:
        slot = places.find(head.path, self._endpoints)
        if b"content-range" in head.fields:
            # RFC 9110 14.4: a server that takes no partial PUT must not store one.
            raise Refused(errors.RANGE_ON_PUT)
        if head.fields.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(errors.ENCODING_ON_PUT)
        grant = auth.upload(head, slot, now=self._now())
        size = grant.size if grant.size is not None else head.length
        if size is None:
            raise Refused(errors.LENGTH_REQUIRED)
        if size > self.max_body_bytes:
            raise Refused(errors.TOO_LARGE, f"at most {self.max_body_bytes} bytes are taken")
        return self._upload(head, link, slot, grant, size)

    async def _upload(self, head: Head, link: Link, slot: Slot, grant: Grant, size: int) -> Reply:
        started = self._now()
        if self._resumable.is_under_way(slot):  # one for each token: else each would hold space
            await self._resumable.make_way(head, slot)
        with await self._store.begin(slot, size) as part:
            link.grant(grant.dialect, grant.owner)
            plan = buffers.for_upload(Facts(length=head.length))
            promise = Promise(head.fields[b"repr-digest"]) if b"repr-digest" in head.fields else None
            sink = transfer.FileSink(
                part.file, part.length, digests=promise.running if promise else (), room=part.room
            )
            poured = link.pour(sink, plan)
            held = None if poured.done() else self._resumable.hold(head, link, slot, grant, part)
            try:
                if held is not None:
                    await self._resumable.outdo(held, head, slot)
                digest = await sink.whole(poured)
                sha256 = promise.kept() if promise else None
                content_type = grant.content_type or _sent_type(head)
                await self._commit(part, grant, digest, content_type=content_type, sha256=sha256)
            except Refused as broken:
                await self._resumable.salvage(broken, head, slot, grant, part)
                raise
            finally:
                if held is not None:  # until now: whoever asked during the commit is told of the whole file
                    held.release()
        await self._resumable.forget(slot)
        if grant.dialect in JSON_DIALECTS:
            stored = doors.Stored(
                key=slot.key, name=slot.name, size=size, owner=grant.owner, seconds=self._now() - started
            )
            reply = doors.put_reply(stored)
        else:
            reply = Reply(status=201, code="created", fields=[])
        reply.fields += self._shared(head)
        return reply

    async def _commit(  # noqa: PLR0913 - what is known of a file
        self,
        part: Part,
        grant: Grant,
        digest: bytes,
        *,
        content_type: str | None = None,
        size: int | None = None,
        sha256: bytes | None = None,
    ) -> None:
        """Publish what has been received, and note how long that took."""
        ended = time.monotonic()
        await part.commit(
            size=size,
            content_type=content_type,
            owner=grant.owner,
            expires=grant.expires,
            digest=digest,
            sha256=sha256,
        )
        self._row.observe(metrics.COMMIT_SECONDS, time.monotonic() - ended)

    def _post(self, head: Head, link: Link) -> Coroutine[None, None, Reply]:
        endpoint = doors.form_endpoint(head.path, self._endpoints)
        if endpoint is None:
            raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", "GET, HEAD, PUT, OPTIONS"),))
        boundary = doors.boundary(head)
        grant = auth.form(head, endpoint, now=self._now())
        if head.length is not None and head.length > self.max_body_bytes + doors.FORM_OVERHEAD_BYTES:
            raise Refused(errors.TOO_LARGE, f"at most {self.max_body_bytes} bytes are taken")
        return self._form(head, link, doors.Form(endpoint=endpoint, boundary=boundary, grant=grant))

    async def _form(self, head: Head, link: Link, form: doors.Form) -> Reply:
        started = self._now()
        most = self.max_body_bytes if head.length is None else min(head.length, self.max_body_bytes)
        with await self._store.begin(None, most, announced=head.length is not None) as part:
            link.grant(form.grant.dialect, form.grant.owner)
            plan = buffers.for_upload(Facts(length=head.length))
            name, size, digest = await transfer.receive_form(link, part, form.boundary, plan)
            slot = places.form_slot(form.endpoint, name)
            part.slot = slot
            await self._commit(part, form.grant, digest, size=size)
        seconds = self._now() - started
        stored = doors.Stored(
            key=slot.key, name=slot.name, size=size, owner=form.grant.owner, seconds=seconds
        )
        reply = doors.form_reply(stored, client=link.peer, now=self._now())
        reply.fields += self._shared(head)
        return reply

    def _delete(self, head: Head, link: Link) -> Coroutine[None, None, Reply]:
        slot = places.find(head.path, self._endpoints)
        auth.delete(head, slot, now=self._now())
        return self._remove(head, link, slot)

    async def _remove(self, head: Head, link: Link, slot: Slot) -> Reply:
        link.grant("token")
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


def _sent_type(head: Head) -> str | None:
    """Give the request's Content-Type: what is served where the token signs none (v, ejabberd)."""
    sent = head.fields.get(b"content-type", b"")
    return sent.decode("latin-1") if sent and sent.isascii() else None
