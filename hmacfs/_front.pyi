"""The front of a connection: what runs for each request that is answered from memory, and nothing else."""

from collections.abc import Callable

from typing_extensions import Buffer, Self, disjoint_base

from hmacfs._hot import Hot

@disjoint_base
class Front:
    """Lends the buffer for a head and gives it to the hot objects; the base of every connection."""

    sock: int
    client: bytes
    vouch: Callable[[bytes | None, bytes | None], bytes] | None
    waiting: bool
    watched: bool
    deadline: float
    def __init__(self, hot: Hot, window: Buffer) -> None: ...
    def get_buffer(self, sizehint: int) -> Buffer:
        """Lend memory for one read; see asyncio.BufferedProtocol."""

    def buffer_updated(self, nbytes: int) -> None:
        """Consume what was read, before anyone else may use the memory."""

@disjoint_base
class EpollReader:
    """The connections of one worker that keep asking for what is in memory, watched by one epoll(7)."""

    def __new__(cls, hot: Hot, size: int) -> Self: ...
    def fileno(self) -> int:
        """Give the descriptor that is readable when `look` has something to do."""

    def join(self, front: Front) -> bool:
        """Read for a connection whose transport does not; False if it cannot be watched."""

    def leave(self, front: Front) -> None:
        """Read for it no more; its socket is still open."""

    def look(self) -> None:
        """Answer those who have asked; called by the loop."""
