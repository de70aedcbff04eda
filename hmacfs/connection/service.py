"""What all connections of one worker share."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from hmacfs import log, metrics
    from hmacfs.app import App
    from hmacfs.config.settings import Timeouts
    from hmacfs.connection.protocol import Connection
    from hmacfs.http import head as heads


@dataclass(slots=True, kw_only=True)
class Service:
    """The worker's app, limits and memory. Not frozen: a reload swaps parts of it."""

    loop: asyncio.AbstractEventLoop
    app: App
    log: log.Log
    row: metrics.Row
    slab: memoryview
    """The worker's receive slab; valid only inside one `buffer_updated`."""
    head_limits: heads.Limits
    timeouts: Timeouts
    max_pipelined: int
    """Requests of one connection answered in one turn of the loop."""
    max_connections: int
    connections: set[Connection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Answers being worked on; some outlive their connection, since a commit goes on to its end."""
    draining: bool = False
    date: bytes = b""
    """The Date field's value, renewed every second by the worker."""
    run_id: str = field(default_factory=lambda: os.urandom(4).hex())
    requests: int = 0

    def next_id(self) -> str:
        """Give a request id, unique among all workers."""
        self.requests += 1
        return f"{self.run_id}{self.requests:08x}"
