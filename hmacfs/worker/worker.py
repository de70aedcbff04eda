"""The life cycle of a worker: open, serve, reload, drain, close; and the tick that looks after the rest.

It owns one row of counters and one store. Everything it needs comes as a `WorkerConfig`; afterwards it hears
`Reload` and `Drain`. If the supervisor vanishes, it drains and ends.
"""

from __future__ import annotations

import signal
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from hmacfs.connection import clients
from hmacfs.metrics import catalogue
from hmacfs.store import Rules
from hmacfs.worker import build, deadlines
from hmacfs.worker.background import BackgroundTasks
from hmacfs.worker.messages import Drain, Ready, Reload
from hmacfs.worker.periodic import PeriodicJob, PeriodicJobs
from hmacfs.worker.signals import REOPEN
from hmacfs.worker.upkeep import Upkeep

if TYPE_CHECKING:
    import asyncio

    from hmacfs import transfer
    from hmacfs.config.settings import Settings
    from hmacfs.model import Lookalike
    from hmacfs.worker.build import WorkerParts
    from hmacfs.worker.messages import WorkerConfig
    from hmacfs.worker.supervisor_pipe import SupervisorPipe

# Deadlines, the Date field, the log and the heartbeat are looked after this often. A tick over
# 10,000 connections takes about a millisecond.
TICK_S: Final = 0.25


class Worker:
    """A worker, from its first tick to its last."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: SupervisorPipe,
        boot: WorkerConfig,
        parts: WorkerParts,
    ) -> None:
        """Own `parts`; serve nothing yet."""
        self._loop = loop
        self._pipe = pipe
        self._boot = boot
        self._parts = parts
        self._settings = boot.settings
        self._context = parts.context
        self._log = parts.log
        self._row = parts.row
        self._first = boot.slot == 0  # it does what is to be done once for all workers
        self._tasks = BackgroundTasks(loop, parts.log)
        self._upkeep = Upkeep(parts.store, parts.row, parts.log)
        self._ended = loop.create_future()
        self._giving_up: asyncio.TimerHandle | None = None
        self._dropped = 0  # lines of the log, as far as they are counted
        self._next_tick = 0.0
        self._lookalikes = lookalikes(boot.settings)
        parts.events.resumed = self._on_resumed
        self._upkeep.show_inodes()

    async def serve(self) -> None:
        """Accept connections until drained."""
        loop, context = self._loop, self._context
        loop.set_exception_handler(self._on_fault)
        if self._first:
            self._tasks.start(self._upkeep.reconcile())
        self._periodic = PeriodicJobs(loop, self._tasks, self._jobs())
        self._next_tick = loop.time()
        self._tick()  # before the first client comes: it sets the date
        await self._parts.sockets.open()
        loop.add_signal_handler(signal.SIGTERM, self._drain, self._settings.timeouts.shutdown_s)
        loop.add_signal_handler(REOPEN, self._log.reopen)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {REOPEN})
        loop.add_reader(context.epoll_reader.fileno(), context.epoll_reader.poll)
        loop.add_reader(self._pipe.fileno(), self._on_message)
        self._parts.peers.listen(self._parts.underway)
        self._pipe.send(Ready(self._boot.version))
        try:
            await self._ended
        finally:
            await self._close()

    async def _close(self) -> None:
        # They would begin work on what is closed.
        self._ticking.cancel()
        if self._giving_up is not None:
            self._giving_up.cancel()
        # Answers whose client is gone: their bodies have ended, but a commit may be under way.
        await self._tasks.close([task.ended() for task in self._context.tasks])
        self._parts.peers.close()
        await self._context.clients.close()
        await self._parts.disk_threads.close()
        self._context.scheduler.close()
        self._loop.remove_reader(self._context.epoll_reader.fileno())
        self._parts.store.close()
        self._context.hot.flush()
        self._log.flush()

    def _jobs(self) -> list[PeriodicJob]:
        """Return what is done from time to time; some of it by the first worker for all."""
        upkeep = self._upkeep
        jobs = []
        if self._first:
            jobs.append(
                PeriodicJob(
                    name="sweep",
                    interval_s=lambda: self._settings.server.sweep_interval_s,
                    job=upkeep.sweep,
                    while_draining=False,
                )
            )
        jobs += [
            PeriodicJob(name="attend", interval_s=upkeep.attend_interval_s, job=upkeep.attend),
            PeriodicJob(
                name="share-profiles",
                interval_s=lambda: clients.SHARE_S,
                job=self._context.clients.synchronize,
            ),
        ]
        if (optimiser := self._parts.optimiser) is not None:
            jobs.append(
                PeriodicJob(
                    name="rank-buffers",
                    interval_s=lambda: self._settings.performance.buffer_optimization_interval_s,
                    job=lambda: self._rank(optimiser),
                    first_s=self._settings.performance.buffer_optimization_interval_s,
                )
            )
        return jobs

    async def _rank(self, optimiser: transfer.Optimiser) -> None:
        if (known := optimiser.rank()) is not None:
            await self._parts.store.save_state(build.BUFFERS, known)

    def _tick(self) -> None:
        """Look after everything that is due; the only timer of the worker."""
        # First, so that no fault below can stop the clock.
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        now = self._loop.time()
        context = self._context
        self._row.observe(catalogue.LOOP_LAG, max(now - self._next_tick, 0.0))
        self._row.set(catalogue.HEARTBEAT_MS, int(now * 1000))
        context.date = formatdate(time.time(), usegmt=True).encode()
        context.hot.tick(context.date)
        context.scheduler.wake_stalled()
        context.hot.flush()
        self._tell_of_lookalikes()
        deadlines.expire(self._loop, context.connections)
        self._log.flush()
        self._show()
        if context.draining:
            self._end_if_idle()
        self._periodic.run_due(now, draining=context.draining)
        self._next_tick = now + TICK_S

    def _show(self) -> None:
        """Show other processes how this one is, and take up what the first one has found."""
        for dependency, column in catalogue.BREAKER_OPEN.items():
            self._row.set(column, int(self._parts.store.refuses(dependency)))
        self._context.scheduler.tuner.learn(self._parts.first_row.read(catalogue.OPTIMAL_BUFFER))
        self._row.add(catalogue.LOG_DROPPED_LINES, self._log.dropped - self._dropped)
        self._dropped = self._log.dropped

    def _tell_of_lookalikes(self) -> None:
        """Log which secrets have invisible ends that those who sign do not have."""
        if not any(one.matched for one in self._lookalikes):
            return
        for one in self._lookalikes:
            if one.matched:
                self._log.event("warn", "secret-lookalike", key=one.where, ends=one.words)
        self._lookalikes = [one for one in self._lookalikes if not one.matched]

    def _on_message(self) -> None:
        """Do what the supervisor says."""
        message = self._pipe.receive()
        if isinstance(message, Reload):
            self._reload(message.settings)
            self._pipe.send(Ready(message.version))
        elif isinstance(message, Drain):
            self._drain(message.seconds)
        elif message is None:
            # The supervisor is gone, and nothing would replace or stop this worker.
            self._loop.remove_reader(self._pipe.fileno())
            self._drain(self._settings.timeouts.shutdown_s)

    def _reload(self, settings: Settings) -> None:
        """Serve `settings` from the next request on; requests in flight keep what they began with."""
        parts, context = self._parts, self._context
        self._settings = settings
        self._lookalikes = lookalikes(settings)
        parts.store.reconfigure(Rules.of(settings))
        self._log.reconfigure(settings.logging)
        self._log.reopen()  # SIGHUP is also how a rotated log is let go
        for name, value in build.served(settings, parts.store, parts.row, parts.underway).items():
            setattr(context, name, value)
        context.clients.reconfigure(settings)
        build.configure_hot(context)

    def _drain(self, seconds: float) -> None:
        if self._context.draining:
            return
        self._context.draining = True
        self._context.hot.forget()  # every answer from now on says that it is the connection's last
        self._tasks.start(self._stop_accepting())
        self._giving_up = self._loop.call_later(seconds, self._give_up)

    async def _stop_accepting(self) -> None:
        await self._parts.sockets.drain()
        for connection in list(self._context.connections):
            connection.drain()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        busy = self._parts.sockets.accepting or self._parts.acceptor.busy or self._context.connections
        if not (busy or self._ended.done()):
            self._ended.set_result(None)

    def _give_up(self) -> None:
        self._parts.acceptor.abandon()
        for connection in list(self._context.connections):
            connection.abandon()
        self._giving_up = self._loop.call_later(TICK_S, self._give_up)  # for those who had to be told

    def _on_resumed(self) -> None:
        self._context.hot.forget()  # types and expiry times may not have been known
        if self._first:
            self._tasks.start(self._upkeep.reconcile())

    def _on_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an exception of a callback: one that escapes a connection has ended that connection."""
        error = context.get("exception")
        self._log.event("error", "background-failed", error=repr(error) if error else context["message"])


def lookalikes(settings: Settings) -> list[Lookalike]:
    """Return what the secrets with invisible ends may have been meant to be."""
    keys = [key for endpoint in settings.endpoints for key in (*endpoint.secrets, endpoint.delete_secret)]
    return list(dict.fromkeys(key.lookalike for key in keys if key is not None and key.lookalike is not None))
