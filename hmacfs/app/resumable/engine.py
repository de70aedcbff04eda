"""What all resumable uploads have in common: create, append, tell, finish."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from blake3 import blake3

from hmacfs import errors, resume, transfer
from hmacfs.errors import Refused
from hmacfs.http import digests
from hmacfs.metrics import catalogue
from hmacfs.model import Facts
from hmacfs.policy import buffers, chunks, profiles
from hmacfs.resume import Action, UploadLimits, UploadRequest, UploadState, tus
from hmacfs.store.sessions import Found, IncomingRange

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.app.context import AppContext
    from hmacfs.model import Head, Reply, Slot
    from hmacfs.store.sessions import Allowed, UploadInfo, WriteLease


class UploadConnection(transfer.BodySource, Protocol):
    """The client as a resumable upload sees it."""

    @property
    def trailer(self) -> bytes | None:
        """Upload-Checksum, if it followed the body."""

    def authorize(self, dialect: str, owner: str = "") -> None:
        """Note that the request is authorised and has its place: 100 Continue may go out.

        `owner` is whom the token names as uploader.
        """

    def advise(self, upload: chunks.ChunkedUpload) -> int:
        """Return how many bytes the client should send of `upload` in its next request."""

    def send_interim(self, interim: bytes) -> None:
        """Send an interim answer."""

    def abort_body(self, refused: Refused) -> None:
        """End the body that is being poured, if it is: what waits for it is `refused`."""


@dataclass(slots=True, kw_only=True)
class UploadTarget:
    """One upload as a request names it."""

    name: str
    """Its name in the store."""
    allowed: Allowed
    """Whether the request may have it."""
    location: str
    """Its URL, as the client is told."""
    slot: Callable[[UploadInfo], Slot]
    """Gives where the file goes in the end."""
    url: Callable[[Slot], str] | None = None
    """Gives the URL of the file in the end, where the client does not know that already."""


@dataclass(slots=True, kw_only=True)
class UploadExchange:
    """One request of a resumable upload that is being answered."""

    ask: UploadRequest
    head: Head
    link: UploadConnection
    target: UploadTarget


def whole_digests(ask: UploadRequest) -> tuple[tuple[str, str], ...]:
    """Return what the whole file must digest to, as `UploadInfo.digests` has it."""
    return tuple((sum_.algorithm, sum_.value.hex()) for sum_ in ask.checksums if sum_.whole)


class Engine:
    """One configuration's resumable uploads over one store."""

    def __init__(self, context: AppContext) -> None:
        """Keep unfinished uploads in the store of `context`."""
        settings = context.settings
        self.store = context.store
        self.sessions = context.store.sessions
        self.now = context.now
        self.most = settings.server.max_upload_size
        """Bytes of a file at most."""
        self._row = context.row
        performance = settings.performance
        rules = profiles.chunk_rules(
            intelligent=performance.intelligent_chunking,
            algorithm=performance.chunk_adaptation_algorithm,
            least=performance.min_chunk_size,
            most=performance.max_chunk_size,
        )
        # In the languages that are told of this, nothing that arrived is lost.
        largest = chunks.ChunkedUpload(size=self.most, left=self.most, keeps_partial=True)
        self._advised = profiles.advise(profiles.UNKNOWN, largest, rules)

    def limits(self, most: int | None = None) -> UploadLimits:
        """Return what a client is told about sizes."""
        return UploadLimits(
            most=self.most if most is None else min(most, self.most),
            chunk=self._advised,
            lives_s=self.sessions.lives_s,
        )

    async def settle(self, ask: UploadRequest, head: Head, link: UploadConnection) -> Head:
        """Return `head` with the length of its body, if that is told elsewhere or must be none.

        A body that must be empty is received. Raises what `ask` says if it is not.
        """
        if ask.empty is not None:
            link.authorize(ask.protocol)
            await link.receive_into(transfer.Nothing(ask.empty), buffers.for_upload(Facts(length=0)))
            return dataclasses.replace(head, chunked=False, length=0)
        return head if ask.body is None else dataclasses.replace(head, length=ask.body)

    def state(self, found: Found, *, complete: bool | None = None) -> UploadState:
        """Return what is stored as the languages want to know it."""
        terms = found.terms
        return UploadState(
            offset=found.offset,
            length=found.length,
            complete=found.complete if complete is None else complete,
            expires=found.used_s + self.sessions.lives_s,
            metadata=terms.metadata,
            partial=not terms.key,
            parts=terms.parts,
            name=terms.name or terms.key.rpartition("/")[2],
            chunks=len(found.chunks),
            began=terms.began,
            touched=found.used_s,
        )

    async def status(self, ask: UploadRequest, target: UploadTarget) -> Reply:
        """Answer how far an upload has come. Raises Refused NOT_FOUND, UPLOAD_EXPIRED, UPLOAD_TAKEN_OVER."""
        found = await self.sessions.durable_status(target.name, target.allowed)
        if found.offset == found.length and found.terms.key and not found.complete:
            # All bytes are here but no file: the process of the last byte died, or was fenced off just now.
            # A client that hears that all has come asks no more.
            with await self.sessions.take_over(target.name, target.allowed) as writing:
                await self.finish(ask, writing, target, None)
            found = found._replace(complete=True)
        state = self.state(found)
        reply = resume.LANGUAGES[ask.protocol].told(ask, state, self.limits(found.terms.most))
        if found.complete:
            reply.fields += await self.digest(ask, target.slot(found.terms))
        return self.concluded(reply, state, target, found.terms)

    async def create(self, exchange: UploadExchange, terms: UploadInfo, length: int | None) -> Reply:
        """Begin an upload, in place of any of its name, and take what the request brings of it.

        Raises Refused as `append`, EXISTS, TOO_MANY_UPLOADS, BUSY.
        """
        ask, head, target = exchange.ask, exchange.head, exchange.target
        self._check(ask, head, Found(terms, 0, length, complete=False, used_s=self.now()))
        if ask.act is Action.CREATE and not head.has_body and ask.ends is None and length != 0:
            found = await self.sessions.renew(target.name, terms, length)
            exchange.link.authorize(ask.protocol)
            return resume.LANGUAGES[ask.protocol].created(
                ask, self.state(found), target.location, self.limits(terms.most)
            )
        with await self.sessions.replace(target.name, terms, length, head.length or 0) as writing:
            return await self._take(exchange, writing, created=ask.act is Action.CREATE)

    async def append(self, exchange: UploadExchange) -> Reply:
        """Take the body of a request and finish the file if it is whole with it.

        Raises Refused: what the languages say about offsets, lengths and digests, UPLOAD_TAKEN_OVER, and
        whatever breaks a body; what has come of that stays.
        """
        ask, head, target = exchange.ask, exchange.head, exchange.target
        with await self.sessions.resume(
            target.name,
            target.allowed,
            lambda found: self._check(ask, head, found),
            IncomingRange(ask.offset, ask.length, head.length or 0),
        ) as writing:
            return await self._take(exchange, writing)

    async def _take(self, exchange: UploadExchange, writing: WriteLease, *, created: bool = False) -> Reply:
        ask, link, target = exchange.ask, exchange.link, exchange.target
        link.authorize(ask.protocol)
        limits = self.limits(writing.found.terms.most)
        if created and (interim := resume.interim(ask, target.location, None, limits)) is not None:
            link.send_interim(interim)
        try:
            digest = await self._receive(ask, exchange.head, link, writing)
        except Refused as refused:
            await self.sessions.release_reservation(writing)
            if refused.refusal is errors.SIZE_MISMATCH and writing.found.length is not None:
                raise resume.length_wrong(ask, self.state(writing.found)) from None
            raise
        found = writing.found
        # The draft wants Upload-Complete: ?1 for that, which tus-js-client 4 forgets as it resumes.
        whole = ask.ends or found.offset == found.length
        if not (whole and found.terms.key):
            # A newer request may have added to the file by now, which is not this one's to tell of.
            kept = await self.sessions.keep(writing)
            state = self.state(kept._replace(offset=min(kept.offset, found.offset)))
        else:
            await self.finish(ask, writing, target, digest)
            state = self.state(writing.found, complete=True)
        language = resume.LANGUAGES[ask.protocol]
        if created:
            reply = language.created(ask, state, target.location, limits)
        else:
            reply = language.appended(ask, state, limits)
        return self.concluded(reply, state, target, writing.found.terms)

    async def digest(self, ask: UploadRequest, slot: Slot) -> list[tuple[str, str]]:
        """Return Repr-Digest of a file that stands, to whom wants it. Raises Refused BUSY."""
        sha256 = await self.store.sha256_of(slot.key) if ask.wants_sha256 else None
        return [] if sha256 is None else [("Repr-Digest", digests.write(sha256))]

    @staticmethod
    def concluded(reply: Reply, state: UploadState, target: UploadTarget, terms: UploadInfo) -> Reply:
        """Add to the answer about a complete upload where the file is."""
        if state.complete and target.url is not None:
            reply.fields.append(("Content-Location", target.url(target.slot(terms))))
        return reply

    async def finish(
        self, ask: UploadRequest, writing: WriteLease, target: UploadTarget, digest: bytes | None
    ) -> None:
        """Publish a whole file, unless that is done.

        Raises Refused: UPLOAD_LENGTH, DIGEST_MISMATCH, EXISTS, UPLOAD_TAKEN_OVER, BUSY.
        """
        found = writing.found
        if found.complete:
            return
        if found.length is None:
            await self.sessions.declare_length(writing, found.offset, 0)
        elif found.offset != found.length:
            raise resume.length_wrong(ask, self.state(found))
        told = found.terms.digests + whole_digests(ask)
        for algorithm, digits in dict.fromkeys(told):
            if not hmac.compare_digest(await self.sessions.digest(writing, algorithm), digits):
                # What has come is not the file, and nothing that may still come can make it that.
                await self.sessions.discard([writing])
                raise Refused(errors.DIGEST_MISMATCH)
        sha256 = dict(told).get("sha256")
        if sha256 is None and ask.wants_sha256:
            # The request of the last byte may have told it, and was gone before it was compared.
            sha256 = await self.sessions.digest(writing, "sha256")
        began = time.monotonic()
        await self.sessions.publish(
            writing, target.slot(found.terms), digest, None if sha256 is None else bytes.fromhex(sha256)
        )
        self._row.observe(catalogue.COMMIT_SECONDS, time.monotonic() - began)
        self._row.add(catalogue.UPLOADS[ask.protocol])

    def _check(self, ask: UploadRequest, head: Head, found: Found) -> None:
        """Refuse a body that does not belong where the upload goes on."""
        state = self.state(found)
        if found.terms.parts:
            raise Refused(errors.UPLOAD_FINAL)
        if ask.offset != found.offset:
            raise resume.offset_wrong(ask, state)
        if None not in {ask.length, found.length} and ask.length != found.length:
            raise resume.length_wrong(ask, state)
        length = found.length if ask.length is None else ask.length
        end = ask.offset + (head.length or 0)
        if length is not None and end > length:
            raise resume.length_wrong(ask, state)
        if max(end, length or 0) > found.terms.most:
            raise resume.too_large(ask, self.limits(found.terms.most))

    async def _receive(
        self, ask: UploadRequest, head: Head, link: UploadConnection, writing: WriteLease
    ) -> bytes | None:
        """Take the body; give the BLAKE3 of the file if this is all of it.

        Raises Refused CHECKSUM_MISMATCH or DIGEST_MISMATCH; then nothing of the body stays, and nothing of
        one with a checksum that broke off.
        """
        found = writing.found
        if not head.has_body or found.complete:
            return None
        sent = [checksum for checksum in ask.checksums if not checksum.whole]
        algorithms = {checksum.algorithm for checksum in sent}
        running: dict[str, Any] = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        if ask.trailer:
            running = {name: hashlib.new(name, usedforsecurity=False) for name in tus.ALGORITHMS}
        alone = found.offset == 0 and (ask.ends or head.length == found.length)
        if alone:
            running[_BLAKE3] = blake3()
        sink = transfer.SharedSink(
            writing, _limit(ask, found), start=found.offset, digests=[*running.values()]
        )
        checked = bool(sent) or ask.trailer
        if checked:  # of a body that breaks off nothing tells whether it is right
            await self.sessions.begin_unverified(writing)
        await link.receive_into(sink, buffers.for_upload(Facts(length=head.length)))
        if ask.body is not None and sink.moved != ask.offset + ask.body:
            raise Refused(errors.RANGE_ON_PUT, f"{sink.moved - ask.offset} bytes came")
        if ask.trailer:
            sent.append(tus.checksum(link.trailer))
        for checksum in sent:
            if not hmac.compare_digest(running[checksum.algorithm].digest(), checksum.value):
                await self.sessions.discard_unverified(writing)
                raise resume.checksum_wrong(ask)
        if checked:
            await self.sessions.confirm(writing)
        self.count(sink.moved - found.offset)
        writing.found = found._replace(offset=sink.moved)
        return running[_BLAKE3].digest() if alone else None

    def count(self, size: int) -> None:
        """Count a request that has brought `size` bytes of an upload."""
        self._row.observe(catalogue.CHUNK_UPLOAD_SIZE, size)


_BLAKE3: Final = "blake3"


def _limit(ask: UploadRequest, found: Found) -> int:
    """Return where in the file the body must have ended."""
    limit = found.terms.most if found.length is None else found.length
    return limit if ask.body is None else min(limit, ask.offset + ask.body)
