"""Hot objects: small files answered from memory, without a Python frame, an open or a stat."""

from collections.abc import Callable

from typing_extensions import Buffer, Self, disjoint_base

@disjoint_base
class Hot:
    """The entries of one worker, and the one place that answers from them. For one thread."""

    held_bytes: int
    requests: int
    rest: tuple[bytes, int, str, int, int] | None
    def __new__(
        cls,
        slab: Buffer,
        row: Buffer,
        columns: tuple[int, ...],
        limit_bytes: int,
        run_id: bytes,
        keep: Callable[[bytes], object],
    ) -> Self: ...
    def configure(self, leads: tuple[bytes, ...], most_fields: int, most_bytes: int) -> None:
        """Take the settings; forget every entry, since its fields were made under others."""

    def forget(self) -> None:
        """Answer nothing from memory until something is admitted again."""

    def tick(self, date: bytes) -> None:
        """Take the Date field's value for the next turns."""

    def admit(
        self,
        target: bytes,
        fields: bytes,
        unmodified: bytes,
        shared: bytes,
        etag: bytes,
        body: bytes,
        logged: bytes,
        seconds: float,
    ) -> bool:
        """Answer `target` from memory for `seconds`; False if it does not fit."""

    def body_of(self, target: bytes, etag: bytes) -> bytes | None:
        """Give the bytes held for `target` if they are those of `etag`, past their second or not."""

    def next_id(self) -> str:
        """Give the next request id of this worker; hot and cold answers share one sequence."""

    def last_id(self) -> str:
        """Give the id of the request before."""

    def flush(self) -> None:
        """Give the log lines since the last time to whoever keeps them."""

    def serve(self, sock: int, size: int, most: int, client: bytes) -> int:
        """Answer requests at the start of the slab's first `size` bytes, at most `most` of them."""
