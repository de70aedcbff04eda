"""A stand-in server that answers with bytes as they are, whatever it is asked."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class _Reply(socketserver.StreamRequestHandler):
    """Reads one request and gives the next answer; the last one is given again and again."""

    timeout = 60

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline()) not in {b"\r\n", b""}:
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.rfile.read(length)
        answers: list[bytes] = self.server.answers  # type: ignore[attr-defined] # the list below
        with contextlib.suppress(OSError):
            self.wfile.write(answers.pop(0) if len(answers) > 1 else answers[0])


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Answer the first requests so, each on a connection of its own; give the server's URL."""
    with _Server(("127.0.0.1", 0), _Reply) as server:
        server.answers = list(answers)  # type: ignore[attr-defined] # of this test
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def answer(status: object, fields: Sequence[tuple[str, Any]] = (), body: bytes = b"") -> bytes:
    """Write an answer that ends its connection."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"HTTP/1.1 {status} Words\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode("utf-8", "surrogateescape") + body
