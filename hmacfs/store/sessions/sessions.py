"""Unfinished uploads as the rooms above see them: each step on the store's threads."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hmacfs.errors import Refused
from hmacfs.model import Durability, StoredFile
from hmacfs.policy import os_errors
from hmacfs.store.files import CLOSED
from hmacfs.store.paced import Paced
from hmacfs.store.sessions.completion import Completion
from hmacfs.store.sessions.folder import Folder
from hmacfs.store.sessions.keeping import Keeping
from hmacfs.store.sessions.progress import Progress
from hmacfs.store.sessions.registry import Registry
from hmacfs.store.upload import PendingPublication

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from hmacfs.model import Slot
    from hmacfs.store.files import Tree
    from hmacfs.store.part import Part, PartOwner
    from hmacfs.store.resilience import Resilience
    from hmacfs.store.rules import Rules
    from hmacfs.store.sessions.session_file import UploadInfo
    from hmacfs.store.sessions.write_lease import Allowed, Found, IncomingRange, WriteLease

P = ParamSpec("P")
T = TypeVar("T")


class Sessions:
    """One worker's door to the unfinished uploads of the storage. Its coroutines belong to one event loop.

    All raise Refused: BUSY, STORAGE_FAILED, DISK_FULL, STORAGE_UNAVAILABLE, beside what they say.
    """

    def __init__(
        self,
        tree: Tree,
        clock_ns: Callable[[], int],
        pool: ThreadPoolExecutor,
        owner: PartOwner,
        resilience: Resilience,
    ) -> None:
        """Keep them below `tree`; `owner` publishes a whole file, and drops one that has no name any more."""
        self._paced = Paced(pool)
        self.folder = Folder(tree)
        """Where they lie; what looks after the storage opens it."""
        self._keeping = Keeping(self.folder, tree, clock_ns, paced=self._paced, drop_file=owner.drop)
        self._progress = Progress(self._keeping)
        self._completion = Completion(self._keeping)
        self._registry = Registry(self._keeping, self._progress, self._completion)
        self._pool = pool
        self._owner = owner
        self._resilience = resilience

    def close(self) -> None:
        """Let go of the directories; no step is under way any more."""
        self._keeping.close()

    def reconfigure(self, rules: Rules) -> None:
        """Go by other rules from the next step on."""
        self._keeping.durable = rules.durability is Durability.FULL
        self._keeping.lives_s = rules.session_s
        self._keeping.min_free_bytes = rules.min_free_bytes
        self._keeping.most_unfinished = rules.most_unfinished

    @property
    def lives_s(self) -> float:
        """How long an upload may be out of use before it is dropped."""
        return self._keeping.lives_s

    def has(self, name: str) -> bool:
        """Whether there is an upload of this name, finished or not. Blocks."""
        return self._keeping.folder.has(name)

    async def knows(self, name: str) -> bool:
        """Whether there is an upload of this name, finished or not."""
        return await self._paced.run(self.has, name)

    async def begin(self, name: str, terms: UploadInfo, length: int | None) -> bool:
        """Begin an upload; give whether there was none of this name.

        Raises Refused EXISTS, TOO_MANY_UPLOADS.
        """
        self._admit()
        return await self._run(self._registry.begin, name, terms, length)

    async def renew(self, name: str, terms: UploadInfo, length: int | None) -> Found:
        """Begin an upload in place of any of this name, which brings no byte yet. Raises as `start`."""
        self._admit()
        return await self._patiently(self._registry.renew, name, terms, length)

    async def replace(self, name: str, terms: UploadInfo, length: int | None, count: int) -> WriteLease:
        """Begin an upload in place of any of this name, to write its first `count` bytes; a context.

        For whoever has a right to the place. Raises Refused EXISTS, TOO_MANY_UPLOADS; BUSY while the file is
        being published.
        """
        self._admit()
        return await self._patiently(self._registry.replace, name, terms, length, count)

    async def durable_status(self, name: str, allowed: Allowed) -> Found:
        """Return how far an upload is; what was writing is through with that. Raises as `take_over`."""
        return await self._run(self._registry.durable_status, name, allowed)

    async def status(self, name: str, allowed: Allowed) -> Found:
        """Return how far an upload is by its note, while others go on writing. The offset is not told.

        Raises Refused NOT_FOUND, also for somebody else's; UPLOAD_EXPIRED.
        """
        return await self._run(self._registry.status, name, allowed)

    async def take_over(self, name: str, allowed: Allowed) -> WriteLease:
        """Take over the right to write what comes next; a context.

        Raises as `peek`, and Refused UPLOAD_TAKEN_OVER.
        """
        self._admit()
        return await self._run(self._registry.take_over, name, allowed)

    async def resume(
        self, name: str, allowed: Allowed, check: Callable[[Found], None], body: IncomingRange
    ) -> WriteLease:
        """Take over to write `body`; a context.

        `check` is asked on a thread whether anything is wrong with that, given what stands, and raises
        Refused. Raises as `take_over`.
        """
        self._admit()
        return await self._run(self._registry.resume, name, allowed, check, body)

    async def take_chunk(self, name: str, allowed: Allowed, number: int, *, alone: bool) -> WriteLease | None:
        """Take over the right to write one numbered chunk; None if that is stored. Raises as `peek`.

        If it is to be `alone`, Refused BUSY while another chunk of the upload is being written.
        """
        self._admit()
        return await self._run(self._registry.take_chunk, name, allowed, number, alone=alone)

    async def declare_length(self, writing: WriteLease, length: int | None, count: int) -> None:
        """Prepare for `count` bytes more, and note how long the file will be if that was not said before.

        Raises Refused UPLOAD_TAKEN_OVER.
        """
        await self._run(self._progress.expect, writing, length, count)

    async def release_reservation(self, writing: WriteLease) -> None:
        """Give back what was reserved for bytes that do not come any more."""
        with contextlib.suppress(Refused):  # another request has it, or the storage fails: a request says so
            await self._run(self._progress.let_go, writing)

    async def keep(self, writing: WriteLease) -> Found:
        """Make what was written last as long as the site's durability promises; give what now stands.

        Raises Refused UPLOAD_TAKEN_OVER if the upload was dropped meanwhile.
        """
        await self._run(self._progress.keep, writing)
        return writing.found

    async def keep_chunk(self, writing: WriteLease) -> Found:
        """Do so with a whole chunk, and count it as stored. Raises Refused UPLOAD_TAKEN_OVER."""
        return await self._run(self._progress.keep_chunk, writing)

    async def begin_unverified(self, writing: WriteLease) -> None:
        """Count what comes now only once it is found right. Raises Refused UPLOAD_TAKEN_OVER."""
        await self._run(self._progress.doubt, writing)

    async def confirm(self, writing: WriteLease) -> None:
        """Count what has come since `doubt`. Raises Refused UPLOAD_TAKEN_OVER."""
        await self._run(self._progress.trust, writing)

    async def discard_unverified(self, writing: WriteLease) -> None:
        """Drop what was written since the upload was taken over. Raises Refused UPLOAD_TAKEN_OVER."""
        await self._run(self._progress.cut, writing)

    async def digest(self, writing: WriteLease, algorithm: str) -> str:
        """Return the digest of the whole file in hex digits; `algorithm` is hashlib's name of it."""
        return await self._run(self._progress.digest, writing, algorithm)

    async def concatenate(self, writing: WriteLease, sources: Sequence[WriteLease]) -> Found:
        """Put other uploads together into this one, or go on with that.

        Raises Refused UPLOAD_TAKEN_OVER, and DISK_FULL before anything is copied.
        """
        await self._run(self._progress.join, writing, sources)
        return await self.keep(writing)

    async def hold(self, names: Sequence[str], allowed: Allowed) -> list[WriteLease]:
        """Take several uploads over, and let no other request join, publish or drop them; contexts.

        Raises as `take_over`; BUSY while another request has one of them so.
        """
        return await self._patiently(self._registry.hold, names, allowed)

    async def discard(self, held: Sequence[WriteLease]) -> None:
        """Drop uploads that `hold` has given."""
        for writing in held:
            await self._run(self._keeping.discard, writing)

    async def publish(
        self, writing: WriteLease, slot: Slot, digest: bytes | None, sha256: bytes | None = None
    ) -> None:
        """Give a whole upload its name; nothing happens if a request before this one has done so.

        `digest` is the BLAKE3 of all of it, None if that was not computed; so with `sha256`. Raises
        Refused EXISTS, UPLOAD_TAKEN_OVER, SIZE_MISMATCH; BUSY if such a request is still at it.
        """
        file = await self._patiently(self._completion.seal, writing, slot.key)
        if file is None:
            return
        terms, size = writing.found.terms, writing.found.offset
        stored = StoredFile(
            key=slot.key,
            size=size,
            content_type=terms.content_type,
            owner=terms.uploader,
            expires=terms.expires,
            digest=digest,
            sha256=sha256,
        )
        upload = PendingPublication(file, slot, stored, size, asyncio.get_running_loop().create_future())
        try:
            await self._owner.publish(upload)
        except Refused:
            if upload.fault is not None and not upload.inode:  # its bytes could not be brought to the disk
                await self._run(self._keeping.discard, writing)
            raise
        await self._run(self._completion.mark_stored, writing)

    async def salvage(self, part: Part, name: str, terms: UploadInfo, *, empty: bool = False) -> None:
        """Keep what has come of a broken upload in one request, for whoever goes on with it.

        `empty`: even if that is nothing.
        """
        await self._run(self._registry.adopt, name, terms, part.length, part.file, empty=empty)

    async def drop(self, name: str, allowed: Allowed) -> Found:
        """Drop an upload and give what it was; what is published stays.

        Raises as `take_over`, and Refused BUSY if it is still being published.
        """
        return await self._patiently(self._registry.drop, name, allowed)

    async def clear(self, name: str) -> None:
        """Drop whatever there is of this name: for whoever has a right to the place. Raises Refused BUSY."""
        await self._patiently(self._completion.clear, name)

    def sweep(self, stop: threading.Event) -> int:
        """Drop what has been out of use for too long; give how many unfinished uploads that were.

        Blocks. Raises OSError.
        """
        return self._completion.sweep(stop) if self.folder.fd != CLOSED else 0

    async def _patiently(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Take a step for which nobody else may be publishing; who is may be through in a moment."""
        for delay_s in self._resilience.delays():
            try:
                return await self._run(work, *args, **kwargs)
            except Refused as refused:
                if not isinstance(refused.__cause__, BlockingIOError):
                    raise
            await asyncio.sleep(delay_s)
        return await self._run(work, *args, **kwargs)

    def _admit(self) -> None:
        if self._resilience.troubled:
            self._resilience.admit()

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.folder.fd == CLOSED:
            raise self._resilience.refusal()
        try:
            return await asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))
        except OSError as error:
            refused = os_errors.writing(error)
            self._resilience.fail(refused)
            raise refused from error
        except Refused as refused:
            self._resilience.fail(refused)
            raise
