"""What a worker consists of, made in its order; and what of it follows from the settings.

Knows how the parts depend on one another, and nothing of what the worker does with them.
"""

from __future__ import annotations

import functools
import os
import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypedDict

from hmacfs import _core, _front, _hot, log, metrics, transfer
from hmacfs.app import App
from hmacfs.app.resumable import ActiveUploads
from hmacfs.config import certificates
from hmacfs.connection import (
    Acceptor,
    ClientProfiles,
    ClientResolver,
    HttpProtocol,
    OpenConnection,
    WorkerContext,
    admission,
    clients,
)
from hmacfs.http import head as heads
from hmacfs.http import reply as replies
from hmacfs.ipc import Peers
from hmacfs.metrics import catalogue
from hmacfs.policy import buffer_classes, buffer_memory, buffers, hot_limits
from hmacfs.policy.trusted_proxies import Trusted
from hmacfs.store import READING, ProfileDatabase, Rules, Store, StoreObserver
from hmacfs.worker.sockets import ListeningSockets
from hmacfs.worker.storage_events import StorageEvents

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from hmacfs.config.settings import Settings, Timeouts
    from hmacfs.worker.messages import Barred, WorkerConfig

# Where the first worker keeps what is known of the buffers' sizes.
BUFFERS: Final = "buffers.json"
# Descriptors that are not a client's: the store, the log, the loop, the standard library.
RESERVED_FILES: Final = 128
# A connection may need its socket, its file and a duplicate of the socket at once.
FILES_PER_CONNECTION: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What a worker consists of."""

    row: metrics.CounterRow
    first_row: metrics.CounterRow
    """That of the worker that ranks the buffers for all."""
    log: log.Log
    events: StorageEvents
    store: Store
    context: WorkerContext
    acceptor: Acceptor
    sockets: ListeningSockets
    disk_threads: transfer.DiskThreads
    optimiser: transfer.Optimiser | None
    """Only the first worker has one."""
    underway: ActiveUploads
    peers: Peers


class ServedSettings(TypedDict):
    """What of a `WorkerContext` follows from the settings, at the start and at each reload."""

    app: App
    head_limits: heads.HeadLimits
    timeouts: Timeouts
    bodytimeout_s: float
    max_pipelined: int
    max_connections: int
    tls: ssl.SSLContext | None
    trusted: Trusted
    client_resolver: ClientResolver


def build(loop: asyncio.AbstractEventLoop, boot: WorkerConfig, send: Callable[[Barred], None]) -> WorkerParts:
    """Open the store and take over counters and sockets. Raises StorageError.

    `send` tells the supervisor at once if uploads are refused.
    """
    settings = boot.settings
    counters = metrics.attach(boot.counters)
    rows = [metrics.CounterRow(counters, slot) for slot in range(metrics.slots_in(counters))]
    row = rows[boot.slot]
    row.reset_gauges()
    row.add(catalogue.WORKER_STARTS)
    journal = log.open_log(settings.logging, fall_back=True)
    path = settings.server.storage_path
    events = StorageEvents(path, row, journal, now=loop.time, send=send)
    store = Store.open(
        path,
        Rules.of(settings),
        observer=StoreObserver(events.on_breaker, events.on_barred, events.on_denied),
    )
    share = memory_share(settings, len(rows))
    lent = _core.Slab(share.slab)
    slab = memoryview(lent)
    hot = _hot_cache(slab, store, row, journal)
    connections: set[OpenConnection] = set()
    disk_threads = transfer.DiskThreads(
        loop, transfer.Slabs(share, functools.partial(row.add, catalogue.BUFFER_POOL_BYTES))
    )
    tuner = transfer.BufferTuner(
        row, share.classes, initial=settings.performance.initial_buffer_size, first_tried=boot.slot
    )
    optimiser = None
    if boot.slot == 0:
        optimiser = transfer.Optimiser(rows, row, share.classes, store.load_state(BUFFERS))
    peers = Peers(loop, boot.slot, boot.fds)
    underway = ActiveUploads(peers)
    context = WorkerContext(
        loop=loop,
        epoll_reader=_front.EpollReader(hot, buffers.HEAD_BYTES),
        scheduler=transfer.Scheduler(loop, connections, slab=lent, disk_threads=disk_threads, tuner=tuner),
        connections=connections,
        log=journal,
        row=row,
        hot=hot,
        memory=admission.Admission(hot, journal),
        slab=slab,
        clients=ClientProfiles(settings, ProfileDatabase(path, clients.MOST), row, journal=journal),
        **served(settings, store, row, underway),
    )
    configure_hot(context)
    acceptor = Acceptor(context, proxied=settings.server.proxy_protocol)
    return WorkerParts(
        row=row,
        first_row=rows[0],
        log=journal,
        events=events,
        store=store,
        context=context,
        acceptor=acceptor,
        sockets=ListeningSockets(loop, boot, acceptor, functools.partial(HttpProtocol, context)),
        disk_threads=disk_threads,
        optimiser=optimiser,
        underway=underway,
        peers=peers,
    )


def _hot_cache(slab: memoryview, store: Store, row: metrics.CounterRow, journal: log.Log) -> _hot.Hot:
    return _hot.Hot(
        slab,
        row.cells,
        admission.columns(),
        run_id=os.urandom(4).hex().encode(),
        keep=journal.take,
        root=store.root_fd,
        open_flags=READING,
        body_bytes=hot_limits.BODY_BYTES,
        limit_bytes=hot_limits.LIMIT_BYTES,
        limit_files=hot_limits.files(descriptors()),
        span_bytes=hot_limits.SPAN_BYTES,
        good_for_s=hot_limits.GOOD_FOR_S,
        most_age_s=replies.YEAR_S,
    )


def configure_hot(context: WorkerContext) -> None:
    """Have answers from memory go by what `context` holds now."""
    context.hot.configure(
        leads=context.log.line_template(),
        most_fields=context.head_limits.fields,
        most_bytes=context.head_limits.head_bytes,
        most_requests=context.max_pipelined,
        any_origin=context.app.any_origin,
        ranges=context.app.ranges,
        idle_s=context.timeouts.idletimeout_s,
    )


def served(
    settings: Settings, store: Store, row: metrics.CounterRow, underway: ActiveUploads
) -> ServedSettings:
    """Return what requests go by under `settings`."""
    server = settings.server
    trusted = Trusted(server.trusted_proxies)
    return ServedSettings(
        app=App(settings, store, row, underway=underway),
        head_limits=head_limits(settings),
        timeouts=settings.timeouts,
        bodytimeout_s=settings.uploads.bodytimeout_s,
        max_pipelined=server.max_pipelined,
        max_connections=connection_limit(server.max_connections),
        tls=tls_context(settings),
        trusted=trusted,
        client_resolver=ClientResolver(trusted),
    )


def descriptors() -> int:
    """Raise the limit of open files as far as allowed, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connection_limit(wanted: int) -> int:
    """Return how many connections there may be, of those `wanted` (0: as many as can be)."""
    most = descriptors()
    fit = max((most - RESERVED_FILES - hot_limits.files(most)) // FILES_PER_CONNECTION, 1)
    return min(wanted, fit) if wanted else fit


def memory_share(settings: Settings, workers: int) -> buffer_memory.Share:
    """Return what one of so many workers may use for buffers."""
    performance = settings.performance
    wanted = buffer_classes.between(
        performance.min_buffer_size, performance.max_buffer_size, adaptive=performance.adaptive_buffers
    )
    return buffer_memory.share(performance.max_memory_usage, workers, wanted)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return how clients of [tls] are greeted, None if there are none."""
    pem = settings.pem
    return None if pem is None else certificates.context(pem, settings.tls.min_version)


def head_limits(settings: Settings) -> heads.HeadLimits:
    """Return what of the settings bounds a request head."""
    server = settings.server
    return heads.HeadLimits(head_bytes=server.max_header_bytes, fields=server.max_header_fields)
