"""A part: an upload while its bytes arrive, without a name and gone if it is not committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs._descriptor import Descriptor
from hmacfs.errors import Refused
from hmacfs.policy import space
from hmacfs.store.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from hmacfs.model import Slot
    from hmacfs.store.files import Tree
    from hmacfs.store.upload import Stored


def reserve(tree: Tree, slot: Slot | None, length: int, *, min_free_bytes: int) -> Descriptor:
    """Open an unnamed file with room for `length` bytes; blocks. Leaves nothing behind if it fails.

    Without a slot (a form tells its name late) only the space is looked at.
    Raises Refused DISK_FULL, and OSError: FileExistsError before a byte of the body is read.
    """
    file = Descriptor(tree.unnamed(None if slot is None else slot.key))
    try:
        take_room(tree, file.fileno(), length, min_free_bytes=min_free_bytes)
    except BaseException:
        file.close()
        raise
    return file


def take_room(tree: Tree, fd: int, length: int, *, start: int = 0, min_free_bytes: int) -> None:
    """See to it that `length` bytes from `start` on find room beside the margin. Raises Refused DISK_FULL."""
    spare_bytes = tree.free_bytes(fd) - length - min_free_bytes
    if spare_bytes < 0:
        raise Refused(errors.DISK_FULL)
    if space.must_reserve(length, spare_bytes):
        tree.reserve(fd, length, start)
        # Once more, now that it is taken: others may have passed the first look at the same time.
        if tree.free_bytes(fd) < min_free_bytes:
            raise Refused(errors.DISK_FULL)


class Part:
    """The unnamed file of one upload; `file` is open for reading and writing, empty, `length` reserved.

    Leaving it as a context drops it unless it was committed. `slot` may be set as long as it is None.
    """

    def __init__(  # noqa: PLR0913 - only the store makes one
        self,
        file: Descriptor,
        slot: Slot | None,
        length: int,
        *,
        publish: Callable[[Upload], Awaitable[Stored]],
        drop: Callable[[Descriptor], None],
        refused: Callable[[Refused], None],
    ) -> None:
        """Own `file`; `publish` takes it over, or `drop` closes it. `refused` is told if it is left so."""
        self.file = file
        self._given_up = False
        self.slot = slot
        self.length = length
        self._publish = publish
        self._drop = drop
        self._refused = refused

    def __enter__(self) -> Self:
        """Give the part itself."""
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
    ) -> Stored:
        """Publish the file and wait until that lasts as long as the site's durability promises.

        `size` is the file's size where only a bound was known at the beginning; the default is
        the length that was reserved. `expires` is wall-clock time, `digest` the content's BLAKE3.
        Raises Refused: SIZE_MISMATCH if the file is of another size, EXISTS if the name is taken,
        DISK_FULL, BUSY, STORAGE_FAILED. Refused or cancelled, the file is dropped; a cancellation
        that comes too late leaves it whole.
        """
        if self._given_up:
            raise ValueError("this part has been committed or dropped already")
        if self.slot is None:
            raise ValueError("this part needs a slot first")
        size = self.length if size is None else size
        upload = Upload(
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
