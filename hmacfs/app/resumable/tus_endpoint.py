"""An endpoint of protocol "tus": its prefix begins uploads, PREFIX/ID is one, PREFIX/ID/NAME the file.

Whoever shows a token of the same sub may go on with an upload; for all others there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING, Final

from hmacfs import auth, errors, resume
from hmacfs.app import routing
from hmacfs.app.resumable.engine import UploadExchange, UploadTarget, whole_digests
from hmacfs.app.resumable.slots import sent_type
from hmacfs.errors import Refused
from hmacfs.http import disposition
from hmacfs.http import target as targets
from hmacfs.model import Reply
from hmacfs.resume import Action, UploadProtocol, UploadRequest, metadata
from hmacfs.store.sessions import UploadInfo

if TYPE_CHECKING:
    from hmacfs.app.resumable.engine import Engine, UploadConnection
    from hmacfs.auth import Pass
    from hmacfs.model import Endpoint, Head, Slot
    from hmacfs.store.sessions import WriteLease

NAMELESS: Final = "upload"
"""Name of a file for which neither token nor client has one."""
_ID_BYTES: Final = 16
PARTS: Final = 256
"""Most uploads that are joined: each takes two descriptors meanwhile."""


class TusEndpoint:
    """The endpoints whose prefix takes uploads."""

    def __init__(self, engine: Engine, *, joins: bool) -> None:
        """Let `engine` move the bytes; `joins`: partial uploads may be begun, and joined."""
        self._engine = engine
        self._joins = joins

    async def answer(self, head: Head, link: UploadConnection, endpoint: Endpoint, name: str) -> Reply:
        """Answer any request but GET and OPTIONS. Raises Refused."""
        # Who POSTs in neither language has most likely forgotten Tus-Resumable, and is told of it.
        protocol = resume.detect(head) or (
            UploadProtocol.TUS if head.method == "POST" else UploadProtocol.IETF
        )
        held = auth.uploader(head, endpoint, now=self._engine.now())
        ask = resume.LANGUAGES[protocol].read(head)
        if (ask.act is Action.CREATE) == bool(name) or protocol in {
            UploadProtocol.RANGE,
            UploadProtocol.CHUNKED,
        }:
            raise Refused(errors.METHOD_NOT_ALLOWED, fields=(("Allow", _allow(name)),))
        head = await self._engine.settle(ask, head, link)
        if ask.act is Action.CREATE:
            return await self._create(ask, head, link, endpoint, held)
        target = self._target(head, endpoint, name, held)
        if ask.act is Action.STATUS:
            return await self._engine.status(ask, target)
        if ask.act is Action.CANCEL:
            return await self._cancel(ask, link, target)
        return await self._engine.append(UploadExchange(ask=ask, head=head, link=link, target=target))

    async def lead(self, endpoint: Endpoint, name: str) -> Reply:
        """Answer GET of an upload: where its file is, if that is whole. Raises Refused NOT_FOUND."""
        found = await self._engine.sessions.status(name, lambda _terms, _length: True)
        key = found.terms.key
        # The file alone says so if the power was cut before the upload's last word was noted for good.
        if not (found.complete or (key and await self._engine.store.size_of(key) is not None)):
            raise Refused(errors.NOT_FOUND)
        location = _reference(
            f"{endpoint.prefix}{name}", routing.stored(key, (endpoint,), name=found.terms.name)
        )
        return Reply(
            status=307,
            code="temporary_redirect",
            fields=[("Location", location), ("Cache-Control", "no-store")],
        )

    async def _create(
        self, ask: UploadRequest, head: Head, link: UploadConnection, endpoint: Endpoint, held: Pass
    ) -> Reply:
        engine = self._engine
        if (ask.partial or ask.parts) and not self._joins:
            raise Refused(errors.UPLOAD_FIELD, "partial uploads are switched off here")
        most = engine.most if held.most is None else min(held.most, engine.most)
        if (ask.length or head.length or 0) > most:
            raise resume.too_large(ask, engine.limits(most))
        names = [_part(part) for part in ask.parts]
        name = _joined(_owner(endpoint, held), names) if names else secrets.token_hex(_ID_BYTES)
        slot = self._slot(endpoint, name, held.name or _told_name(ask, head))
        terms = UploadInfo(
            key="" if ask.partial else slot.key,
            owner=_owner(endpoint, held),
            uploader=held.owner,
            holder=held.owner,
            content_type=held.content_type or sent_type(head, ask),
            expires=held.expires,
            metadata=ask.metadata,
            most=most,
            parts=ask.parts,
            digests=whole_digests(ask),
            began=engine.now(),
            name=routing.cut_name(slot),
        )
        target = self._target(head, endpoint, name, held)
        if names:
            return await self._join(ask, link, target, terms, names)
        exchange = UploadExchange(ask=ask, head=head, link=link, target=target)
        return await engine.create(exchange, terms, ask.length)

    async def _join(
        self,
        ask: UploadRequest,
        link: UploadConnection,
        target: UploadTarget,
        terms: UploadInfo,
        names: list[str],
    ) -> Reply:
        """Make one file of several partial uploads, which then are no more.

        Asked again, it goes on where it was, and gives the answer of the first time: that may have been lost.
        """
        sessions, allowed = self._engine.sessions, target.allowed
        if len(set(names)) != len(names) or len(names) > PARTS:
            raise Refused(errors.UPLOAD_PARTS, f"each once, and {PARTS} at most")
        with contextlib.ExitStack() as held:
            parts = await self._hold(held, target, names)
            if parts:
                if any(part.found.terms.key or not part.found.is_whole for part in parts):
                    raise Refused(errors.UPLOAD_PARTS)
                length = sum(part.found.offset for part in parts)
                if length > terms.most:
                    raise resume.too_large(ask, self._engine.limits(terms.most))
                await sessions.begin(target.name, terms, length)
            link.authorize(ask.protocol)
            # Nobody else may publish it, or the parts would stay and could be joined once more.
            [writing] = await sessions.hold([target.name], allowed)
            with writing:
                try:
                    if parts:
                        await sessions.concatenate(writing, parts)
                    await self._engine.finish(ask, writing, target, None)
                except Refused:
                    with contextlib.suppress(Refused):  # what went wrong first is told
                        await sessions.discard([writing] if parts else [])
                    raise
                terms, state = writing.found.terms, self._engine.state(writing.found, complete=True)
            with contextlib.suppress(Refused):  # the file is stored, whatever becomes of the rest
                await sessions.discard(parts)  # before anybody else has them
        for name in () if parts else names:
            with contextlib.suppress(Refused):
                await sessions.drop(name, allowed)
        reply = resume.LANGUAGES[ask.protocol].created(
            ask, state, target.location, self._engine.limits(terms.most)
        )
        return self._engine.concluded(reply, state, target, terms)

    async def _hold(
        self, held: contextlib.ExitStack, target: UploadTarget, names: list[str]
    ) -> list[WriteLease]:
        """Take the parts of `target` for itself until `held` ends; none if they are joined already.

        Raises Refused NOT_FOUND; BUSY while another request has one of them so.
        """
        sessions, allowed = self._engine.sessions, target.allowed
        if await self._is_joined(target):
            return []
        try:
            return [held.enter_context(part) for part in await sessions.hold(names, allowed)]
        except Refused as refused:  # perhaps another request for the same was quicker by this much
            if refused.refusal is not errors.NOT_FOUND or not await self._is_joined(target):
                raise
            return []

    async def _is_joined(self, target: UploadTarget) -> bool:
        sessions = self._engine.sessions
        if not await sessions.knows(target.name):
            return False
        try:
            return (await sessions.durable_status(target.name, target.allowed)).is_whole
        except Refused as refused:  # a joining that failed has dropped it meanwhile, and the parts stand
            if refused.refusal is not errors.NOT_FOUND:
                raise
            return False

    async def _cancel(self, ask: UploadRequest, link: UploadConnection, target: UploadTarget) -> Reply:
        """Drop an upload; also its file, if that is complete: its owner takes it back."""
        found = await self._engine.sessions.drop(target.name, target.allowed)
        link.authorize(ask.protocol)
        if found.complete:
            await self._engine.store.remove(target.slot(found.terms))
        return resume.LANGUAGES[ask.protocol].cancelled(ask)

    def _target(self, head: Head, endpoint: Endpoint, name: str, held: Pass) -> UploadTarget:
        owner = _owner(endpoint, held)
        return UploadTarget(
            name=name,
            allowed=lambda terms, _length: terms.owner == owner,
            location=targets.reference(head.path, f"{endpoint.prefix}{name}"),
            slot=lambda terms: routing.stored(terms.key, (endpoint,), name=terms.name),
            url=lambda slot: _reference(head.path, slot),
        )

    def _slot(self, endpoint: Endpoint, name: str, bare: str) -> Slot:
        return routing.find(f"{endpoint.prefix}{name}/{routing.bare_name(bare)}", (endpoint,))


def _told_name(ask: UploadRequest, head: Head) -> str:
    """Return the file's name as the client tells it: in metadata, or in Content-Disposition (RFC 6266)."""
    told = metadata.read(ask.metadata) if ask.metadata else {}
    name = (told.get("filename") or told.get("name") or b"").decode(errors="replace")
    return name or disposition.filename(head.fields.get(b"content-disposition", b"")) or NAMELESS


def _owner(endpoint: Endpoint, held: Pass) -> str:
    """Return what stands for the owner in the store: an upload of one endpoint is not one of another."""
    return hashlib.sha256(f"{endpoint.prefix}\0{held.owner}".encode()).hexdigest()


def _part(part: str) -> str:
    """Return the id of a partial upload, which is how its URL ends. Raise Refused UPLOAD_PARTS.

    What stands before it a proxy may have changed, and whose upload it is does not depend on that.
    """
    name = part.partition("?")[0].partition("#")[0].rpartition("/")[2]
    if not routing.UPLOAD_ID.fullmatch(name):
        raise Refused(errors.UPLOAD_PARTS)
    return name


def _joined(owner: str, names: list[str]) -> str:
    """Return the id of what is joined: the same parts of the same owner are the same upload."""
    return hashlib.sha256(" ".join((owner, *names)).encode()).hexdigest()[: 2 * _ID_BYTES]


def _reference(base: str, slot: Slot) -> str:
    return targets.reference(base, f"{slot.endpoint.prefix}{slot.rel}")


def _allow(name: str) -> str:
    return "GET, HEAD, PATCH, DELETE, OPTIONS" if name else "POST, PUT, OPTIONS"
