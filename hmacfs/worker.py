"""One worker process: its sockets, its loop, its connections; told what to do by the supervisor.

It owns one row of counters and one store. Everything it needs comes as a `WorkerConfig`; afterwards it hears
`Reload` and `Drain`. If the supervisor vanishes, it drains and ends.
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
import resource
import signal
import socket
import time
from dataclasses import dataclass
from email.utils import formatdate
from multiprocessing.connection import Connection as Pipe
from typing import TYPE_CHECKING, Any, Final

import uvloop

from hmacfs import _core, _front, _hot, log, metrics, transfer
from hmacfs.app import App
from hmacfs.app.resumable import ActiveUploads
from hmacfs.config import certificates
from hmacfs.connection import (
    Acceptor,
    ClientProfiles,
    ClientResolver,
    HttpProtocol,
    WorkerContext,
    admission,
    clients,
)
from hmacfs.http import head as heads
from hmacfs.http import reply as replies
from hmacfs.ipc import Peers
from hmacfs.metrics import catalogue
from hmacfs.policy import buffer_classes, buffer_memory, buffers
from hmacfs.policy import hot_limits as bounds
from hmacfs.policy.trusted_proxies import Trusted
from hmacfs.store import READING, ProfileDatabase, Rules, StorageError, Store

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

    from hmacfs.config.settings import Settings
    from hmacfs.ipc import ChannelFds
    from hmacfs.model import Dependency, Lookalike

BACKLOG: Final = 4096
# Deadlines, the Date field, the log and the heartbeat are looked after this often. A tick over
# 10,000 connections takes about a millisecond.
TICK_S: Final = 0.25
# How soon it is noticed that something of the storage is gone, or there again.
ATTEND_S: Final = 1.0
BARRED_S: Final = 0.25
# One line at most in such a time tells of files that may not be read.
DENIAL_S: Final = 10.0
# Each takes about 0.2 ms if it has to be told why: 250 at once kept a small request waiting for 60 ms.
EXPIRED_PER_TURN: Final = 16
# Where the first worker keeps what is known of the buffers' sizes.
BUFFERS: Final = "buffers.json"
# What ends a process that does not expect it, and is sent to a whole group or by mistake.
IGNORED: Final = frozenset(
    {
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGIO,
        signal.SIGPWR,
        signal.SIGSTKFLT,
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    }
)
# Those that the supervisor hears; it tells the workers itself.
OF_THE_SUPERVISOR: Final = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
REOPEN: Final = signal.SIGUSR1
"""Has the log opened anew, as nginx does; held back in a worker until it has a log."""
# Descriptors that are not a client's: the store, the log, the loop, the standard library.
RESERVED_FILES: Final = 128
# A connection may need its socket, its file and a duplicate of the socket at once.
FILES_PER_CONNECTION: Final = 2


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


def run(control_fd: int) -> int:
    """Be a worker until told to end; give the exit status."""
    # The terminal's Ctrl-C and a SIGHUP to the group are for the supervisor, which will tell us. It has
    # started us with them held back, so that none could end us before now.
    for number in OF_THE_SUPERVISOR | IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, {REOPEN})
    pipe = Pipe(control_fd)
    try:
        boot: WorkerConfig = pipe.recv()
    except (EOFError, OSError):
        return 0  # the supervisor ended while we began
    _core.set_malloc_trim(bounds.FREED_BYTES)
    loop = uvloop.new_event_loop()
    try:
        worker = Worker(loop, pipe, boot)
        loop.run_until_complete(worker.serve())
    except StorageError as error:  # it was sound when the server started: the supervisor tries again
        log.open_log(boot.settings.logging, fall_back=True).event("error", "storage-lost", error=str(error))
        return 1
    finally:
        loop.close()
    return 0


def descriptors() -> int:
    """Raise the limit of open files as far as allowed, and give it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connection_limit(wanted: int) -> int:
    """Return how many connections there may be, of those `wanted` (0: as many as can be)."""
    most = descriptors()
    fit = max((most - RESERVED_FILES - bounds.files(most)) // FILES_PER_CONNECTION, 1)
    return min(wanted, fit) if wanted else fit


class Worker:
    """A worker's life: open, serve, drain, close."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pipe: Pipe, boot: WorkerConfig) -> None:
        """Open the store and take over counters and sockets. Raises StorageError."""
        self._loop = loop
        self._pipe = pipe
        self._boot = boot
        self._settings = boot.settings
        counters = metrics.attach(boot.counters)
        self._rows = [metrics.CounterRow(counters, slot) for slot in range(metrics.slots_in(counters))]
        self._row = self._rows[boot.slot]
        self._row.reset_gauges()
        self._row.add(catalogue.WORKER_STARTS)
        self._log = log.open_log(boot.settings.logging, fall_back=True)
        self._next_denial = 0.0
        self._denials = 0  # files since the last line
        self._store = Store.open(
            boot.settings.server.storage_path,
            rules(boot.settings),
            tell=self._on_breaker,
            barred=self._on_barred,
            denied=self._on_denied,
        )
        self._ended = loop.create_future()
        self._sockets = [socket.socket(fileno=fd) for fd in boot.listeners]
        self._servers: list[tuple[asyncio.Server, socket.socket]] = []
        self._accepting = True
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped = 0
        self._lookalikes = lookalikes(boot.settings)
        self._next_tick = 0.0
        self._next_sweep = 0.0
        self._next_look = 0.0
        self._next_sharing = 0.0
        self._next_ranking = 0.0
        share = memory_share(boot.settings, len(self._rows))
        memory_lent = _core.Slab(share.slab)
        slab = memoryview(memory_lent)
        self._hot = _hot.Hot(
            slab,
            self._row.cells,
            admission.columns(),
            run_id=os.urandom(4).hex().encode(),
            keep=self._log.take,
            root=self._store.root_fd,
            open_flags=READING,
            body_bytes=bounds.BODY_BYTES,
            limit_bytes=bounds.LIMIT_BYTES,
            limit_files=bounds.files(descriptors()),
            span_bytes=bounds.SPAN_BYTES,
            good_for_s=bounds.GOOD_FOR_S,
            most_age_s=replies.YEAR_S,
        )
        connections: set[HttpProtocol] = set()
        lent = transfer.Slabs(share, functools.partial(self._row.add, catalogue.LENT_BYTES))
        self._disk_threads = transfer.DiskThreads(loop, lent)
        self._tuner = transfer.BufferTuner(
            self._row,
            share.classes,
            initial=boot.settings.performance.initial_buffer_size,
            first_tried=boot.slot,
        )
        self._scheduler = transfer.Scheduler(
            loop, connections, slab=memory_lent, disk_threads=self._disk_threads, tuner=self._tuner
        )
        self._optimiser: transfer.Optimiser | None = None
        if boot.slot == 0:
            known = self._store.load_state(BUFFERS)
            self._optimiser = transfer.Optimiser(self._rows, self._row, share.classes, known)
        self._clients = ClientProfiles(
            boot.settings,
            ProfileDatabase(boot.settings.server.storage_path, clients.MOST),
            self._row,
            journal=self._log,
        )
        self._peers = Peers(loop, boot.slot, boot.fds)
        self._underway = ActiveUploads(self._peers)
        trusted = Trusted(boot.settings.server.trusted_proxies)
        self._service = WorkerContext(
            loop=loop,
            epoll_reader=_front.EpollReader(self._hot, buffers.HEAD_BYTES),
            scheduler=self._scheduler,
            connections=connections,
            app=App(boot.settings, self._store, self._row, underway=self._underway),
            log=self._log,
            row=self._row,
            hot=self._hot,
            memory=admission.Admission(self._hot, self._log),
            slab=slab,
            head_limits=head_limits(boot.settings),
            timeouts=boot.settings.timeouts,
            bodytimeout_s=boot.settings.uploads.bodytimeout_s,
            max_pipelined=boot.settings.server.max_pipelined,
            max_connections=connection_limit(boot.settings.server.max_connections),
            tls=tls_context(boot.settings),
            trusted=trusted,
            client_resolver=ClientResolver(trusted),
            clients=self._clients,
        )
        self._acceptor = Acceptor(self._service, proxied=boot.settings.server.proxy_protocol)
        self._set_up_hot()
        self._tell_inodes()

    def _set_up_hot(self) -> None:
        service = self._service
        self._hot.configure(
            leads=self._log.line_template(),
            most_fields=service.head_limits.fields,
            most_bytes=service.head_limits.head_bytes,
            most_requests=service.max_pipelined,
            any_origin=service.app.any_origin,
            ranges=service.app.ranges,
            idle_s=service.timeouts.idletimeout_s,
        )

    async def serve(self) -> None:
        """Accept connections until drained."""
        self._loop.set_exception_handler(self._on_fault)
        if self._boot.slot == 0:
            self._start(self._reconcile())
        self._next_tick = self._next_sweep = self._loop.time()
        self._next_ranking = self._next_tick + self._settings.performance.buffer_optimization_interval_s
        self._tick()  # before the first client comes: it sets the date
        for sock in self._sockets:
            sock.setblocking(False)
            tls = sock.fileno() in self._boot.tls_listeners
            if tls or self._boot.settings.server.proxy_protocol:
                self._acceptor.listen(sock, tls=tls)
            else:
                self._servers.append((await self._listen(sock), sock))
        self._loop.add_signal_handler(signal.SIGTERM, self._drain, self._settings.timeouts.shutdown_s)
        self._loop.add_signal_handler(REOPEN, self._log.reopen)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {REOPEN})
        self._loop.add_reader(self._service.epoll_reader.fileno(), self._service.epoll_reader.poll)
        self._loop.add_reader(self._pipe.fileno(), self._hear)
        self._peers.listen(self._underway)
        self._pipe.send(Ready(self._boot.version))
        try:
            await self._ended
        finally:
            await self._close()

    def _connect(self) -> HttpProtocol:
        return HttpProtocol(self._service)

    async def _listen(self, sock: socket.socket) -> asyncio.Server:
        """Accept from a duplicate of `sock`: the loop closes what it is given."""
        if sock.family == socket.AF_UNIX:
            # As of Python 3.13 uvloop would remove the name, which is the supervisor's or systemd's.
            keep_name: dict[str, Any] = {"cleanup_socket": False}
            return await self._loop.create_unix_server(
                self._connect, sock=sock.dup(), backlog=BACKLOG, **keep_name
            )
        return await self._loop.create_server(self._connect, sock=sock.dup(), backlog=BACKLOG)

    def _hear(self) -> None:
        """Do what the supervisor says."""
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            # The supervisor is gone and nobody would replace or stop us.
            self._loop.remove_reader(self._pipe.fileno())
            self._drain(self._settings.timeouts.shutdown_s)
            return
        if isinstance(message, Reload):
            self._reload(message.settings)
            self._pipe.send(Ready(message.version))
        elif isinstance(message, Drain):
            self._drain(message.seconds)

    def _reload(self, settings: Settings) -> None:
        """Serve `settings` from the next request on; requests in flight keep what they began with."""
        self._settings = settings
        self._lookalikes = lookalikes(settings)
        self._store.reconfigure(rules(settings))
        self._log.reconfigure(settings.logging)
        self._log.reopen()  # SIGHUP is also how a rotated log is let go
        service = self._service
        service.app = App(settings, self._store, self._row, underway=self._underway)
        service.timeouts = settings.timeouts
        service.bodytimeout_s = settings.uploads.bodytimeout_s
        service.head_limits = head_limits(settings)
        service.max_pipelined = settings.server.max_pipelined
        service.max_connections = connection_limit(settings.server.max_connections)
        service.tls = tls_context(settings)
        service.trusted = Trusted(settings.server.trusted_proxies)
        service.client_resolver = ClientResolver(service.trusted)
        self._clients.reconfigure(settings)
        self._set_up_hot()

    def _drain(self, seconds: float) -> None:
        if self._service.draining:
            return
        self._service.draining = True
        self._hot.forget()  # every answer from now on says that it is the connection's last
        self._start(self._stop_accepting())
        self._loop.call_later(seconds, self._give_up)

    async def _stop_accepting(self) -> None:
        """Accept what the kernel has queued, since closing would reset it, and no more."""
        for server, sock in self._servers:
            server.close()
            while (client := _accept(sock)) is not None:
                await self._loop.connect_accepted_socket(self._connect, client)
        self._acceptor.drain()
        for sock in self._sockets:
            sock.close()
        self._accepting = False
        for connection in list(self._service.connections):
            connection.drain()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        busy = self._accepting or self._acceptor.busy or self._service.connections
        if not (busy or self._ended.done()):
            self._ended.set_result(None)

    def _give_up(self) -> None:
        self._acceptor.abandon()
        for connection in list(self._service.connections):
            connection.abandon()
        self._loop.call_later(TICK_S, self._give_up)  # for those who had to be told

    def _tick(self) -> None:
        """Look after everything that is due; the only timer of the worker."""
        # First, so that no fault below can stop the clock.
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        now = self._loop.time()
        service = self._service
        self._row.observe(catalogue.LOOP_LAG, max(now - self._next_tick, 0.0))
        self._row.set(catalogue.HEARTBEAT_MS, int(now * 1000))
        service.date = formatdate(time.time(), usegmt=True).encode()
        self._hot.tick(service.date)
        self._scheduler.wake_stalled()
        self._hot.flush()
        if any(one.matched for one in self._lookalikes):
            self._tell_of_lookalikes()
        self._expire([connection for connection in service.connections if connection.deadline <= now])
        self._log.flush()
        for dependency, column in catalogue.BREAKER_OPEN.items():
            self._row.set(column, int(self._store.refuses(dependency)))
        self._tuner.learn(self._rows[0].read(catalogue.OPTIMAL_BUFFER))
        self._row.add(catalogue.LOG_DROPPED_LINES, self._log.dropped - self._dropped)
        self._dropped = self._log.dropped
        if service.draining:
            self._end_if_idle()
        elif self._boot.slot == 0 and now >= self._next_sweep:
            self._next_sweep = now + self._settings.server.sweep_interval_s
            self._start(self._sweep())
        if now >= self._next_look:
            self._next_look = math.inf
            self._start(self._attend())
        if now >= self._next_sharing:
            self._next_sharing = now + clients.SHARE_S
            self._start(self._clients.synchronize())
        if self._optimiser is not None and now >= self._next_ranking:
            self._next_ranking = now + self._settings.performance.buffer_optimization_interval_s
            if (known := self._optimiser.rank()) is not None:
                self._start(self._store.save_state(BUFFERS, known))
        self._next_tick = now + TICK_S

    def _tell_of_lookalikes(self) -> None:
        """Log which secrets have invisible ends that those who sign do not have."""
        for one in self._lookalikes:
            if one.matched:
                self._log.event("warn", "secret-lookalike", key=one.where, ends=one.words)
        self._lookalikes = [one for one in self._lookalikes if not one.matched]

    def _expire(self, due: list[HttpProtocol]) -> None:
        """See to connections whose time is over; many of them in pieces, for others come first."""
        now = self._loop.time()
        for connection in due[:EXPIRED_PER_TURN]:
            if connection.deadline <= now:
                connection.expire(now)
        if rest := due[EXPIRED_PER_TURN:]:
            self._loop.call_soon(self._expire, rest)

    async def _attend(self) -> None:
        try:
            await self._store.attend()
        finally:
            self._next_look = self._loop.time() + (BARRED_S if self._store.fault else ATTEND_S)
        self._tell_inodes()

    def _tell_inodes(self) -> None:
        """Let the supervisor know which files of the index are open."""
        for column, inode in zip(catalogue.INDEX_INODES, self._store.inodes() or (0, 0, 0), strict=True):
            self._row.set(column, inode)

    async def _sweep(self) -> None:
        swept = await self._store.sweep()
        if swept is not None and swept.removed:
            self._row.add(catalogue.EXPIRED_FILES, swept.removed)
            self._log.event("info", "sweep-done", removed=swept.removed)
        if dropped := await self._store.sweep_sessions():
            self._row.add(catalogue.EXPIRED_UPLOADS, dropped)
            self._log.event("info", "uploads-dropped", dropped=dropped)

    async def _reconcile(self) -> None:
        done = await self._store.reconcile()
        if done is not None:
            self._log.event("info", "reconcile-done", added=done.added, dropped=done.dropped)
            if done.unserved:
                names = " ".join(done.unserved_names)
                self._log.event("warn", "files-unserved", count=done.unserved, names=names)

    def _start(self, job: Coroutine[None, None, None]) -> None:
        """Run `job` beside the connections; the loop itself keeps only weak references to tasks."""
        if self._closing:  # what it would work on is closed, or about to be
            job.close()
            return
        task = self._loop.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.event("error", "background-failed", error=repr(error))

    def _on_breaker(self, dependency: Dependency, opened: bool, why: str) -> None:  # noqa: FBT001 - as told
        if opened:
            self._row.add(catalogue.BREAKER_OPENED[dependency])
            self._log.event("error", "breaker-opened", dependency=dependency.value, error=why)
        else:
            self._log.event("info", "breaker-closed", dependency=dependency.value)

    def _on_barred(self, words: str) -> None:
        self._row.set(catalogue.UPLOADS_BARRED, int(bool(words)))
        self._pipe.send(Barred(words))
        if words:
            self._log.event("error", "uploads-barred", error=words)
            return
        self._log.event("info", "uploads-resumed")
        self._hot.forget()  # types and expiry times may not have been known
        if self._boot.slot == 0:
            self._start(self._reconcile())

    def _on_denied(self, key: str, why: str) -> None:
        self._row.add(catalogue.DENIED_FILES)
        now = self._loop.time()
        if now < self._next_denial:
            self._denials += 1
            return
        path = f"{self._settings.server.storage_path}/{key}"
        self._log.event("warn", "file-denied", path=path, error=why, more=self._denials)
        self._next_denial, self._denials = now + DENIAL_S, 0

    def _on_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an exception of a callback: one that escapes a connection has ended that connection."""
        error = context.get("exception")
        self._log.event("error", "background-failed", error=repr(error) if error else context["message"])

    async def _close(self) -> None:
        self._ticking.cancel()  # it would begin work on what is closed
        self._closing = True
        for task in self._tasks:
            task.cancel()
        # Answers whose client is gone: their bodies have ended, but a commit may be under way.
        tasks = [task.ended() for task in self._service.tasks]
        await asyncio.gather(*self._tasks, *tasks, return_exceptions=True)
        self._peers.close()
        await self._clients.close()
        await self._disk_threads.close()
        self._scheduler.close()
        self._loop.remove_reader(self._service.epoll_reader.fileno())
        self._store.close()
        self._hot.flush()
        self._log.flush()


def _accept(sock: socket.socket) -> socket.socket | None:
    """Return the next connection queued on `sock`, None if there is none to be had."""
    while True:
        try:
            return sock.accept()[0]
        except ConnectionAbortedError:
            continue
        except OSError:  # an empty queue, usually
            return None


def lookalikes(settings: Settings) -> list[Lookalike]:
    """Return what the secrets with invisible ends may have been meant to be."""
    keys = [key for endpoint in settings.endpoints for key in (*endpoint.secrets, endpoint.delete_secret)]
    return list(dict.fromkeys(key.lookalike for key in keys if key is not None and key.lookalike is not None))


def rules(settings: Settings) -> Rules:
    """Return what of the settings the store goes by."""
    server = settings.server
    return Rules(
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
