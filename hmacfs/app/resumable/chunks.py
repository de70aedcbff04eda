"""The Go server's /chunked-upload and /upload-status, made safe: a session is bound to whoever began it.

Who may begin one: the bearer of a JWT of "gojwt", as there, whose file then bears its bare name; or whoever
has a signed PUT URL, by the same query, with the path behind the endpoint's prefix as X-Filename.
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING, Final

from hmacfs import auth, errors, resume
from hmacfs.app import routing
from hmacfs.app.resumable.engine import UploadTarget
from hmacfs.errors import Refused
from hmacfs.http import target as targets
from hmacfs.model import Facts
from hmacfs.policy import buffers
from hmacfs.policy.chunks import ChunkedUpload
from hmacfs.resume import Action, chunked
from hmacfs.store.sessions import UploadInfo
from hmacfs.transfer import SharedSink

if TYPE_CHECKING:
    from hmacfs.app.resumable.engine import Engine, UploadConnection
    from hmacfs.model import Endpoint, Grant, Head, Reply, Slot, Span
    from hmacfs.resume import UploadLimits, UploadRequest, UploadState
    from hmacfs.store.sessions import Allowed, Found

GO_JWT: Final = "gojwt"
_ID_BYTES: Final = 16


class GoChunkedUploads:
    """The Go server's chunked uploads."""

    def __init__(self, engine: Engine, endpoints: tuple[Endpoint, ...], *, concurrent: bool) -> None:
        """Store below `endpoints`; `concurrent`: several chunks of one upload at the same time."""
        self._engine = engine
        self._endpoints = endpoints
        self._concurrent = concurrent

    async def answer(self, head: Head, link: UploadConnection) -> Reply:
        """Answer a request to one of the two doors. Raises Refused."""
        ask = chunked.read(head)
        if ask.act is Action.CREATE:
            return await self._create(ask, head, link)
        allowed = _whoever_shows(auth.fingerprint(head))
        if ask.act is Action.STATUS:
            return await self._tell(ask, allowed)
        return await self._chunk(ask, head, link, allowed)

    async def _create(self, ask: UploadRequest, head: Head, link: UploadConnection) -> Reply:
        engine = self._engine
        length = ask.length or 0
        if length > engine.most:
            raise resume.too_large(ask, engine.limits())
        slot, grant = self._granted(ask, head, length)
        terms = UploadInfo(
            key=slot.key,
            owner=auth.fingerprint(head),
            uploader=grant.owner,
            holder=grant.owner or auth.fingerprint(head),
            content_type=grant.content_type,
            expires=grant.expires,
            most=length,
            chunk=link.advise(ChunkedUpload(size=length, left=length, keeps_partial=False)) or 1,
            began=engine.now(),
            name=routing.cut_name(slot),
        )
        name = secrets.token_hex(_ID_BYTES)
        await engine.sessions.begin(name, terms, length)
        link.authorize(ask.protocol)
        found = await engine.sessions.status(name, _whoever_shows(terms.owner))
        if not length:
            found = await self._finish(ask, name, found, _whoever_shows(terms.owner))
        return chunked.created(ask, engine.state(found), name, self._limits(found))

    async def _chunk(self, ask: UploadRequest, head: Head, link: UploadConnection, allowed: Allowed) -> Reply:
        sessions = self._engine.sessions
        found = await sessions.status(ask.session, allowed)
        if not found.terms.chunk:
            raise Refused(errors.NOT_FOUND)
        span = chunked.place(ask, head, found.length or 0, found.terms.chunk)
        writing = await sessions.take_chunk(ask.session, allowed, ask.chunk, alone=not self._concurrent)
        if writing is None:
            await self._finish(ask, ask.session, found, allowed)
            return chunked.repeated(ask)
        with writing:
            await sessions.declare_length(writing, found.length, span.length)
            link.authorize(ask.protocol)
            sink = SharedSink(writing, span.stop, start=span.start)
            try:
                await _fill(sink, span, head, link)
            except Refused:
                await sessions.release_reservation(writing)
                raise
            found = await sessions.keep_chunk(writing)
            self._engine.count(span.length)
        found = await self._finish(ask, ask.session, found, allowed)
        return chunked.appended(ask, self._state(found), self._limits(found))

    async def _finish(self, ask: UploadRequest, name: str, found: Found, allowed: Allowed) -> Found:
        """Publish the file if all chunks are there; give what then stands."""
        length, terms = found.length or 0, found.terms
        if found.complete or len(found.chunks) < chunked.count(length, terms.chunk):
            return found
        engine = self._engine
        with await engine.sessions.take_over(name, allowed) as writing:
            if writing.found.complete:  # by another, who brought the last but one
                return writing.found
            target = UploadTarget(
                name=name,
                allowed=allowed,
                location=name,
                slot=lambda terms: routing.stored(terms.key, self._endpoints),
            )
            try:
                await engine.finish(ask, writing, target, None)
            except Refused as refused:
                if refused.refusal is not errors.UPLOAD_TAKEN_OVER:
                    raise
                return found  # a newer request finishes it
            return writing.found._replace(complete=True)

    def _granted(self, ask: UploadRequest, head: Head, length: int) -> tuple[Slot, Grant]:
        """Return where the file goes and what its token grants. Raises Refused: what `auth.upload` says."""
        signed = auth.slot_dialects(head)
        for endpoint in self._endpoints if signed else ():
            if signed.isdisjoint(endpoint.protocols):
                continue
            path = f"{endpoint.prefix}{ask.name}"
            targets.check_path(path)
            slot = routing.find(path, (endpoint,))
            asked = dataclasses.replace(head, method="PUT", length=length, chunked=False)
            return slot, auth.upload(asked, slot, now=self._engine.now())
        for endpoint in self._endpoints:
            if GO_JWT in endpoint.protocols:
                grant = auth.form(dataclasses.replace(head, method="POST"), endpoint, now=self._engine.now())
                return routing.form_slot(endpoint, ask.name), grant
        raise Refused(errors.TOKEN_MISSING)

    async def _tell(self, ask: UploadRequest, allowed: Allowed) -> Reply:
        found = await self._engine.sessions.status(ask.session, allowed)
        if not found.terms.chunk:
            raise Refused(errors.NOT_FOUND)
        # The process of the last chunk may have died, or the power been cut, before that was noted.
        found = await self._finish(ask, ask.session, found, allowed)
        return chunked.told(ask, self._state(found), self._limits(found))

    def _state(self, found: Found) -> UploadState:
        """Return what is stored: of an upload in any order, all chunks that are there."""
        chunk, length = found.terms.chunk, found.length or 0
        count = chunked.count(length, chunk)
        stored = len(found.chunks) * chunk
        if count - 1 in found.chunks:  # which is shorter than the others
            stored -= count * chunk - length
        return self._engine.state(found._replace(offset=length if found.complete else stored))

    def _limits(self, found: Found) -> UploadLimits:
        return dataclasses.replace(self._engine.limits(found.terms.most), chunk=found.terms.chunk)


async def _fill(sink: SharedSink, span: Span, head: Head, link: UploadConnection) -> None:
    """Receive all of a chunk. Raises Refused CHUNK_MISPLACED if it is of another length."""
    await link.receive_into(sink, buffers.for_upload(Facts(length=head.length)))
    if sink.moved != span.stop:
        raise Refused(errors.CHUNK_MISPLACED, f"the chunk has {span.length} bytes")


def _whoever_shows(owner: str) -> Allowed:
    return lambda terms, _length: bool(owner) and terms.owner == owner
