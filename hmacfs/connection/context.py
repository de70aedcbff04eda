"""What all connections of one worker share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio
    import ssl

    from hmacfs import log, metrics
    from hmacfs._front import EpollReader
    from hmacfs._hot import Hot
    from hmacfs.app import App
    from hmacfs.config.settings import Timeouts
    from hmacfs.connection.admission import Admission
    from hmacfs.connection.client_address import ClientResolver
    from hmacfs.connection.clients import ClientProfiles
    from hmacfs.connection.eager_task import EagerTask
    from hmacfs.http import head as heads
    from hmacfs.policy.trusted_proxies import Trusted
    from hmacfs.transfer import Scheduler

# While the server drains, an idle connection is kept this long for a request that is on its way, as by
# nginx's keepalive_min_timeout: closing at once would lose it.
LAST_CALL_S: Final = 1.0

# How many connections above the limit are ended in stages; each holds a descriptor meanwhile.
SPARE_CONNECTIONS: Final = 32


class OpenConnection(Protocol):
    """A connection as the worker that looks after it sees it."""

    deadline: float
    """The loop's time at which `expire` must look."""

    def expire(self, now: float) -> None:
        """Do what the passed deadline demands."""

    def drain(self) -> None:
        """End it soon if it is idle, else after its current request."""

    def abandon(self) -> None:
        """End it, whatever it does."""


@dataclass(slots=True, kw_only=True)
class WorkerContext:
    """The worker's app, limits and memory. Not frozen: a reload swaps parts of it."""

    loop: asyncio.AbstractEventLoop
    app: App
    log: log.Log
    row: metrics.CounterRow
    hot: Hot
    """Answers from memory; also the source of request ids."""
    memory: Admission
    """Decides what `hot` gets."""
    epoll_reader: EpollReader
    """Reads for connections that keep asking for what `hot` has."""
    scheduler: Scheduler
    """Gives large transfers their turns."""
    slab: memoryview
    """The worker's receive slab; valid only inside one `buffer_updated`."""
    head_limits: heads.HeadLimits
    timeouts: Timeouts
    bodytimeout_s: float
    """How long the body of one request may take in all."""
    max_pipelined: int
    """Requests of one connection answered in one turn of the loop."""
    max_connections: int
    tls: ssl.SSLContext | None
    """How clients of [tls] are greeted from now on; None if nobody is."""
    trusted: Trusted
    """Peers that are our own proxies."""
    client_resolver: ClientResolver
    """Finds the client of a request that one of these passes on."""
    clients: ClientProfiles
    """What is known of clients."""
    connections: set[OpenConnection] = field(default_factory=set)
    tasks: set[EagerTask] = field(default_factory=set)
    """Answers being worked on; some outlive their connection, since a commit goes on to its end."""
    draining: bool = False
    date: bytes = b""
    """The Date field's value, renewed every second by the worker."""

    def idle_until(self) -> float:
        """Return the deadline of a connection that is idle now; it is short while the server drains."""
        seconds = self.timeouts.idletimeout_s
        return self.loop.time() + (min(seconds, LAST_CALL_S) if self.draining else seconds)

    def is_crowded(self, connections: int) -> bool:
        """Return whether `connections` are too many for even their end to take its time."""
        return connections > self.max_connections + SPARE_CONNECTIONS
