"""Plain PUTs whose bodies are still coming, each of which its owner may end from another connection.

The bytes of a plain PUT have no name as long as it lasts. Its connection may be dead, and nobody knows yet,
when its owner asks how far the upload has come: then the PUT is ended as if it had broken off, at whichever
worker it is, and what has come of it is a session. Knows no sockets: how the other workers are asked is an
argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Final, Protocol

from hmacfs import errors
from hmacfs.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hmacfs.app.resumable.engine import Link
    from hmacfs.store.sessions import Terms

_TICKET_BITS: Final = 63


class Claimable(Protocol):
    """A plain PUT under way, as whoever may want it sees it."""

    @property
    def terms(self) -> Terms:
        """Whose it is."""

    @property
    def length(self) -> int:
        """Bytes of the whole file."""

    def end(self) -> asyncio.Future[None]:
        """End it; done when what has come stands in the store. Refused BUSY if that is not known in time."""


class Elsewhere(Protocol):
    """The other workers."""

    def count(self, name: str, more: int) -> None:
        """Let them know of `more` uploads of this name here; -1 for one that is over."""

    async def find(self, name: str) -> Sequence[Claimable]:
        """Give those of this name that they have."""


class Held:
    """One plain PUT of this worker."""

    __slots__ = ("_link", "ended", "length", "terms", "ticket")

    def __init__(self, terms: Terms, length: int, link: Link) -> None:
        """Note that `length` bytes are coming from `link`."""
        self._link = link
        self.terms = terms
        self.length = length
        self.ticket = secrets.randbits(_TICKET_BITS)
        """Tells it from all others, of before and of other workers."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is through: what came is stored, salvaged or dropped."""

    def end(self) -> asyncio.Future[None]:
        """End it, unless all has come already; done when what has come stands in the store."""
        self._link.break_off(Refused(errors.UPLOAD_TAKEN_OVER))
        return self.ended


class Underway:
    """One worker's plain PUTs under way, and its way to those of the others."""

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        """Know of none."""
        self._held: dict[str, list[Held]] = {}
        self._elsewhere = elsewhere

    @contextlib.contextmanager
    def hold(self, name: str, terms: Terms, length: int, link: Link) -> Iterator[None]:
        """Let whoever owns the upload of this name find the PUT as long as it lasts."""
        held = Held(terms, length, link)
        alike = self._held.setdefault(name, [])
        alike.append(held)
        if self._elsewhere is not None:
            self._elsewhere.count(name, 1)
        try:
            yield
        finally:
            alike.remove(held)
            if not alike:
                del self._held[name]
            if self._elsewhere is not None:
                self._elsewhere.count(name, -1)
            held.ended.set_result(None)

    def here(self, name: str) -> list[Held]:
        """Give those of this worker; the same place may be the aim of several."""
        return list(self._held.get(name, ()))

    async def take_over(self, name: str, allowed: Callable[[Terms, int], bool]) -> None:
        """End those that are `allowed`, at all workers. Raises Refused BUSY if one does not end in time."""
        found: list[Claimable] = [*self.here(name)]
        if self._elsewhere is not None:
            found += await self._elsewhere.find(name)
        if owned := [claim.end() for claim in found if allowed(claim.terms, claim.length)]:
            await asyncio.gather(*owned)
