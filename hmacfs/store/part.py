"""A part: an upload while its bytes arrive, without a name and gone if it is not committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.store.room import Room
from hmacfs.store.upload import PendingPublication

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from hmacfs.model import Slot, StoredFile
    from hmacfs.store.files import Tree


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


class PartOwner(Protocol):
    """What a part is given back to, in one way or another."""

    async def publish(self, upload: PendingPublication) -> StoredFile:
        """Publish a whole file, and close it. Raises Refused."""

    def drop(self, file: Descriptor) -> None:
        """Close a file that is not to be published."""

    def fail(self, refused: Refused) -> None:
        """Take into account why an upload was refused."""


class Part:
    """The unnamed file of one upload; `file` is open for reading and writing, and empty.

    At most `length` bytes may be written, each after `room` was taken for it. Leaving it as a context drops
    it unless it was committed. `slot` may be set as long as it is None.
    """

    __slots__ = ("_given_up", "_owner", "file", "length", "room", "slot")

    def __init__(self, draft: Draft, slot: Slot | None, length: int, owner: PartOwner) -> None:
        """Own `draft`, until `owner` gets its file to publish or to drop."""
        self.file, self.room = draft
        self._given_up = False
        self.slot = slot
        self.length = length
        self._owner = owner

    def __enter__(self) -> Self:
        """Return the part itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the file if it was not committed."""
        self.close()
        if isinstance(error, Refused):
            self._owner.fail(error)

    def close(self) -> None:
        """Drop the file if it was not committed; may be called again."""
        if not self._given_up:
            self._owner.drop(self._give_up())

    async def commit(self, stored: StoredFile) -> StoredFile:
        """Publish the file as `stored` says; wait until that lasts as long as the site's durability promises.

        Return `stored`, with the time of its publication. Raises Refused: SIZE_MISMATCH if the file is of
        another size, EXISTS if the name is taken, DISK_FULL, BUSY, STORAGE_FAILED. Refused or cancelled, the
        file is dropped; a cancellation that comes too late leaves it whole.
        """
        if self._given_up:
            raise ValueError("this part has been committed or dropped already")
        if self.slot is None:
            raise ValueError("this part needs a slot first")
        answer = asyncio.get_running_loop().create_future()
        upload = PendingPublication(self._give_up(), self.slot, stored, self.length, answer)
        return await self._owner.publish(upload)

    def _give_up(self) -> Descriptor:
        self._given_up = True
        return self.file
