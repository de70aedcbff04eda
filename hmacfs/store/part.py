"""A part: an upload while its bytes arrive, without a name and gone if it is not committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.store.room import Room
from hmacfs.store.upload import PendingPublication

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from hmacfs.model import Slot
    from hmacfs.store.files import Tree
    from hmacfs.store.upload import PublishedFile


class Draft(NamedTuple):
    """An unnamed file, and the room taken for it."""

    file: Descriptor
    room: Room | None
    """None if all that may come has room already."""


def reserve(
    tree: Tree, slot: Slot | None, length: int, *, announced: bool = True, min_free_bytes: int
) -> Draft:
    """Open an unnamed file for `length` bytes, with room for the first of them; blocks.

    Leaves nothing behind if it fails. If `length` is only a bound and not `announced`, room is taken as the
    bytes come. Without a slot (a form tells its name late) only the space is looked at.
    Raises Refused DISK_FULL, and OSError: FileExistsError before a byte of the body is read.
    """
    file = Descriptor(tree.unnamed(None if slot is None else slot.key))
    try:
        room = Room(tree, file, start=0, most=length, min_free_bytes=min_free_bytes)
        room.begin(length if announced else 0)
    except BaseException:
        file.close()
        raise
    return Draft(file, None if room.end == length else room)


class Part:
    """The unnamed file of one upload; `file` is open for reading and writing, and empty.

    At most `length` bytes may be written, each after `room` was taken for it. Leaving it as a context drops
    it unless it was committed. `slot` may be set as long as it is None.
    """

    def __init__(  # noqa: PLR0913 - only the store makes one
        self,
        draft: Draft,
        slot: Slot | None,
        length: int,
        *,
        publish: Callable[[PendingPublication], Awaitable[PublishedFile]],
        drop: Callable[[Descriptor], None],
        refused: Callable[[Refused], None],
    ) -> None:
        """Own `draft`; `publish` takes its file over, or `drop` closes it. `refused` hears of a refusal."""
        self.file, self.room = draft
        self._given_up = False
        self.slot = slot
        self.length = length
        self._publish = publish
        self._drop = drop
        self._refused = refused

    def __enter__(self) -> Self:
        """Return the part itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the file if it was not committed."""
        self.close()
        if isinstance(error, Refused):
            self._refused(error)

    def close(self) -> None:
        """Drop the file if it was not committed; may be called again."""
        if not self._given_up:
            self._drop(self._give_up())

    async def commit(  # noqa: PLR0913 - what is known of a file
        self,
        *,
        content_type: str | None,
        owner: str = "",
        expires: float | None = None,
        digest: bytes | None = None,
        sha256: bytes | None = None,
        size: int | None = None,
    ) -> PublishedFile:
        """Publish the file and wait until that lasts as long as the site's durability promises.

        `size` is the file's size where only a bound was known at the beginning; the default is
        `length`. `expires` is wall-clock time, `digest` the content's BLAKE3.
        Raises Refused: SIZE_MISMATCH if the file is of another size, EXISTS if the name is taken,
        DISK_FULL, BUSY, STORAGE_FAILED. Refused or cancelled, the file is dropped; a cancellation
        that comes too late leaves it whole.
        """
        if self._given_up:
            raise ValueError("this part has been committed or dropped already")
        if self.slot is None:
            raise ValueError("this part needs a slot first")
        size = self.length if size is None else size
        upload = PendingPublication(
            self._give_up(),
            self.slot,
            size=size,
            reserved=self.length,
            content_type=content_type,
            owner=owner,
            expires=expires,
            digest=digest,
            sha256=sha256,
            answer=asyncio.get_running_loop().create_future(),
        )
        return await self._publish(upload)

    def _give_up(self) -> Descriptor:
        self._given_up = True
        return self.file
