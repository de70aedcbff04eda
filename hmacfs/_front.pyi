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

    # What a connection must have:

    def read_buffer(self) -> Buffer:
        """Return memory for a read that no head of a request begins."""

    def on_read(self, nbytes: int, used: int) -> None:
        """Take what was read: `nbytes` at the start of the slab, of which the first `used` are answered."""

    def on_steady(self) -> None:
        """Note that the connection keeps asking for what is in memory."""

    def on_partial_write(self, rest: tuple[bytes | None, int, str, int, int], used: int) -> None:
        """Send the rest of an answer from memory, to a request whose head was `used` bytes."""

    def on_ended(self) -> None:
        """Note that the client has ended the connection; an EpollReader was reading."""

    def on_failed(self, error: Exception | None) -> None:
        """End a connection that is broken (None), or on which something of ours has failed."""

@disjoint_base
class EpollReader:
    """The connections of one worker that keep asking for what is in memory, watched by one epoll(7)."""

    def __new__(cls, hot: Hot, size: int) -> Self: ...
    def fileno(self) -> int:
        """Return the descriptor that is readable when `poll` has something to do."""

    def add(self, front: Front) -> bool:
        """Read for a connection whose transport does not; False if it cannot be watched."""

    def remove(self, front: Front) -> None:
        """Read for it no more; its socket is still open."""

    def poll(self) -> None:
        """Answer those who have asked; called by the loop."""
