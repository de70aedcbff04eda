"""The messages between the supervisor and a worker; they travel pickled through a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmacfs.config.settings import Settings
    from hmacfs.ipc import ChannelFds


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """What a worker starts with."""

    slot: int
    settings: Settings
    listeners: tuple[int, ...]
    """Inherited descriptors of listening sockets."""
    tls_listeners: tuple[int, ...]
    """Those of them whose clients speak TLS."""
    counters: int
    """Inherited descriptor of the shared counters."""
    fds: ChannelFds
    """What it inherits to talk to the other workers."""
    version: int
    """Number of these settings, to be given back in `Ready`."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Serve new settings from the next request on."""

    settings: Settings
    version: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept no more, finish what is in flight within `seconds`, end."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker accepts connections and serves the settings of this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Barred:
    """The worker refuses uploads, or takes them again."""

    words: str
    """Why it refuses them; "" if it does not."""
