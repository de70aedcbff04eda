"""All that the connections of one worker share, in this process: store, loop and sockets are real."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import serving
import uvloop

from hmacfs import _core, _front, _hot, config, log, metrics, transfer
from hmacfs.app import App
from hmacfs.app.resumable import ActiveUploads
from hmacfs.connection import (
    ClientProfiles,
    ClientResolver,
    OpenConnection,
    WorkerContext,
    admission,
    clients,
)
from hmacfs.metrics import catalogue
from hmacfs.model import MiB
from hmacfs.policy import buffers
from hmacfs.policy import hot_limits as bounds
from hmacfs.policy.trusted_proxies import Trusted
from hmacfs.store import READING, ProfileDatabase, Rules, Store
from hmacfs.worker.build import head_limits, memory_share

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 10.0
REST = """
[timeouts]
readtimeout = "100s"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "jwt"]
"""


class HeldThreads:
    """Threads of a lane that run their work when they are told to, in the order that they are told."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, functools.partial(work, *args, **kwargs)))
        return future

    def run(self, index: int) -> None:
        """Do one of the jobs that wait."""
        future, work = self.jobs.pop(index % len(self.jobs))
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - told to whoever waits
                future.set_exception(error)

    def shutdown(self) -> None:
        while self.jobs:
            self.run(0)


class NoThreads(Executor):
    """Does what it is given at once, so that what follows comes within the next turns of the loop."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            future.set_exception(error)
        return future


class Workbench:
    """A worker's service on a store below `where`."""

    def __init__(
        self,
        where: Path,
        *,
        rest: str = REST,
        server: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        text = serving.configuration(where / "store", rest=rest, server=server)
        self.settings = config.parse(text, name="test", base_dir=where, environ={}).settings
        self.loop = loop or uvloop.new_event_loop()
        self.faults: list[str] = []
        self.at_end = contextlib.ExitStack()
        """What `close` does first."""
        self.loop.set_exception_handler(lambda _, context: self.faults.append(repr(context)))
        self.row = metrics.CounterRow(memoryview(bytearray(metrics.memory_bytes(1))), 0)
        self.log_path = where / "log"
        self.log = log.Log(path=str(self.log_path), style="json")
        self.store = Store.open(self.settings.server.storage_path, Rules.of(self.settings))
        self._without_threads(self.store)
        self.threads = HeldThreads()
        self.underway = ActiveUploads()
        self.service = self._service()

    @staticmethod
    def _without_threads(store: Store) -> None:
        for owner, name in (
            (store._uploads, "pool"),
            (store._lookup, "_reading"),
            (store.sessions, "_pool"),
            (store._uploads.publisher, "_syncs"),
            (store._uploads.publisher, "_writer"),
        ):
            getattr(owner, name).shutdown()
            setattr(owner, name, NoThreads())

    def _service(self) -> WorkerContext:
        settings, row = self.settings, self.row
        share = memory_share(settings, 1)
        slab = _core.Slab(share.slab)
        hot = _hot.Hot(
            memoryview(slab),
            row.cells,
            admission.columns(),
            run_id=b"0123abcd",
            keep=self.log.take,
            root=self.store.root_fd,
            open_flags=READING,
            body_bytes=bounds.BODY_BYTES,
            limit_bytes=bounds.LIMIT_BYTES,
            limit_files=bounds.files(1024),
            span_bytes=bounds.SPAN_BYTES,
            good_for_s=bounds.GOOD_FOR_S,
            most_age_s=3600,
        )
        connections: set[OpenConnection] = set()
        self.slabs = transfer.Slabs(share, functools.partial(row.add, catalogue.BUFFER_POOL_BYTES))
        self.disk_threads = transfer.DiskThreads(self.loop, self.slabs)
        self.disk_threads._threads.shutdown()
        self.disk_threads._threads = self.threads  # type: ignore[assignment] # an executor in all that is used
        tuner = transfer.BufferTuner(row, share.classes, initial=MiB)
        self.scheduler = transfer.Scheduler(
            self.loop, connections, slab=slab, disk_threads=self.disk_threads, tuner=tuner
        )
        shared = ProfileDatabase(settings.server.storage_path, clients.MOST)
        self.clients = ClientProfiles(settings, shared, row, journal=self.log)
        trusted = Trusted(settings.server.trusted_proxies)
        hot.configure(
            leads=self.log.line_template(),
            most_fields=100,
            most_bytes=16384,
            most_requests=16,
            any_origin=True,
            ranges=True,
            idle_s=60.0,
        )
        hot.tick(b"Sun, 06 Nov 1994 08:49:37 GMT")
        return WorkerContext(
            loop=self.loop,
            epoll_reader=_front.EpollReader(hot, buffers.HEAD_BYTES),
            scheduler=self.scheduler,
            connections=connections,
            app=App(settings, self.store, row, underway=self.underway),
            log=self.log,
            row=row,
            hot=hot,
            memory=admission.Admission(hot, self.log),
            slab=memoryview(slab),
            head_limits=head_limits(settings),
            timeouts=settings.timeouts,
            max_pipelined=settings.server.max_pipelined,
            max_connections=settings.server.max_connections or 100,
            tls=None,
            trusted=trusted,
            client_resolver=ClientResolver(trusted),
            clients=self.clients,
            bodytimeout_s=settings.uploads.bodytimeout_s,
            date=b"Sun, 06 Nov 1994 08:49:37 GMT",
        )

    def turn(self, count: int = 8) -> None:
        """Let the loop go round `count` times."""

        async def turns() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Let the loop and the threads go on until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            self.turn()
            while self.threads.jobs:
                self.threads.run(0)
            assert time.monotonic() < deadline, f"never: {what}"
            os.sched_yield()

    def path_of(self, name: str) -> Path:
        """Return where a file of the default endpoint is stored."""
        return Path(self.settings.server.storage_path, "upload", name)

    def errors(self) -> list[str]:
        """Return what went wrong by a fault of ours."""
        self.log.flush()
        lines = self.log_path.read_text().splitlines()
        return self.faults + [line for line in lines if '"error"' in line]

    def close(self) -> None:
        self.at_end.close()
        self.loop.run_until_complete(self.clients.close())
        self.loop.run_until_complete(self.disk_threads.close())
        self.scheduler.close()
        self.store.close()
        self.loop.close()
        with contextlib.suppress(AttributeError):
            os.close(self.log._sink._fd)


def examples(few: int, many: int) -> hypothesis.settings:
    """Return how much a state machine is tried: `few` runs, or `many` where HMACFS_FULL=1 asks for all."""
    return hypothesis.settings(
        max_examples=many if os.environ.get("HMACFS_FULL") == "1" else few,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
