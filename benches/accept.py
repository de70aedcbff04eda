"""How two workers share connections: by a listening socket each (SO_REUSEPORT), or by one for both.

`PYTHONPATH=tests python -m benches.accept` prints the table of the README's decision. The common socket
is passed in as a service manager would, so nothing in the server is switched for this.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import activation
import procfs
import serving
from serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS: Final = 2
SHORT: Final = 1000
KEPT: Final = 8
ROUNDS: Final = 20
SECONDS: Final = 5
KILL_AFTER_S: Final = 2.0
GET: Final = serving.head("GET", "/health", None)
ID_BYTES: Final = 8  # of a request id, that name the worker


class Load(NamedTuple):
    """What wrk saw."""

    rate: float
    """Requests per second."""
    cpu_us: float
    """CPU time of all workers per request."""
    share: float
    """The busier worker's part of that time."""
    errors: int
    """Connections that could not be made, were reset or timed out."""


def ask(sock: socket.socket) -> str:
    """Return which worker answers."""
    sock.sendall(GET)
    return serving.read_answer(sock).fields["x-request-id"][:ID_BYTES]


def largest_share(workers: list[str]) -> float:
    """Return the part that the busiest worker has."""
    return max(Counter(workers).values()) / len(workers)


def short(server: Server) -> float:
    """Return the largest share of connections of one request each, one after the other."""
    found = []
    for _ in range(SHORT):
        with server.connect() as sock:
            found.append(ask(sock))
    return largest_share(found)


def kept(server: Server) -> Iterator[float]:
    """Return the largest share of a few connections that a proxy opens at once and keeps, often."""
    for _ in range(ROUNDS):
        socks = [server.connect() for _ in range(KEPT)]
        for sock in socks:
            sock.sendall(GET)
        yield largest_share([serving.read_answer(sock).fields["x-request-id"][:ID_BYTES] for sock in socks])
        for sock in socks:
            sock.close()


def wrk(server: Server, rel: str, *options: str, kill: bool = False) -> Load:
    """Load the server for some seconds; kill a worker meanwhile if asked."""
    workers = server.workers
    before = [procfs.cpu_s(pid) for pid in workers]
    url = f"http://{server.host}:{server.port}/upload/{rel}"
    command = ["wrk", "-t1", "-c32", f"-d{SECONDS}s", *options, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        if kill:
            time.sleep(KILL_AFTER_S)
            os.kill(workers[0], signal.SIGKILL)
        said, _ = client.communicate()
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert rate is not None, said
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = sum(map(int, errors.groups())) if errors else 0
    if kill:
        return Load(float(rate[1]), 0, 0, failed)
    used = [procfs.cpu_s(pid) - was for pid, was in zip(workers, before, strict=True)]
    total = sum(used)
    return Load(float(rate[1]), total / (float(rate[1]) * SECONDS) * 1e6, max(used) / total, failed)


def measure(server: Server) -> list[str]:
    """Return a column of the table."""
    rel = serving.fresh()
    assert server.put(rel, os.urandom(1024)).status == 201
    shares = list(kept(server))
    alone = short(server)
    loads = [wrk(server, rel), wrk(server, rel, "-H", "Connection: close")]
    killed = [wrk(server, rel, *options, kill=True) for options in ((), ("-H", "Connection: close"))]
    return [
        f"{alone:.0%}",
        f"{statistics.mean(shares):.0%}, at worst {max(shares):.0%}",
        *(f"{load.rate:,.0f}/s, {load.cpu_us:.0f} us, busier {load.share:.0%}" for load in loads),
        *(f"{load.errors}" for load in killed),
    ]


ROWS: Final = (
    f"busier worker's share of {SHORT} short connections",
    f"the same of {KEPT} opened at once and kept, {ROUNDS} times",
    "wrk -c32, 1 KiB: rate, CPU per request",
    "the same, a connection per request",
    "errors when a worker is killed, kept connections",
    "the same, a connection per request",
)


def main() -> None:
    """Print the table."""
    columns = []
    for common in (False, True):
        with tempfile.TemporaryDirectory() as where:
            text = serving.configuration(Path(where) / "store", workers=WORKERS)
            with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
                server = (
                    activation.start(Path(where), text, listening)
                    if common
                    else serving.start(Path(where), text)
                )
                with server:
                    # Or this process, which reads the log, would be part of what is measured.
                    server.config.write_text(text.replace("[logging]", '[logging]\nlevel = "error"'))
                    server.signal(signal.SIGHUP)
                    time.sleep(1)
                    columns.append(measure(server))
                    server.stop()
    print("| two workers | a socket each | one for both |\n|---|---|---|")
    for name, *cells in zip(ROWS, *columns, strict=True):
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
