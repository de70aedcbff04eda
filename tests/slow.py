"""Clients that are slow on purpose, in a process of their own: heads, bodies and readers, so many of each.

`python slow.py HOST PORT TARGETS FILE`: TARGETS is a file of signed upload targets, a line for each client
of each kind, FILE the path of a large download. Prints "open" when all are, and at the end as JSON when
each kind's last connection was ended by the server, in seconds since then.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

BODY_BYTES = 65536
PACE_S = 0.5  # between two bytes of one client
PATIENCE_S = 60.0
BUFFER_BYTES = 4096


def opening(kind: str, target: str, file: str) -> bytes:
    """Return what a client of this kind sends at first."""
    if kind == "head":
        return b"GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: "
    if kind == "body":
        fields = f"Content-Type: application/octet-stream\r\nContent-Length: {BODY_BYTES}\r\n"
        return f"PUT {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()
    return f"GET {file} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def connect(host: str, port: int, first: bytes) -> socket.socket:
    """Open a connection with little room for what comes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.connect((host, port))
    sock.sendall(first)
    sock.setblocking(False)
    return sock


def has_ended(sock: socket.socket, kind: str) -> bool:
    """Send one byte more, or none as a reader that does not read; tell whether the server has had enough."""
    try:
        if kind == "read":
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        sock.send(b"x")
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def main(host: str, port: int, targets: list[str], file: str) -> dict[str, float]:
    """Open all connections, trickle, and note when the server ends them."""
    left = dict.fromkeys(("head", "body", "read"), len(targets))
    open_: dict[socket.socket, str] = {}
    for target in targets:
        for kind in left:
            sock = connect(host, port, opening(kind, target, file))
            open_[sock] = kind
    sys.stdout.write("open\n")
    sys.stdout.flush()
    began = time.monotonic()
    ended: dict[str, float] = {}
    while open_ and time.monotonic() - began < PATIENCE_S:
        for sock, kind in list(open_.items()):
            if has_ended(sock, kind):
                ended[kind] = time.monotonic() - began
                left[kind] -= 1
                del open_[sock]
                sock.close()
        time.sleep(PACE_S)
    return {**ended, **{f"{kind}_left": n for kind, n in left.items() if n}}


if __name__ == "__main__":
    host, port, targets, file = sys.argv[1:]
    json.dump(main(host, int(port), Path(targets).read_text().splitlines(), file), sys.stdout)
