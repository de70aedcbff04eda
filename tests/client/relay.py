"""A bad link: a relay before a real server that breaks its first connections after some bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

from serving import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Relay:
    """Listens on a port of its own; the n-th connection ends once the n-th number of bytes has passed.

    Connections after those are left in peace.
    """

    def __init__(  # noqa: PLR0913 - what may break
        self,
        host: str,
        port: int,
        *,
        up: Iterable[int] = (),
        down: Iterable[int] = (),
        unheard: bytes = b"",
        times: int = 0,
    ) -> None:
        """Relay to `host` and `port`, cutting after `up` bytes to it or `down` bytes from it.

        The first requests, so many `times`, in which `unheard` stands reach it, and their answers nobody.
        """
        self._unheard, self._times = unheard, times
        self._to = (host, port)
        self._up, self._down = iter(up), iter(down)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.cuts = 0
        self.connections = 0
        """How many were made."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()

    def _spawn(self, target: object, *arguments: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(self._to, timeout=PATIENCE_S)
                muted = threading.Event()
                self._spawn(self._carry, client, server, next(self._up, None), self._listen, muted)
                self._spawn(self._carry, server, client, next(self._down, None), self._is_mute, muted)

    def _listen(self, muted: threading.Event, block: bytes) -> bool:
        if self._times and self._unheard in block:
            self._times -= 1
            muted.set()
        return False

    @staticmethod
    def _is_mute(muted: threading.Event, _block: bytes) -> bool:
        return muted.is_set()

    def _carry(
        self,
        source: socket.socket,
        sink: socket.socket,
        left: int | None,
        ends: Callable[[threading.Event, bytes], bool],
        muted: threading.Event,
    ) -> None:
        """Carry bytes until there are none, or the link breaks; then both sockets end."""
        with contextlib.suppress(OSError), source, sink:
            while block := source.recv(65536 if left is None else min(left, 65536)):
                if ends(muted, block):
                    self.cuts += 1
                    break
                sink.sendall(block)
                if left is not None:
                    left -= len(block)
                    if left == 0:
                        self.cuts += 1
                        break
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
