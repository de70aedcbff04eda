"""Hot objects: files asked for again and again, answered without a Python frame."""

from collections.abc import Callable

from typing_extensions import Buffer, Self, disjoint_base

@disjoint_base
class Entry:
    """One file's answers: its fields for 200, 206 and 304, and its bytes or its open file."""

    def __new__(
        cls,
        *,
        fields: tuple[bytes, bytes],
        unmodified: tuple[bytes, bytes],
        shared: tuple[bytes, bytes],
        etag: bytes,
        logged: bytes,
        path: bytes,
        identity: tuple[int, int, int],
        expires: float,
        body: bytes | None,
        file: int,
    ) -> Self: ...

@disjoint_base
class Hot:
    """The entries of one worker, and the one place that answers from them. For one thread."""

    held_bytes: int
    requests: int
    rest: tuple[bytes | None, int, str, int, int] | None
    def __new__(
        cls,
        slab: Buffer,
        row: Buffer,
        columns: tuple[int, ...],
        *,
        run_id: bytes,
        keep: Callable[[bytes], object],
        root: int,
        open_flags: int,
        body_bytes: int,
        limit_bytes: int,
        limit_files: int,
        span_bytes: int,
        good_for_s: float,
        most_age_s: int,
    ) -> Self: ...
    def configure(
        self,
        *,
        leads: tuple[bytes, ...],
        most_fields: int,
        most_bytes: int,
        most_requests: int,
        any_origin: bool,
        ranges: bool,
        idle_s: float,
    ) -> None:
        """Take the settings; forget every entry, since its fields were made under others."""

    def forget(self) -> None:
        """Answer nothing from memory until something is admitted again."""

    def tick(self, date: bytes) -> None:
        """Take the Date field's value for the next turns, and close files that nobody asks for."""

    def admit(self, target: bytes, entry: Entry) -> bool:
        """Answer `target` from memory from now on; False if that does not fit."""

    def next_id(self) -> str:
        """Return the next request id of this worker; hot and cold answers share one sequence."""

    def last_id(self) -> str:
        """Return the id of the request before."""

    def flush(self) -> None:
        """Give the log lines since the last time to what keeps them."""

    def serve(
        self, sock: int, size: int, client: bytes, vouch: Callable[[bytes | None, bytes | None], bytes] | None
    ) -> int:
        """Answer requests at the start of the slab's first `size` bytes; give how many bytes that was."""
