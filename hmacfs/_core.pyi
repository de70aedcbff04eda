"""Mechanism: slabs, the receive step, the send loop, and two system calls that Python lacks."""

from typing_extensions import Buffer, Self, disjoint_base

from hmacfs._descriptor import Descriptor
from hmacfs.model import Span

DONE: int
WAIT: int
BUDGET: int
ENDED: int

def open_beneath(dir_fd: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open `path` below `dir_fd`, never leaving it and never following a link; openat2(2)."""

def open_cached(dir_fd: int, path: bytes, flags: int) -> int:
    """Open it if the kernel knows all of the way, without asking a disk; openat2(2), RESOLVE_CACHED.

    Raises OSError as `open_beneath`; BlockingIOError if a disk must be asked, perhaps for what is not there.
    """

def fallocate_keep(file: int, length: int, start: int = 0) -> None:
    """Reserve `length` bytes from `start` on without changing the file's size; fallocate(2)."""

def punch_hole(file: int, length: int, start: int) -> None:
    """Give the disk space of `length` bytes from `start` on back, which then read as zeros; fallocate(2).

    Raises OSError: EOPNOTSUPP where the file system cannot.
    """

def set_malloc_trim(size: int) -> None:
    """Let the allocator keep up to `size` freed bytes instead of asking for them anew; mallopt(3)."""

def is_cached(file: Descriptor, start: int, length: int) -> bool:
    """Tell whether these bytes of a file are all in memory; True as well if the kernel cannot say."""

@disjoint_base
class Slab:
    """A page-aligned block of memory, allocated once and lent for reads; a writable buffer."""

    size: int
    def __new__(cls, size: int) -> Self: ...
    def __len__(self) -> int: ...
    def spoil(self) -> None:
        """Fill with 0xDB, which no answer and no file may then hold; only in builds that look for faults."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

def set_rcvlowat(sock: Descriptor, count: int) -> None:
    """Have a socket count as readable only once `count` bytes have come, or no more will (socket(7)).

    If as many have come already, whoever watches it is woken. Raises OSError.
    """

def unread_bytes(sock: Descriptor) -> int:
    """Return how many bytes have come on a socket and were not read yet (tcp(7), SIOCINQ). Raises OSError."""

def recv_into(sock: Descriptor, slab: Slab, length: int) -> tuple[int, int]:
    """Read up to `length` bytes of a socket into `slab`; give how many, and DONE, WAIT or ENDED."""

@disjoint_base
class FileWriter:
    """Where the bytes of one upload go: an open file, written in order without the GIL."""

    moved: int
    waited_ns: int
    def __init__(self, file: Descriptor, piece: int, start: int = 0) -> None: ...
    def take(self, data: Buffer, patience_ns: int = 0) -> int:
        """Write `data` after what has been written so far; give how many bytes of it. Raises OSError."""

@disjoint_base
class PieceSender:
    """One answer on its way out: pieces of memory and spans of one file, in order."""

    moved: int
    def __new__(cls, sock: Descriptor, file: Descriptor | None, pieces: tuple[bytes | Span, ...]) -> Self: ...
    def step(self, budget: int) -> int:
        """Send up to `budget` bytes; give DONE, WAIT, BUDGET or ENDED. Raises OSError."""
