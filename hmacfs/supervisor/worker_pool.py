"""The workers: started in fixed slots, watched, replaced with back-off when they die."""

from __future__ import annotations

import contextlib
import socket
from multiprocessing.connection import Connection as Pipe
from typing import TYPE_CHECKING, Final

from hmacfs import ipc, metrics, worker
from hmacfs.metrics import catalogue
from hmacfs.supervisor import cores

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from hmacfs.config.settings import Settings
    from hmacfs.listeners import Listener
    from hmacfs.log import Log
    from hmacfs.model import Dependency
    from hmacfs.supervisor.spawning import Spawn, WorkerProcess

# A worker that lived this long did not die of its start: the next one is started at once.
HEALTHY_S: Final = 10.0
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 30.0
# A worker whose loop has not turned for so long leaves its clients waiting: the server is not ready.
SILENT_S: Final = 3.0
# How often a worker that has hung up is looked at until it has ended.
REAP_POLL_S: Final = 0.01
# A worker whose loop has not turned for so long answers nobody and never will.
STUCK_S: Final = 60.0
# Its start may take so many times longer: a worker that recovers a long log of the index from a slow disk
# would begin anew for ever if it were killed meanwhile.
START_TIMES: Final = 3


class WorkerSlot:
    """One slot and the process that fills it now."""

    def __init__(self, slot: int) -> None:
        """Begin without a process in `slot`."""
        self.slot = slot
        self.process: WorkerProcess | None = None
        self.pipe: Pipe | None = None
        self.told = 0  # version of the settings that it was given last
        self.serves = 0  # version that it said it serves; 0 before it said anything
        self.started = 0.0
        self.delay_s = 0.0
        self.barred = ""  # why it refuses uploads

    @property
    def alive(self) -> bool:
        """Whether a process fills the slot."""
        return self.process is not None


class WorkerPool:
    """All workers; tells its owner when their number or readiness changes."""

    def __init__(  # noqa: PLR0913 - what a worker needs
        self,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        settings: Settings,
        *,
        slots: int,
        listeners: Sequence[Listener],
        counters: int,
        stuck_s: float,
        spawn: Spawn,
        changed: Callable[[], None],
    ) -> None:
        """Make `slots` empty slots; `counters` is the descriptor of the shared rows."""
        self._loop = loop
        self._log = log
        self._settings = settings
        self._version = 1
        self._stuck_s = stuck_s
        self._spawn_process = spawn
        self._listeners = listeners
        self._counters = counters
        self._buffer = metrics.attach(counters)
        self._boxes = ipc.Channels(slots)
        self._changed = changed
        self._ending = False
        self._members = [WorkerSlot(slot) for slot in range(slots)]

    @property
    def alive(self) -> int:
        """How many workers run."""
        return sum(member.alive for member in self._members)

    @property
    def all_ready(self) -> bool:
        """Whether every slot is filled and has said that it serves the current settings."""
        return all(member.serves == self._version for member in self._members)

    def refusing(self, dependency: Dependency) -> int:
        """Return how many workers refuse uploads, because `dependency` keeps failing."""
        column = catalogue.BREAKER_OPEN[dependency]
        return sum(metrics.CounterRow(self._buffer, member.slot).read(column) for member in self._members)

    @property
    def serving(self) -> int:
        """How many workers serve the current settings."""
        return sum(member.serves == self._version for member in self._members)

    @property
    def barred(self) -> list[str]:
        """Why uploads are refused, by each worker that does so; for any thread."""
        return [member.barred for member in self._members if member.barred]

    def silent(self, now_s: float) -> int:
        """Return how many of the workers that serve have missed their heartbeats at `now_s`; any thread."""
        return sum(
            bool(member.serves) and now_s - self._beat_s(member) > SILENT_S for member in self._members
        )

    def index_inodes(self) -> list[tuple[int, ...]]:
        """Return the inodes of the index's files that each worker has open; zeros where it has none."""
        rows = (metrics.CounterRow(self._buffer, member.slot) for member in self._members if member.serves)
        return [tuple(row.read(column) for column in catalogue.INDEX_INODES) for row in rows]

    def _beat_s(self, member: WorkerSlot) -> float:
        beat_ms = metrics.CounterRow(self._buffer, member.slot).read(catalogue.HEARTBEAT_MS)
        return max(beat_ms / 1000, member.started)

    @property
    def slots(self) -> int:
        """How many workers there should be."""
        return len(self._members)

    def start(self) -> None:
        """Fill every slot."""
        for member in self._members:
            self._spawn(member)

    def reload(self, settings: Settings) -> None:
        """Have every worker serve `settings`; those that start later do so too."""
        self._settings = settings
        self._version += 1
        for member in self._members:
            self._renew(member)

    def _renew(self, member: WorkerSlot) -> None:
        """Tell a worker the newest settings, once it has answered to those before.

        So a worker that does not listen cannot fill its pipe and make the supervisor wait for it.
        """
        if member.alive and member.serves == member.told != self._version:
            member.told = self._version
            self._send(member, worker.Reload(self._settings, self._version))

    def drain(self, seconds: float) -> None:
        """Have every worker finish what is in flight within `seconds`, and replace none."""
        self._ending = True
        for member in self._members:
            if member.alive:
                self._send(member, worker.Drain(seconds))

    def reopen_logs(self) -> None:
        """Have every worker open its log anew."""
        for member in self._members:
            if member.process is not None:
                member.process.send_signal(worker.REOPEN)

    def kill(self) -> None:
        """End every worker at once."""
        self._ending = True
        for member in self._members:
            if member.process is not None:
                member.process.kill()

    def close(self) -> None:
        """Let go of what is only for workers that may come."""
        self._boxes.close()

    def kill_stuck(self, now_s: float) -> None:
        """End workers whose loop has stopped turning, or never did; they are replaced."""
        for member in self._members:
            if member.process is None:
                continue
            patience_s = self._stuck_s * (1 if member.serves else START_TIMES)
            if now_s - self._beat_s(member) > patience_s:
                self._log.event("error", "worker-stuck", slot=member.slot, pid=member.process.pid)
                member.process.kill()

    def _spawn(self, member: WorkerSlot) -> None:
        if self._ending:
            return
        listeners = tuple(listener.of(member.slot).fileno() for listener in self._listeners)
        fds = self._boxes.of(member.slot)
        member.started = self._loop.time()
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                inherited = (self._counters, *listeners, *fds.descriptors)
                member.process = self._spawn_process(theirs, inherited)
                member.pipe = Pipe(ours.detach())
        except OSError as error:  # EAGAIN, ENOMEM or EMFILE: what there is serves on meanwhile
            self._try_again(member, error.strerror or repr(error))
            return
        member.told = self._version
        self._log.event("info", "worker-started", slot=member.slot, pid=member.process.pid)
        boot = worker.WorkerConfig(
            slot=member.slot,
            settings=self._settings,
            listeners=listeners,
            tls_listeners=tuple(one.of(member.slot).fileno() for one in self._listeners if one.tls),
            counters=self._counters,
            fds=fds,
            version=self._version,
        )
        self._loop.add_reader(member.pipe.fileno(), self._on_message, member)
        self._send(member, boot)

    @staticmethod
    def _send(member: WorkerSlot, message: object) -> None:
        if member.pipe is None:
            return  # it is just ending
        with contextlib.suppress(OSError):  # it has just died; `_on_message` is about to learn of it
            member.pipe.send(message)

    def _on_message(self, member: WorkerSlot) -> None:
        assert member.pipe is not None
        try:
            message = member.pipe.recv()
        except (EOFError, OSError):
            self._loop.remove_reader(member.pipe.fileno())
            member.pipe.close()
            member.pipe = None
            member.told = member.serves = 0
            member.barred = ""
            self._reap(member)
            return
        if isinstance(message, worker.Ready):
            member.serves = message.version
            self._renew(member)
            self._changed()
        elif isinstance(message, worker.Barred):
            member.barred = message.words

    def _reap(self, member: WorkerSlot) -> None:
        """Note that a worker has ended, and see to its successor."""
        assert member.process is not None
        status = member.process.poll()
        if status is None:
            # On its way out: a disk that hangs may hold it for long, and signals must still be heard.
            self._loop.call_later(REAP_POLL_S, self._reap, member)
            return
        pid = member.process.pid
        member.process = None
        row = metrics.CounterRow(self._buffer, member.slot)
        row.reset_gauges()
        if self._ending:
            self._log.event("info", "worker-stopped", slot=member.slot, pid=pid, status=status)
        else:
            row.add(catalogue.WORKER_DEATHS)
            self._try_again(member, f"exit status {status}", pid=pid)
        self._changed()

    def _try_again(self, member: WorkerSlot, why: str, **fields: int) -> None:
        """Fill the slot anew: at once if its last worker lived for a while, else ever more slowly."""
        lived_s = self._loop.time() - member.started
        member.delay_s = (
            0.0 if lived_s > HEALTHY_S else min(max(member.delay_s * 2, FIRST_DELAY_S), LONGEST_DELAY_S)
        )
        self._log.event(
            "error", "worker-died", slot=member.slot, error=why, restart_in_s=member.delay_s, **fields
        )
        self._loop.call_later(member.delay_s, self._spawn, member)


def slots_for(workers: int) -> int:
    """Return the number of worker slots: as configured, or one per core this process may use."""
    return workers or cores.usable()
