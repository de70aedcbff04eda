"""Listening sockets: the loop accepts from plain ones, and nothing that the kernel has queued is lost."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from manual_loop import ManualLoop
from worker.parts import Noting, settings_of

from hmacfs.listeners import BACKLOG
from hmacfs.worker import sockets
from hmacfs.worker.sockets import ListeningSockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class FakeServer:
    """What the loop makes of a socket that it accepts from."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def close(self) -> None:
        self.sock.close()


class ListeningLoop(ManualLoop):
    """Notes what it is to accept from, and accepts nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: list[tuple[str, int, dict[str, Any]]] = []
        self.entering: list[OSError | None] = []
        self.entered: list[socket.socket] = []

    async def create_server(self, _factory: Any, *, sock: Any, backlog: int) -> Any:  # type: ignore[override]
        self.servers.append(("tcp", backlog, {}))
        return FakeServer(sock)

    async def create_unix_server(  # type: ignore[override]
        self, _factory: Any, *, sock: Any, backlog: int, **options: Any
    ) -> Any:
        self.servers.append(("unix", backlog, options))
        return FakeServer(sock)

    async def connect_accepted_socket(self, factory: Callable[[], Any], sock: Any) -> Any:  # type: ignore[override]
        self.entered.append(sock)
        if self.entering and (error := self.entering.pop(0)) is not None:
            raise error
        return factory()


class Clients:
    """Sockets that listen, and clients that have connected to them and were not accepted."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.loop = ListeningLoop()
        self.ends: list[socket.socket] = []
        self.calls: list[str] = []
        self.protocols: list[object] = []

    def listener(self, *, unix: bool = False) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        sock.bind(str(self.where / "s") if unix else ("127.0.0.1", 0))
        sock.listen(8)
        self.ends.append(sock)
        return sock

    def connect(self, listener: socket.socket, count: int) -> None:
        for _ in range(count):
            client = socket.socket(listener.family)
            client.connect(listener.getsockname())
            self.ends.append(client)

    def make(self, *listeners: socket.socket, tls: tuple[int, ...] = (), proxied: bool = False) -> Any:
        """Return the sockets of a worker that inherits `listeners`; clients of those in `tls` speak TLS."""
        inherited = [sock.dup().detach() for sock in listeners]
        server = "proxy_protocol = true\ntrusted_proxies = ['127.0.0.1']" if proxied else ""
        boot: Any = SimpleNamespace(
            listeners=tuple(inherited),
            tls_listeners=tuple(inherited[number] for number in tls),
            settings=settings_of(self.where, server=server),
        )
        acceptor: Any = Noting(self.calls, "acceptor", listen=self._listen)
        return ListeningSockets(self.loop, boot, acceptor, self._protocol)

    def _listen(self, _sock: socket.socket, *, tls: bool) -> None:
        self.calls.append("acceptor.listen tls" if tls else "acceptor.listen")

    def _protocol(self) -> Any:
        self.protocols.append(object())
        return self.protocols[-1]

    def close(self) -> None:
        for sock in (*self.ends, *self.loop.entered):
            sock.close()
        self.loop.close()


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    made = Clients(tmp_path)
    yield made
    made.close()


def test_the_loop_accepts_from_plain_sockets_with_the_whole_queue(clients: Clients) -> None:
    made = clients.make(clients.listener(), clients.listener(unix=True))
    clients.loop.run_until_complete(made.open())
    assert clients.loop.servers == [
        ("tcp", BACKLOG, {}),
        ("unix", BACKLOG, {"cleanup_socket": False}),  # the name is not the worker's to remove
    ]
    assert made.accepting
    clients.loop.run_until_complete(made.drain())


@pytest.mark.parametrize(
    ("proxied", "tls", "calls"),
    [
        (False, (1,), ["acceptor.listen tls"]),
        (True, (), ["acceptor.listen", "acceptor.listen"]),
        (True, (0,), ["acceptor.listen tls", "acceptor.listen"]),
    ],
)
def test_clients_with_a_header_or_tls_go_by_the_acceptor(
    clients: Clients, tls: tuple[int, ...], calls: list[str], *, proxied: bool
) -> None:
    made = clients.make(clients.listener(), clients.listener(), tls=tls, proxied=proxied)
    clients.loop.run_until_complete(made.open())
    assert clients.calls == calls
    assert len(clients.loop.servers) == 2 - len(calls)
    clients.loop.run_until_complete(made.drain())
    assert clients.calls == [*calls, "acceptor.drain"]


@pytest.mark.parametrize("unix", [False, True])
def test_what_is_queued_when_it_drains_is_accepted_and_nothing_later(clients: Clients, *, unix: bool) -> None:
    listener = clients.listener(unix=unix)
    made = clients.make(listener)
    clients.loop.run_until_complete(made.open())
    clients.connect(listener, 3)
    clients.loop.run_until_complete(made.drain())
    assert (len(clients.protocols), made.accepting) == (3, False)
    clients.connect(listener, 1)  # the supervisor's copy still listens
    assert len(clients.loop.entered) == 3


def test_a_queued_client_that_is_gone_keeps_no_other_out(clients: Clients) -> None:
    listener = clients.listener()
    made = clients.make(listener)
    clients.loop.run_until_complete(made.open())
    clients.connect(listener, 3)
    clients.loop.entering = [None, ConnectionResetError(errno.ECONNRESET, "gone"), None]
    clients.loop.run_until_complete(made.drain())
    assert (len(clients.protocols), made.accepting) == (2, False)
    assert clients.calls == ["acceptor.drain"]


def test_a_client_that_left_the_queue_is_passed_over() -> None:
    """accept(2): ECONNABORTED is the next client's luck, anything else the end of the queue."""
    answers: list[Any] = [ConnectionAbortedError(), ("client", None), OSError(errno.EMFILE, "no more")]

    class Queue:
        """A listening socket."""

        def accept(self) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    queue: Any = Queue()
    assert sockets._accept(queue) == "client"  # type: ignore[comparison-overlap]
    assert sockets._accept(queue) is None
    assert answers == []
