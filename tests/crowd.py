"""Clients that keep asking on kept connections, uploads and downloads in turn, until told to stop.

Every request is either answered as it should be, or noted as failed; nothing is asked twice.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Self

import serving
from serving import PATIENCE_S

if TYPE_CHECKING:
    from types import TracebackType

BODY_BYTES = 20_000
UNACCEPTED = "unaccepted"
"""Begins the note of a connection that ended before its first answer."""
REFUSED_PAUSE_S = 0.005


class Crowd:
    """So many clients at once; `with` lets them go at the end and waits for their last answers."""

    def __init__(self, host: str, port: int, *, clients: int = 6) -> None:
        """Ask at `host` and `port`."""
        self._address = (host, port)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._live) for _ in range(clients)]
        self._news = threading.Condition()
        self.done = 0  # requests answered as they should be
        self.refused = 0  # connections refused
        self.connected = 0
        self.failures: list[str] = []
        self._answered = threading.local()  # n: answers on this thread's connection

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Have every client finish what it does."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, requests: int) -> None:
        """Wait until so many more have been answered."""
        with self._news:
            wanted = self.done + requests
            assert self._news.wait_for(lambda: self.done >= wanted, PATIENCE_S), self.failures[:5]

    def _live(self) -> None:
        while not self._stop.is_set():
            try:
                sock = socket.create_connection(self._address, timeout=PATIENCE_S)
            except ConnectionRefusedError:
                self.refused += 1
                self._stop.wait(REFUSED_PAUSE_S)
                continue
            self.connected += 1
            with sock:
                self._answered.n = 0
                try:
                    while not self._stop.is_set() and self._ask(sock):
                        pass
                except (OSError, EOFError) as error:
                    note = repr(error) if self._answered.n else f"{UNACCEPTED}: {error!r}"
                    self.failures.append(note)

    def _ask(self, sock: socket.socket) -> bool:
        """Upload and read back; tell whether the connection may be used again."""
        rel, body = serving.fresh(), os.urandom(BODY_BYTES)
        target = serving.signed(rel, len(body))
        fields = {"Content-Type": "application/octet-stream"}
        if not self._one(sock, serving.head("PUT", target, fields, len(body)) + body, 201, b""):
            return False
        return self._one(sock, serving.head("GET", f"/upload/{rel}", None), 200, body)

    def _one(self, sock: socket.socket, request: bytes, status: int, body: bytes) -> bool:
        sock.sendall(request)
        answer = serving.read_answer(sock)
        self._answered.n += 1
        if (answer.status, answer.body) != (status, body):
            self.failures.append(f"{answer.status} {answer.body[:200]!r}")
        with self._news:
            self.done += 1
            self._news.notify_all()
        return answer.fields.get("connection") != "close"
