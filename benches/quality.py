"""What adapting to the quality of lines is worth: slow readers beside small downloads, with it and without.

Clients that take 128 KiB a second each of a large file, and say so (ECT: 2g), since on loopback a kernel
holds megabytes before anything could be measured of them. What is shown, round by round: the memory that TCP
holds for all (/proc/net/sockstat), CPU time of the worker, and how long a GET of 1 KiB takes meanwhile.

    python -m benches.quality [--readers 64] [--rounds 5] [--seconds 6]
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import procfs
import serving

if TYPE_CHECKING:
    from serving import Server

KiB: Final = 1024
MiB: Final = 1024 * KiB
FILE_BYTES: Final = 64 * MiB
SLOW: Final = "127.0.0.9"
STEP_S: Final = 0.25
STEP_BYTES: Final = 32 * KiB
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Round(NamedTuple):
    """What one round showed."""

    kernel_mib: float
    cpu_ms_per_s: float
    p50_ms: float
    p99_ms: float


def tcp_bytes() -> int:
    """Return what TCP holds of the machine's memory."""
    found = re.search(r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * PAGE


def read_slowly(socks: list[socket.socket], ended: threading.Event) -> None:
    """Take `STEP_BYTES` of each every `STEP_S`."""
    while not ended.wait(STEP_S):
        for sock in socks:
            sock.recv(STEP_BYTES)


def run(server: Server, readers: int, seconds: float) -> Round:
    """Measure one round."""
    before = tcp_bytes()
    socks = []
    for _ in range(readers):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KiB)
        sock.bind((SLOW, 0))
        sock.connect((server.host, server.port))
        sock.sendall(serving.head("GET", "/upload/slow/large.bin", {"ECT": "2g"}))
        socks.append(sock)
    ended = threading.Event()
    thread = threading.Thread(target=read_slowly, args=(socks, ended))
    thread.start()
    (worker,) = workers(server)
    times, began, cpu = [], time.monotonic(), procfs.cpu_s(worker)
    with server.connect() as kept:
        while time.monotonic() - began < seconds:
            asked = time.perf_counter()
            kept.sendall(serving.head("GET", "/upload/slow/small.bin", None))
            serving.read_answer(kept)
            times.append(time.perf_counter() - asked)
            time.sleep(0.002)
    took = time.monotonic() - began
    found = Round(
        (tcp_bytes() - before) / MiB,
        (procfs.cpu_s(worker) - cpu) / took * 1000,
        statistics.median(times) * 1000,
        statistics.quantiles(times, n=100)[98] * 1000,
    )
    ended.set()
    thread.join()
    for sock in socks:
        sock.close()
    return found


def workers(server: Server) -> list[int]:
    """Return the workers' process ids."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def main() -> None:
    """Run both servers in turn and print what each round shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    procfs.raise_open_files(4 * given.readers + 256)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        servers = {}
        for adapts in ("false", "true"):
            where = Path(folder, adapts)
            where.mkdir()
            rest = f"[streaming]\nquality_adaptation = {adapts}\n"
            servers[adapts] = serving.start(where, serving.configuration(where / "store", rest=rest))
            assert servers[adapts].put("slow/small.bin", os.urandom(KiB)).status == 201
            with (where / "store/upload/slow/large.bin").open("wb") as file:
                file.truncate(FILE_BYTES)
        rounds: dict[str, list[Round]] = {name: [] for name in servers}
        for _ in range(given.rounds):
            for name, server in servers.items():
                rounds[name].append(run(server, given.readers, given.seconds))
        for name, server in servers.items():
            server.stop()
            print(f"quality_adaptation = {name}")
            for field in Round._fields:
                values = [getattr(one, field) for one in rounds[name]]
                print(f"  {field:13} {statistics.median(values):9.2f}  ({min(values):.2f}-{max(values):.2f})")


if __name__ == "__main__":
    main()
