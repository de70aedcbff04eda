"""The parent process: opens the sockets, keeps the workers alive, answers operators, obeys signals.

SIGTERM, SIGINT and SIGQUIT drain and end, a second one ends at once; SIGHUP reloads, SIGUSR1 opens the log
anew. Other signals that would end it are ignored. It serves no client.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Final

import uvloop

from hmacfs import config, listeners, log, metrics, store, systemd, worker
from hmacfs.metrics import admin
from hmacfs.model import Dependency
from hmacfs.supervisor.spawning import held_back, spawn
from hmacfs.supervisor.worker_pool import STUCK_S, WorkerPool, slots_for

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hmacfs.config import Loaded, Notice
    from hmacfs.supervisor.spawning import Spawn

TICK_S: Final = 1.0
# Workers are told the full time; what is added here is for them to let go of their files.
GRACE_S: Final = 2.0
HEARD: Final = frozenset({signal.SIGQUIT, signal.SIGHUP, worker.REOPEN})


def run(loaded: Loaded, reread: Callable[[], Loaded] | None, *, stuck_s: float = STUCK_S) -> int:
    """Serve `loaded` until told to stop; give the exit status.

    `reread` gives the configuration anew at SIGHUP and raises `config.Faulty` if it is no good; None if
    there is no file. A worker that does not move for `stuck_s` is replaced. Raises StorageError,
    ListenError or StartError if the service cannot begin.
    """
    for number in worker.IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # What comes before it can be heard waits; SIGTERM and SIGINT end a start that takes long.
    with held_back(HEARD):
        # Once here, so that a storage that cannot work is one clear message and no crash loop.
        settings = loaded.settings
        store.Store.open(settings.server.storage_path, store.Rules.of(settings)).close()
        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(Supervisor(loop, loaded, reread, stuck_s=stuck_s).serve())
        finally:
            loop.close()


class StartError(Exception):
    """The service cannot begin; the words are for the operator."""


class Supervisor:
    """The parent's life: start, watch, reload, end."""

    def __init__(  # noqa: PLR0913 - what tests stand in for
        self,
        loop: asyncio.AbstractEventLoop,
        loaded: Loaded,
        reread: Callable[[], Loaded] | None,
        *,
        stuck_s: float,
        spawn: Spawn = spawn,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the log, the sockets and the counters. Raises StartError or ListenError."""
        self._loop = loop
        self._settings = settings = loaded.settings
        self._reread = reread
        self._monotonic = monotonic
        try:
            self._log = log.open_log(settings.logging)
        except OSError as error:
            path = settings.logging.file
            words = f"cannot open the log file {path} ([logging] file): {error.strerror or error}"
            raise StartError(words) from error
        self._tell(loaded.notices)
        self._notifier = systemd.Notifier(os.environ)
        slots = slots_for(settings.server.workers)
        try:
            inherited = systemd.listen_fds(os.environ, os.getpid())
            interval_s = systemd.watchdog_interval_s(os.environ, os.getpid())
        except (ValueError, OSError) as error:
            raise listeners.ListenError(f"what the service manager passed is no good: {error}") from error
        self._listeners = listeners.open_all(settings, slots, inherited)
        counters = metrics.create(slots)
        self._pool = WorkerPool(
            loop,
            self._log,
            settings,
            slots=slots,
            listeners=self._listeners,
            counters=counters,
            stuck_s=stuck_s,
            spawn=spawn,
            changed=self._on_change,
        )
        self._collector = metrics.Collector(
            metrics.attach(counters),
            slots,
            workers=lambda: self._pool.alive,
            disk_free_bytes=lambda: shutil.disk_usage(settings.server.storage_path).free,
            disk_size_bytes=lambda: shutil.disk_usage(settings.server.storage_path).total,
        )
        self._health = store.Health(settings.server.storage_path, store.Rules.of(settings).directories)
        self._ended: asyncio.Future[int] = loop.create_future()
        self._operators: admin.AdminServer | None = None
        self._announced = False
        self._reloading = False
        self._stopping = False
        # sd_watchdog_enabled(3): at half of the interval.
        self._watchdog_s = None if interval_s is None else interval_s / 2

    async def serve(self) -> int:
        """Run until a signal ends it; give the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._loop.add_signal_handler(number, self._stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._loop.add_signal_handler(worker.REOPEN, self._reopen_logs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        try:
            self._operators = self._open_admin()
            self._pool.start()
            self._tick()
            return await self._ended
        except listeners.ListenError:
            listeners.close_all(self._listeners)
            raise
        finally:
            if self._operators is not None:
                self._operators.stop()
            self._pool.close()
            self._log.flush()

    def _open_admin(self) -> admin.AdminServer | None:
        address = self._settings.metrics.listen_address
        if not address:
            return None
        app = admin.application(metrics.registry(self._collector), live=lambda: True, ready=self._checks)
        try:
            return admin.listen(address, app)
        except OSError as error:
            raise listeners.ListenError(
                f"cannot listen on {address} for [metrics]: {error.strerror or error}"
            ) from error

    def _tell(self, notices: tuple[Notice, ...]) -> None:
        """Log what is worth knowing of a configuration without a fault."""
        for notice in notices:
            self._log.event("info", "config-notice", notice=str(notice))

    def _checks(self) -> list[admin.ReadinessCheck]:
        """Say what must hold to be ready; asked on the operators' threads."""
        checks = [
            store.HealthCheck("draining", "shutting down" if self._stopping else "", downloads=True),
            store.HealthCheck("workers", self._workers_fault(), downloads=True),
            *(self._breaker_check(dependency) for dependency in Dependency),
            store.HealthCheck("uploads_barred", self._barred_fault()),
            *self._health.check(store.Rules.of(self._settings), self._pool.index_inodes()),
        ]
        serving = f"{self._pool.serving} of {self._pool.slots} workers serve"
        return [
            *(
                admin.ReadinessCheck(name, not fault, fault or (serving if name == "workers" else ""))
                for name, fault, _ in checks
            ),
            _summary("uploads", checks),
            _summary("downloads", [check for check in checks if check.downloads]),
        ]

    def _workers_fault(self) -> str:
        pool = self._pool
        if silent := pool.silent(self._monotonic()):
            return f"{silent} of {pool.slots} workers do not answer"
        if pool.serving == pool.slots:
            return ""
        what = " the new configuration" if self._reloading else ""
        return f"{pool.serving} of {pool.slots} workers serve{what} yet"

    def _barred_fault(self) -> str:
        barred = self._pool.barred
        return f"{len(barred)} of {self._pool.slots} workers refuse uploads: {barred[0]}" if barred else ""

    def _breaker_check(self, dependency: Dependency) -> store.HealthCheck:
        refusing = self._pool.refusing(dependency)
        words = f"{refusing} of {self._pool.slots} workers put uploads off, since it keeps failing"
        return store.HealthCheck(dependency.value, words if refusing else "")

    def _on_change(self) -> None:
        """Announce what a change among the workers amounts to."""
        if self._stopping:
            if self._pool.alive == 0 and not self._ended.done():
                self._log.event("info", "serve-stopped")
                self._ended.set_result(0)
        elif self._pool.all_ready:
            if not self._announced:
                self._announced = True
                self._log.event(
                    "info",
                    "serve-ready",
                    listening=" ".join(listener.name for listener in self._listeners),
                    operators=self._operators.name if self._operators else "",
                    workers=self._pool.alive,
                    pid=os.getpid(),
                )
                self._notifier.ready(f"{self._pool.alive} workers")
            if self._reloading:
                self._reloading = False
                self._log.event("info", "reload-done")
                self._notifier.ready("reloaded")
        self._log.flush()

    def _reload(self) -> None:
        """Check the configuration anew; serve it, or keep the old one and say why."""
        if self._stopping:
            return
        self._notifier.reloading(time.monotonic_ns() // 1000)
        self._log.reopen()
        try:
            fresh = self._settings
            if self._reread is not None:
                loaded = self._reread()
                fresh = loaded.settings
                self._tell(loaded.notices)
        except config.Faulty as faulty:
            for fault in faulty.faults:
                self._log.event("error", "reload-refused", fault=str(fault))
            self._notifier.ready("the new configuration was refused")
            self._log.flush()
            return
        for key in config.restart_needed(self._settings, fresh):
            self._log.event("warn", "restart-needed", key=key)
        self._settings = config.applicable(self._settings, fresh)
        self._log.reconfigure(self._settings.logging)
        self._reloading = True
        self._health.hold(store.Rules.of(self._settings).directories)
        self._pool.reload(self._settings)
        self._log.flush()

    def _reopen_logs(self) -> None:
        """Let go of a log file that was moved away, here and in every worker."""
        self._log.reopen()
        self._pool.reopen_logs()
        self._log.event("info", "log-reopened")
        self._log.flush()

    def _stop(self) -> None:
        """Drain; at the second signal, end."""
        if self._stopping:
            self._pool.kill()
            if not self._ended.done():
                self._ended.set_result(1)
            return
        self._stopping = True
        self._notifier.stopping()
        seconds = self._settings.timeouts.shutdown_s
        self._log.event("info", "serve-stopping", patience_s=seconds)
        self._log.flush()
        # First ours, then the workers' copies once they have accepted what is queued: what closes
        # last resets what has come since.
        listeners.close_all(self._listeners)
        self._pool.drain(seconds)
        self._loop.call_later(seconds + GRACE_S, self._pool.kill)
        self._on_change()

    def _tick(self) -> None:
        # First, so that no fault below can stop the clock.
        self._loop.call_later(min(TICK_S, self._watchdog_s or TICK_S), self._tick)
        now = self._loop.time()
        if not self._stopping:
            self._pool.kill_stuck(now)
        if self._watchdog_s is not None:
            self._notifier.watchdog()
        self._log.flush()


def _summary(name: str, checks: list[store.HealthCheck]) -> admin.ReadinessCheck:
    """Say whether all of these are well, or which are not."""
    faulty = [check.name for check in checks if check.fault]
    return admin.ReadinessCheck(name, not faulty, ", ".join(faulty))
