"""The end of a connection whose client may still send: what comes is thrown away, for a bounded time."""

from __future__ import annotations

from typing import Final

# A refused client that goes on sending is listened to for so many times linger_s, as long as it is
# never silent for one; nginx: lingering_timeout 5s, lingering_time 30s.
LINGER_ROUNDS: Final = 6


class Lingering:
    """Counts what comes after the last reply (RFC 9112 9.6)."""

    __slots__ = ("_bytes", "_linger_s", "_rounds", "_seen")

    def __init__(self, linger_s: float) -> None:
        """Begin after the last reply; the client may be silent for `linger_s` seconds."""
        self._linger_s = linger_s
        self._bytes = 0  # that have come
        self._seen = 0  # those that had at the last deadline
        self._rounds = 0

    def on_read(self, count: int) -> None:
        """Note that `count` bytes have come."""
        self._bytes += count

    def expire(self, now: float) -> float | None:
        """Return the next deadline; None if the client was silent, or has gone on for too long."""
        self._rounds += 1
        if self._bytes == self._seen or self._rounds == LINGER_ROUNDS:
            return None
        self._seen = self._bytes
        return now + self._linger_s
