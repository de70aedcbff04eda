"""What a slow upload holds of the server's memory: adaptive buffers beside fixed ones of each size.

Clients that send 128 KiB a second each to a disk that takes 30 ms for every write (strace delays the call),
so that what was read must be held meanwhile. What is shown, as medians of rounds with least and most: the
memory lent to all of them together, on the mean and at most (`hmacfs_buffer_pool_bytes`), and how much was
written (/proc/PID/io), which must not be less for it. What TCP holds for slow downloads shows
`benches.quality`.

    PYTHONPATH=tests python -m benches.slow [--clients 32] [--rounds 3] [--seconds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import serving
import tracing

if TYPE_CHECKING:
    import socket

    from serving import Server

KiB: Final = 1024
UPLOAD_BYTES: Final = 64 * 1024 * KiB
STEP_S: Final = 0.125
STEP_BYTES: Final = 16 * KiB
WRITE_S: Final = 0.03
SAMPLE_S: Final = 0.01
TYPE: Final = "application/octet-stream"
ADAPTIVE: Final = "adaptive"
FIXED: Final = ("32KB", "128KB", "512KB", "1MB")
SLOWLY: Final = ("-e", "trace=pwrite64", "-e", f"inject=pwrite64:delay_enter={int(WRITE_S * 1e6)}")


class Round(NamedTuple):
    """What one round showed."""

    mean_lent_kib: float
    most_lent_kib: float
    written_kib_per_s: float


def configuration(where: Path, buffers: str) -> str:
    """Return a server's configuration; `buffers` is ADAPTIVE or the one size."""
    fixed = "" if buffers == ADAPTIVE else f'adaptive_buffers = false\nmin_buffer_size = "{buffers}"\n'
    return serving.configuration(
        where / "store", server='durability = "relaxed"', rest=f"[performance]\n{fixed}"
    )


def written(pid: int) -> int:
    """Return how many bytes a process has written by write(2) and its kind, none of them to sockets."""
    counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counts["wchar"])


def begin(server: Server) -> socket.socket:
    """Begin an upload."""
    sock = server.connect()
    target = serving.signed(serving.fresh(), UPLOAD_BYTES, TYPE)
    sock.sendall(serving.head("PUT", target, {"Content-Type": TYPE}, UPLOAD_BYTES))
    return sock


def send_slowly(socks: list[socket.socket], ended: threading.Event) -> None:
    """Send `STEP_BYTES` on each every `STEP_S`, as far as there is room."""
    step = bytes(STEP_BYTES)
    for sock in socks:
        sock.setblocking(False)
    while not ended.wait(STEP_S):
        for sock in socks:
            with contextlib.suppress(BlockingIOError):
                sock.send(step)


def run(server: Server, strace: str, log: Path, clients: int, seconds: float) -> Round:
    """Measure one round."""
    (worker,) = server.workers
    with contextlib.ExitStack() as stack:
        stack.enter_context(tracing.attached(strace, log, *SLOWLY, process=worker))
        socks = [stack.enter_context(begin(server)) for _ in range(clients)]
        ended = threading.Event()
        thread = threading.Thread(target=send_slowly, args=(socks, ended))
        thread.start()
        lent, began = [], time.monotonic()
        before = written(worker)
        while time.monotonic() - began < seconds:
            lent.append(server.scrape()["hmacfs_buffer_pool_bytes"] / KiB)
            time.sleep(SAMPLE_S)
        took, wrote = time.monotonic() - began, written(worker) - before
        ended.set()
        thread.join()
    return Round(statistics.fmean(lent), max(lent), wrote / KiB / took)


def main() -> None:
    """Run a server of each kind in turn, and print what its rounds show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    strace = shutil.which("strace")
    if strace is None:
        sys.exit("benches.slow needs strace, which makes the disk slow")
    rounds: dict[str, list[Round]] = {}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        for number in range(given.rounds):
            for buffers in (ADAPTIVE, *FIXED):
                where = Path(folder, f"{buffers}.{number}")
                where.mkdir()
                with serving.start(where, configuration(where, buffers)) as server:
                    found = run(server, strace, where / "trace", given.clients, given.seconds)
                    server.stop()
                rounds.setdefault(buffers, []).append(found)
                shutil.rmtree(where)
    for buffers, found_ in rounds.items():
        for field in Round._fields:
            values = [getattr(one, field) for one in found_]
            median = statistics.median(values)
            print(f"{buffers:9} {field:19} {median:9.1f}  ({min(values):.1f}-{max(values):.1f})")


if __name__ == "__main__":
    main()
