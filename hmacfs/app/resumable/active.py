"""Plain PUTs whose bodies are still coming, each of which its owner may end from another connection.

The bytes of a plain PUT have no name as long as it lasts. Its connection may be dead, and not known to be,
when its owner asks how far the upload has come: then the PUT is ended as if it had broken off, at whichever
worker it is, and what has come of it is a session. Knows no sockets: how the other workers are asked is an
argument.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import errors
from hmacfs.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hmacfs.app.resumable.engine import UploadConnection
    from hmacfs.store.sessions import UploadInfo

_CHANCE_BITS: Final = 16


class Claimable(Protocol):
    """A plain PUT under way, as another request sees it."""

    @property
    def ticket(self) -> int:
        """Tells it from all others; of two, that of the newer is the greater, whichever worker it is at."""

    @property
    def terms(self) -> UploadInfo:
        """Whose it is."""

    @property
    def length(self) -> int:
        """Bytes of the whole file."""

    def end(self) -> asyncio.Future[None]:
        """End it; done when what has come stands in the store. Refused BUSY if that is not known in time."""


class RemoteUploads(Protocol):
    """The other workers."""

    def count(self, key: str, more: int) -> None:
        """Let them know of `more` PUTs to this place here; -1 for one that is over."""

    def has(self, key: str) -> bool:
        """Whether they may have any; quick."""

    async def find(self, key: str) -> Sequence[Claimable]:
        """Return those that they have."""


class ActiveUpload:
    """One plain PUT of this worker, which its owner can find until it is released.

    Nearly all of them end without having been asked for, so what only that needs is made then.
    """

    __slots__ = ("_ended", "_link", "_released", "_terms", "_underway", "key", "length", "ticket")

    def __init__(
        self,
        underway: ActiveUploads,
        key: str,
        length: int,
        link: UploadConnection,
        terms: Callable[[], UploadInfo],
    ) -> None:
        """Note that `length` bytes are coming from `link` for the place `key`; only `underway` makes one."""
        self._underway = underway
        self._link = link
        self._terms = terms
        self._ended: asyncio.Future[None] | None = None
        self._released = False
        self.key = key
        self.length = length
        self.ticket = underway.ticket()
        """Tells it from all others; of two, that of the newer is the greater, whichever worker it is at."""

    @property
    def terms(self) -> UploadInfo:
        """Whose it is."""
        return self._terms()

    def end(self) -> asyncio.Future[None]:
        """End it, unless all has come already; done when what has come stands in the store."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            if self._released:  # by itself, while the other workers were asked
                self._ended.set_result(None)
            else:
                self.yield_to_newer()
        return self._ended

    def yield_to_newer(self) -> None:
        """Break it off, unless all has come already."""
        self._link.abort_body(Refused(errors.UPLOAD_TAKEN_OVER))

    def release(self) -> None:
        """Note that it is through: what came is published, salvaged or dropped."""
        self._released = True
        self._underway.remove(self)
        if self._ended is not None:
            self._ended.set_result(None)


class ActiveUploads:
    """One worker's plain PUTs under way, and its way to those of the others."""

    def __init__(self, elsewhere: RemoteUploads | None = None) -> None:
        """Know of none."""
        self._held: dict[str, list[ActiveUpload]] = {}
        self._elsewhere = elsewhere
        self._last_ticket = 0

    def ticket(self) -> int:
        """Return what tells a PUT that begins now from all others, and whether it is the newer of two.

        The clock is that of the machine (clock_gettime(2), CLOCK_MONOTONIC), and so of all workers.
        """
        ticket = time.monotonic_ns() << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)
        self._last_ticket = max(ticket, self._last_ticket + 1)
        return self._last_ticket

    def hold(
        self, key: str, length: int, link: UploadConnection, terms: Callable[[], UploadInfo]
    ) -> ActiveUpload:
        """Let the owner of a PUT of `length` bytes to `key` find it until it is released.

        `terms` tells whose it is.
        """
        held = ActiveUpload(self, key, length, link, terms)
        self._held.setdefault(key, []).append(held)
        if self._elsewhere is not None:
            self._elsewhere.count(key, 1)
        return held

    def remove(self, held: ActiveUpload) -> None:
        """Forget it."""
        alike = self._held[held.key]
        alike.remove(held)
        if not alike:
            del self._held[held.key]
        if self._elsewhere is not None:
            self._elsewhere.count(held.key, -1)

    def has(self, key: str) -> bool:
        """Whether there may be any, here or elsewhere; quick."""
        return key in self._held or (self._elsewhere is not None and self._elsewhere.has(key))

    def here(self, key: str) -> list[ActiveUpload]:
        """Return those of this worker; one place may be the aim of several."""
        return list(self._held.get(key, ()))

    async def take_over(self, key: str, allowed: Callable[[UploadInfo, int], bool]) -> None:
        """End those that are `allowed`, at all workers. Raises Refused BUSY if one does not end in time."""
        if owned := [claim.end() for claim in await self._find(key, allowed)]:
            await asyncio.gather(*owned)

    async def outdo(self, held: ActiveUpload, allowed: Callable[[UploadInfo, int], bool]) -> None:
        """End those to the same place that are older than `held` and `allowed`; end it if one is newer.

        It is known to the others by now: so of any two, one finds the other. Raises as `take_over`.
        """
        if len(self._held[held.key]) == 1 and not (self._elsewhere and self._elsewhere.has(held.key)):
            return
        rivals = [claim for claim in await self._find(held.key, allowed) if claim.ticket != held.ticket]
        if any(claim.ticket > held.ticket for claim in rivals):
            held.yield_to_newer()
        if older := [claim.end() for claim in rivals if claim.ticket < held.ticket]:
            await asyncio.gather(*older)

    async def _find(self, key: str, allowed: Callable[[UploadInfo, int], bool]) -> list[Claimable]:
        found: list[Claimable] = [*self.here(key)]
        if self._elsewhere is not None:
            found += await self._elsewhere.find(key)
        return [claim for claim in found if allowed(claim.terms, claim.length)]
