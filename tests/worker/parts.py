"""What a worker consists of, with nothing behind it: each part notes what it is asked to do."""

from __future__ import annotations

import os
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import serving
from manual_loop import ManualLoop

from hmacfs import config, metrics
from hmacfs.connection import WorkerContext
from hmacfs.worker.build import WorkerParts, served
from hmacfs.worker.messages import WorkerConfig
from hmacfs.worker.storage_events import StorageEvents
from hmacfs.worker.supervisor_pipe import SupervisorPipe
from hmacfs.worker.worker import Worker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from hmacfs.config import Settings
    from hmacfs.model import Dependency
    from hmacfs.store import Rules


def settings_of(where: Path, *, server: str = "", rest: str = "") -> Settings:
    text = serving.configuration(where / "store", server=server, rest=rest)
    return config.parse(text, name="test", base_dir=where, environ={}).settings


class Noting:
    """Notes each method that is called, as "name.method"; what else it has are `values`."""

    def __init__(self, calls: list[str], name: str, **values: Any) -> None:
        self._calls = calls
        self._name = name
        vars(self).update(values)

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        return lambda *_args, **_kwargs: self._calls.append(f"{self._name}.{method}")


class NotedLog(Noting):
    """A log that keeps its events."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__(calls, "log")
        self.dropped = 0
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def event(self, level: str, name: str, **fields: object) -> None:
        self.events.append((level, name, fields))

    def line_template(self) -> tuple[bytes, ...]:
        return ()

    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]


class FakeStore:
    """A store that answers what a test says, once it lets it."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls
        self.gates: dict[str, asyncio.Future[None]] = {}
        self.fault = ""
        self.errors: dict[str, Exception] = {}
        self.results: dict[str, Any] = {"sweep_sessions": 0}
        self.open_inodes: tuple[int, ...] = (1, 2, 3)
        self.refused: set[Dependency] = set()
        self.rules: Rules | None = None
        self.saved: list[tuple[str, bytes]] = []
        self.sessions = None  # whose uploads nothing here goes on with

    async def _do(self, name: str) -> Any:
        self._calls.append(f"store.{name}")
        if (gate := self.gates.get(name)) is not None:
            await gate
        if (error := self.errors.get(name)) is not None:
            raise error
        return self.results.get(name)

    async def attend(self) -> None:
        await self._do("attend")

    async def sweep(self) -> Any:
        return await self._do("sweep")

    async def sweep_sessions(self) -> Any:
        return await self._do("sweep_sessions")

    async def reconcile(self) -> Any:
        return await self._do("reconcile")

    async def save_state(self, name: str, note: bytes) -> None:
        self.saved.append((name, note))
        await self._do("save_state")

    def inodes(self) -> tuple[int, ...]:
        return self.open_inodes

    def refuses(self, dependency: Dependency) -> bool:
        return dependency in self.refused

    def reconfigure(self, rules: Rules) -> None:
        self.rules = rules

    def close(self) -> None:
        self._calls.append("store.close")


class FakeConnection:
    """A client's connection with a deadline; `on_drain` is what becomes of it then."""

    def __init__(self, deadline: float = float("inf"), then: Callable[[], None] = lambda: None) -> None:
        self.deadline = deadline
        self.then = then
        self.expired: list[float] = []
        self.told: list[str] = []

    def expire(self, now: float) -> None:
        self.expired.append(now)
        self.deadline = float("inf")
        self.then()

    def drain(self) -> None:
        self.told.append("drain")
        self.then()

    def abandon(self) -> None:
        self.told.append("abandon")


class FakeSockets:
    """Listening sockets that drain when a test lets them."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls
        self.accepting = True
        self.gate: asyncio.Future[None] | None = None

    async def open(self) -> None:
        self._calls.append("sockets.open")

    async def drain(self) -> None:
        self._calls.append("sockets.drain")
        if self.gate is not None:
            await self.gate
        self.accepting = False


class FakeClients(Noting):
    """Profiles that take a turn to be shared."""

    async def synchronize(self) -> None:
        self._calls.append("clients.synchronize")

    async def close(self) -> None:
        self._calls.append("clients.close")


class FakeThreads:
    """Threads of the disk that hold nothing up."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    async def close(self) -> None:
        self._calls.append("disk_threads.close")


class Bench:
    """One worker on a loop whose time stands still, and the supervisor's end of its pipe."""

    def __init__(self, where: Path, *, slot: int = 0, server: str = "", rest: str = "") -> None:
        self.where = where
        self.loop = ManualLoop()
        self.calls: list[str] = []
        calls = self.calls
        self.settings = settings_of(where, server=server, rest=rest)
        self.pipe, theirs = Pipe()
        ours = SupervisorPipe(os.dup(theirs.fileno()))
        theirs.close()
        memory = memoryview(bytearray(metrics.memory_bytes(2)))
        self.first_row, self.row = metrics.CounterRow(memory, 0), metrics.CounterRow(memory, slot)
        self.log = NotedLog(calls)
        self.store = FakeStore(calls)
        self.sockets = FakeSockets(calls)
        self.acceptor: Any = Noting(calls, "acceptor", busy=False)
        self.ranked: list[bytes | None] = []
        self.optimiser = SimpleNamespace(rank=self._rank)
        self.learnt: list[int] = []
        self.event_fd = os.eventfd(0)
        self.connections: set[Any] = set()
        row: Any = self.row
        store: Any = self.store
        log: Any = self.log
        self.events = StorageEvents(str(where), row, log, now=self.loop.time, send=ours.send)
        self.hot: Any = Noting(calls, "hot")
        self.context = WorkerContext(**self._context(row, store))
        others: dict[str, Any] = {
            "acceptor": self.acceptor,
            "sockets": self.sockets,
            "disk_threads": FakeThreads(calls),
            "optimiser": self.optimiser if slot == 0 else None,
            "underway": Noting(calls, "underway"),
            "peers": Noting(calls, "peers"),
        }
        parts = WorkerParts(
            row=row,
            first_row=self.first_row,
            log=log,
            events=self.events,
            store=store,
            context=self.context,
            **others,
        )
        no_fds: Any = None  # the peers are made already
        boot = WorkerConfig(
            slot=slot,
            settings=self.settings,
            listeners=(),
            tls_listeners=(),
            counters=-1,
            fds=no_fds,
            version=7,
        )
        self._ours = ours
        self.worker = Worker(self.loop, ours, boot, parts)
        self.serving = self.loop.create_task(self.worker.serve())

    def _context(self, row: Any, store: Any) -> dict[str, Any]:
        calls = self.calls
        underway: Any = Noting(calls, "underway")
        tuner = SimpleNamespace(learn=self.learnt.append)
        return {
            "loop": self.loop,
            "epoll_reader": Noting(calls, "epoll_reader", fileno=lambda: self.event_fd),
            "scheduler": Noting(calls, "scheduler", tuner=tuner),
            "connections": self.connections,
            "log": self.log,
            "row": row,
            "hot": self.hot,
            "memory": None,
            "slab": memoryview(b""),
            "clients": FakeClients(calls, "clients"),
            **served(self.settings, store, row, underway),
        }

    def _rank(self) -> bytes | None:
        self.calls.append("optimiser.rank")
        return self.ranked.pop(0) if self.ranked else None

    def begin(self) -> None:
        """Serve, as far as that comes without anything happening."""
        self.loop.turn(5)
        assert not self.serving.done(), self.serving

    def heard(self) -> list[object]:
        """Return what the supervisor has been told since it last asked."""
        messages = []
        while self.pipe.poll():
            messages.append(self.pipe.recv())
        return messages

    def say(self, message: object) -> None:
        """Have the supervisor say something."""
        self.pipe.send(message)
        self.loop.turn(5)

    def count(self, call: str) -> int:
        return self.calls.count(call)

    def close(self) -> None:
        """End it, however far it has come."""
        if not self.serving.done():
            self.serving.cancel()
            self.loop.turn(8)
        self.loop.remove_reader(self._ours.fileno())
        self.loop.close()
        self.pipe.close()
        self._ours.close()
        os.close(self.event_fd)
