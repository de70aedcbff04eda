"""Every signed PUT URL is a resumable upload too: HEAD, PATCH, DELETE and PUT with Content-Range know it.

The upload belongs to the token that began it. While it lasts that token needs no time left: an upload over
a bad network may take longer than the token lives. A plain PUT still under way, perhaps on a connection that
is dead already, becomes such an upload as soon as its owner asks for one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from typing import TYPE_CHECKING, Final, TypeAlias

from hmacfs import auth, errors, resume
from hmacfs.app.resumable.engine import UploadExchange, UploadTarget, whole_digests
from hmacfs.errors import Refused
from hmacfs.http import digests
from hmacfs.http import target as targets
from hmacfs.resume import Action, UploadProtocol, UploadRequest, UploadState, metadata
from hmacfs.store.sessions import UploadInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hmacfs.app.resumable.active import ActiveUpload, ActiveUploads
    from hmacfs.app.resumable.engine import Engine, UploadConnection
    from hmacfs.model import Grant, Head, Reply, Slot
    from hmacfs.store import Part

SALVAGED: Final = frozenset(
    {errors.BODY_INCOMPLETE, errors.BODY_TOO_SLOW, errors.DRAINING, errors.UPLOAD_TAKEN_OVER}
)
"""What breaks a plain PUT off in a way that leaves its bytes worth keeping."""
_PARTIAL_TYPES: Final = frozenset({b"application/partial-upload", b"application/offset+octet-stream"})
_ID_CHARACTERS: Final = 32


Whole: TypeAlias = "Callable[[Head, UploadConnection, Slot, Grant | None], Coroutine[None, None, Reply]]"


class Slots:
    """Resumable uploads to signed PUT URLs."""

    def __init__(self, engine: Engine, underway: ActiveUploads, whole: Whole) -> None:
        """Let `engine` move the bytes; plain PUTs are among those `underway`.

        `whole` stores a file that comes in one request and cannot be gone on with.
        """
        self._whole = whole
        self._engine = engine
        self._underway = underway

    async def answer(self, protocol: UploadProtocol, head: Head, link: UploadConnection, slot: Slot) -> Reply:
        """Answer a request in one of the languages. Raises Refused."""
        ask = resume.LANGUAGES[protocol].read(head)
        head = await self._engine.settle(ask, head, link)
        target = self._target(head, slot)
        exchange = UploadExchange(ask=ask, head=head, link=link, target=target)
        if ask.act is Action.CREATE or (
            ask.act is Action.APPEND and protocol is UploadProtocol.RANGE and ask.offset == 0
        ):
            return await self._create(exchange, slot)
        await self._take_over(head, slot, target)
        if ask.act is Action.STATUS:
            return await self._tell(ask, slot, target)
        if ask.act is Action.CANCEL:
            return await self._cancel(ask, link, slot, target)
        try:
            return await self._engine.append(exchange)
        except Refused as refused:
            if refused.refusal is not errors.NOT_FOUND or ask.offset:
                raise
        # Nothing was begun, and this is the beginning: the token then says whether it may be.
        return await self._create(exchange, slot)

    def hold(self, head: Head, link: UploadConnection, slot: Slot, grant: Grant, part: Part) -> ActiveUpload:
        """Let the owner of a plain PUT that is coming take it over, until it is released."""
        terms = functools.partial(self._terms_of_put, head, slot, grant, part.length)
        return self._underway.hold(slot.key, part.length, link, terms)

    def is_under_way(self, slot: Slot) -> bool:
        """Whether any plain PUT to `slot` may be under way, at whichever worker; quick."""
        return self._underway.has(slot.key)

    async def make_way(self, head: Head, slot: Slot) -> None:
        """End those plain PUTs to `slot` that the token of `head` may end. Raises Refused BUSY."""
        await self._underway.take_over(slot.key, functools.partial(self._owns, head, slot))

    async def outdo(self, held: ActiveUpload, head: Head, slot: Slot) -> None:
        """End those that are older than `held`, or `held` itself if one is newer. Raises Refused BUSY."""
        await self._underway.outdo(held, functools.partial(self._owns, head, slot))

    async def salvage(self, broken: Refused, head: Head, slot: Slot, grant: Grant, part: Part) -> None:
        """Keep what has come of a plain PUT that broke off. Raises Refused."""
        terms = self._terms_of_put(head, slot, grant, part.length)
        # Create the session even without a byte: the request that took over waits for it.
        empty = broken.refusal is errors.UPLOAD_TAKEN_OVER
        await self._engine.sessions.salvage(part, name_of(slot), terms, empty=empty)

    async def forget(self, slot: Slot) -> None:
        """Drop what is left of a broken upload after another has stored the file."""
        if await self._engine.sessions.knows(name_of(slot)):
            with contextlib.suppress(Refused):  # the file is stored, whatever becomes of the rest
                await self._engine.sessions.clear(name_of(slot))

    async def _take_over(self, head: Head, slot: Slot, target: UploadTarget) -> None:
        """End the plain PUTs under way to where there is no file yet, if the request shows that it may.

        What has come is an upload then, unless it became a file at the last moment. Raises Refused BUSY.
        """
        if not self._underway.has(slot.key) or await self._engine.store.size_of(slot.key) is not None:
            return
        if auth.fingerprint(head):
            await self._underway.take_over(slot.key, target.allowed)

    async def _tell(self, ask: UploadRequest, slot: Slot, target: UploadTarget) -> Reply:
        if (size := await self._engine.store.size_of(slot.key)) is None:
            return await self._engine.status(ask, target)
        state = UploadState(offset=size, length=size, complete=True, expires=0)
        reply = resume.LANGUAGES[ask.protocol].told(ask, state, self._engine.limits())
        reply.fields += await self._engine.digest(ask, slot)
        return reply

    async def _create(self, exchange: UploadExchange, slot: Slot) -> Reply:
        """Begin an upload, from its beginning even if one was under way."""
        engine, grant = self._engine, None
        ask, head = exchange.ask, exchange.head
        try:
            grant = auth.upload(_as_put(head, ask), slot, now=engine.now())
        except Refused as refused:
            if not (refused.refusal is errors.LENGTH_REQUIRED and head.chunked and ask.ends):
                raise
        length = ask.length if grant is None or ask.length is not None else grant.size
        if grant is None or (length is None and head.chunked and ask.ends):
            # Nothing tells how long the file is but its end, so there is nothing to go on with before that.
            return await self._put(exchange, slot, grant)
        if length is None:
            raise Refused(errors.LENGTH_REQUIRED)
        all_comes = ask.ends or length in {head.body_length, ask.body}
        if all_comes and await engine.store.size_of(slot.key) is not None:
            return await self._put(exchange, slot, grant)  # perhaps the same once more
        if length > engine.most:
            raise resume.too_large(ask, engine.limits())
        terms = self._terms(head, slot, grant, ask, length)
        return await engine.create(exchange, terms, length)

    async def _put(self, exchange: UploadExchange, slot: Slot, grant: Grant | None) -> Reply:
        """Store a whole file as a plain PUT does, and answer in the language of the request."""
        reply = await self._whole(exchange.head, exchange.link, slot, grant)
        size = await self._engine.store.size_of(slot.key) or 0
        reply.fields += resume.LANGUAGES[exchange.ask.protocol].finished_fields(
            exchange.ask, UploadState(offset=size, length=size, complete=True, expires=0)
        )
        return reply

    async def _cancel(
        self, ask: UploadRequest, link: UploadConnection, slot: Slot, target: UploadTarget
    ) -> Reply:
        """Drop an upload. Raises Refused EXISTS once its file stands, which no PUT URL takes back."""
        engine = self._engine
        stands = await engine.store.size_of(slot.key) is not None
        if stands or (await engine.sessions.drop(target.name, target.allowed)).complete:
            raise Refused(errors.EXISTS, "the upload is complete, and its file stays")
        link.authorize(ask.protocol)
        return resume.LANGUAGES[ask.protocol].cancelled(ask)

    def _terms_of_put(self, head: Head, slot: Slot, grant: Grant, length: int) -> UploadInfo:
        told = digests.read(head.fields.get(b"repr-digest"), whole=True)
        return self._terms(
            head,
            slot,
            grant,
            UploadRequest(protocol=UploadProtocol.RANGE, act=Action.CREATE, checksums=told),
            length,
        )

    def _terms(self, head: Head, slot: Slot, grant: Grant, ask: UploadRequest, length: int) -> UploadInfo:
        return UploadInfo(
            key=slot.key,
            owner=auth.fingerprint(head),
            uploader=grant.owner,
            holder=grant.owner,
            content_type=grant.content_type or sent_type(head, ask),
            expires=grant.expires,
            metadata=ask.metadata,
            most=length,
            digests=whole_digests(ask),
            began=self._engine.now(),
        )

    def _target(self, head: Head, slot: Slot) -> UploadTarget:
        return UploadTarget(
            name=name_of(slot),
            allowed=lambda terms, length: self._owns(head, slot, terms, length),
            location=targets.itself(head.target),
            slot=lambda _terms: slot,
        )

    def _owns(self, head: Head, slot: Slot, terms: UploadInfo, length: int | None) -> bool:
        """Whether the request shows the token that began the upload, or another one for the same file."""
        if terms.owner == auth.fingerprint(head):
            return True
        typed = {b"content-type": (terms.content_type or "").encode()}
        asked = dataclasses.replace(
            head, method="PUT", length=length, chunked=False, fields={**head.fields, **typed}
        )
        try:
            auth.upload(asked, slot, now=self._engine.now())
        except Refused:
            return False
        return True


def name_of(slot: Slot) -> str:
    """Return the name that an upload to a slot has in the store: there is one for each."""
    return hashlib.sha256(slot.key.encode()).hexdigest()[:_ID_CHARACTERS]


def sent_type(head: Head, ask: UploadRequest) -> str | None:
    """Return the file's type as the client tells it: in its metadata, or as the type of its content."""
    if ask.metadata is not None:
        told = metadata.read(ask.metadata)
        sent = told.get("filetype") or told.get("type") or b""
    else:
        sent = head.fields.get(b"content-type", b"")
    return sent.decode("ascii") if sent.isascii() and sent and sent not in _PARTIAL_TYPES else None


def _as_put(head: Head, ask: UploadRequest) -> Head:
    """Return the plain PUT of the whole file that the token was made for.

    One without a length may do where the token itself tells it.
    """
    fields = {name: value for name, value in head.fields.items() if name != b"content-type"}
    if (content_type := sent_type(head, ask)) is not None:
        fields[b"content-type"] = content_type.encode()
    unmeasured = ask.length is None
    return dataclasses.replace(head, method="PUT", length=ask.length, chunked=unmeasured, fields=fields)
