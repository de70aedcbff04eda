"""What the store goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from hmacfs.config.settings import Settings
    from hmacfs.model import Durability


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the site's configuration says to the store."""

    durability: Durability
    min_free_bytes: int
    """Free space that uploads leave to others."""
    file_ttl_s: float | None
    """Age at which a file without an expiry of its own must be gone; None: never."""
    file_mode: int
    directory_mode: int
    session_s: float
    """How long an unfinished upload may be out of use before it is dropped."""
    most_unfinished: int
    """How many unfinished uploads an owner may have."""
    directories: frozenset[str]
    """The endpoints' directories: they stay when they become empty."""
    automatic_retry: bool
    """Whether a step that failed in a way that may pass by itself is tried again."""
    exponential_backoff: bool
    """Whether it is tried again after ever longer waits of chance, or after equal ones."""
    circuit_breaker: bool
    """Whether uploads are refused at once while what they need keeps failing."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what of `settings` the store goes by."""
        server = settings.server
        return cls(
            min_free_bytes=server.min_free_bytes,
            durability=server.durability,
            file_ttl_s=server.file_ttl,
            file_mode=server.file_mode,
            directory_mode=server.directory_mode,
            session_s=settings.uploads.sessiontimeout_s,
            most_unfinished=settings.uploads.max_unfinished,
            directories=frozenset(endpoint.directory for endpoint in settings.endpoints),
            automatic_retry=settings.streaming.automatic_retry,
            exponential_backoff=settings.streaming.exponential_backoff,
            circuit_breaker=settings.streaming.circuit_breaker,
        )
