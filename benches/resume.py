"""What going on with an upload costs, by how far it is: `PYTHONPATH=tests python -m benches.resume`.

HEAD and PATCH of 64 KiB (tus, one kept connection) at offset 0 and at 10 GiB; the two alternate, one upload
each, and the figures are medians by round. What stands before the offset is a hole: nobody reads it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urljoin

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import resuming
import serving

from benches import measure

if TYPE_CHECKING:
    import socket

    from serving import Answer, Server

ROUNDS: Final = 9
UPLOADS: Final = 100
PIECE: Final = os.urandom(64 * 1024)
GiB: Final = 1 << 30
OFFSETS: Final = (0, 10 * GiB)
TUS: Final = {"Tus-Resumable": "1.0.0"}
PATCH: Final = {"Content-Type": "application/offset+octet-stream"}
BATCH: Final = 10  # the clock of a process's CPU time is read so often, lest reading it is what is measured


class Cost(NamedTuple):
    """What one HEAD and PATCH take."""

    time_us: float
    cpu_us: float


def ask(sock: socket.socket, method: str, target: str, body: bytes = b"", **fields: str) -> Answer:
    """Make one request on a kept connection. Raises AssertionError if it fails."""
    named = {**resuming.bearer(), **TUS, **{name.replace("_", "-"): value for name, value in fields.items()}}
    length = None if method == "HEAD" else len(body)
    sock.sendall(serving.head(method, target, named, length) + body)
    answer = serving.read_answer(sock, method)
    assert answer.status in {200, 201, 204}, answer
    return answer


def begin(server: Server, sock: socket.socket, offset: int) -> str:
    """Begin an upload that is as far as `offset`; give its URL."""
    answer = ask(sock, "POST", "/files/", Upload_Length=str(offset + 2 * len(PIECE)))
    target = urljoin("/files/", answer.fields["location"])
    (found,) = server.storage.glob(f".*/uploads/{target.rpartition('/')[2]}")
    os.truncate(found, offset)
    return target


def go_on(sock: socket.socket, target: str) -> None:
    """Ask how far an upload is, and send the next piece."""
    offset = ask(sock, "HEAD", target).fields["upload-offset"]
    ask(sock, "PATCH", target, PIECE, Upload_Offset=offset, **PATCH)


def run(server: Server, sock: socket.socket) -> dict[int, Cost]:
    """Measure one round."""
    (worker,) = server.workers
    times_s, cpu_s = dict.fromkeys(OFFSETS, 0.0), dict.fromkeys(OFFSETS, 0.0)
    for _ in range(UPLOADS // BATCH):
        for offset in OFFSETS:
            targets = [begin(server, sock, offset) for _ in range(BATCH)]
            before, asked = measure.cpu_s([worker]), time.perf_counter()
            for target in targets:
                go_on(sock, target)
            times_s[offset] += time.perf_counter() - asked
            cpu_s[offset] += measure.cpu_s([worker]) - before
            for target in targets:
                ask(sock, "DELETE", target)
    return {one: Cost(times_s[one] / UPLOADS * 1e6, cpu_s[one] / UPLOADS * 1e6) for one in OFFSETS}


def main() -> None:
    """Print what both cost, and their ratio, for each durability."""
    for durability in ("full", "relaxed"):
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY", "/var/tmp")) as folder:
            rules = f'durability = "{durability}"\nmax_upload_size = "20GB"\n'
            with (
                serving.running(Path(folder), rest=resuming.ENDPOINTS, server=rules) as server,
                server.connect() as sock,
            ):
                run(server, sock)
                rounds = [run(server, sock) for _ in range(ROUNDS)]
        near, far = OFFSETS
        for field in Cost._fields:
            mine, theirs = ([getattr(one[offset], field) for one in rounds] for offset in (far, near))
            ratios = [many / none for many, none in zip(mine, theirs, strict=True)]
            print(
                f"{durability:8} {field:8} at 0: {statistics.median(theirs):7.0f}"
                f"  at 10 GiB: {statistics.median(mine):7.0f}"
                f"  ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
            )


if __name__ == "__main__":
    main()
