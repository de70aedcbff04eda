"""How many instructions a request takes in the worker: a count that a noisy machine cannot blur.

`hmacfs serve` runs under callgrind, which slows it fifty times and changes nothing else. A request's count
is the difference of two runs of different length on one connection, divided by the requests between them,
so start, connection and the tool's own work fall out. The kernel's instructions are not in it.

The counts are held against callgrind/most.json: more than that fails, so that a change which slows the hot
path down is seen on a noisy machine too.

    python -m benches.instructions [--json FILE]
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benches import contenders, folder, measure, readings
from benches.contenders import CONTENDERS, Running
from benches.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Callable

CALLGRIND: Final = Path(__file__).parent / "callgrind"
WARM_UP: Final = 300
SHORT: Final = 100
LONG: Final = 600
TRIES: Final = 3
# Of modules that nobody has imported yet the bytecode is made first, fifty times more slowly too.
START_S: Final = 300.0
MOST: Final = CALLGRIND / "most.json"


class Traced:
    """A server whose worker's instructions are counted."""

    def __init__(self, root: Path) -> None:
        """Start it. Raises RuntimeError if it does not come up."""
        self._dumps = root / "callgrind"
        self._dumps.mkdir()
        plain = CONTENDERS["hmacfs_relaxed"]
        tool = ("valgrind", "--tool=callgrind", "--trace-children=yes", "--quiet")
        output = f"--callgrind-out-file={self._dumps}/%p"
        # One hash seed, so that two runs of the same code take the same way.
        environ = {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{CALLGRIND}{os.pathsep}{CALLGRIND.parents[1]}"}
        self.server = Running(
            "hmacfs_relaxed",
            Folder(root=root),
            replace(plain, command=(*tool, output, *plain.command), environ=environ),
            patience_s=START_S,
        )
        self._worker = measure.tree(self.server.pids[0])[-1]

    def least(self, act: Callable[[], None]) -> int:
        """Return the least that `act` takes in some tries: what the worker does each second is not in it."""
        return min(self._count(act) for _ in range(TRIES))

    def _count(self, act: Callable[[], None]) -> int:
        self._control("--zero")
        act()
        measure.settle([self._worker])
        before = set(self._dumps.iterdir())
        self._control("--dump")
        (dump,) = set(self._dumps.iterdir()) - before
        return readings.callgrind(dump.read_text())

    def _control(self, order: str) -> None:
        subprocess.run(["callgrind_control", order, str(self._worker)], check=True, capture_output=True)


def ask(port: int, heads: list[bytes], body: bytes = b"") -> None:
    """Send requests one after the other on one connection, and read each answer whole."""
    with socket.create_connection((contenders.HOST, port), timeout=measure.PATIENCE_S) as sock:
        for head in heads:
            sock.sendall(head + body)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += sock.recv(1 << 17)
            first, _, rest = answer.partition(b"\r\n\r\n")
            if int(answer[9:12]) not in (200, 201, 206, 304):
                raise RuntimeError(f"the server answers {first!r}")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", first)
            left = (int(length[1]) if length else 0) - len(rest)
            while left > 0:
                left -= len(sock.recv(left))


def works(server: Running, where: Folder) -> dict[str, Callable[[int], None]]:
    """Return what is counted: for each name, what makes so many requests."""

    def gets(target: str, fields: str = "") -> Callable[[int], None]:
        head = folder.download(target, server.address).replace("\r\n\r\n", f"\r\n{fields}\r\n").encode()
        return lambda count: ask(server.port, [head] * count)

    def puts(count: int) -> None:
        body = where.body("1k").read_bytes()
        made = folder.uploads(where.served, server.address, len(body), count, signed=True)
        ask(server.port, [upload.head.encode() for upload in made], body)

    _, fields, _ = server.fetch(where.target("1k"))
    return {
        "get_1k": gets(where.target("1k")),
        "get_64k": gets(where.target("64k")),
        "unmodified": gets(where.target("1k"), f"If-None-Match: {fields['etag']}\r\n"),
        "range_64k": gets(where.target("1m"), "Range: bytes=65536-131071\r\n"),
        "put_1k": puts,
    }


def main() -> None:
    """Print instructions per request for each work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the counts")
    given = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("not installed: valgrind")
    root = Path(tempfile.mkdtemp(prefix="hmacfs-bench-", dir=os.environ.get("BENCH_DIRECTORY", "/var/tmp")))
    counts = {}
    try:
        where = Folder(root=root)
        where.make()
        # Else the server would be taking these into its index all the while.
        shutil.rmtree(where.served / "zipf")
        traced = Traced(root)
        try:
            for name, act in works(traced.server, where).items():
                act(WARM_UP)
                short = traced.least(functools.partial(act, SHORT))
                long = traced.least(functools.partial(act, LONG))
                counts[name] = (long - short) // (LONG - SHORT)
                print(f"{name:12} {counts[name]:9,} instructions/request", flush=True)
        finally:
            traced.server.stop()
    finally:
        shutil.rmtree(root)
    if given.json:
        given.json.write_text(json.dumps(counts, indent=1) + "\n")
    most: dict[str, int] = json.loads(MOST.read_text())
    if above := [name for name in most if counts[name] > most[name]]:
        raise SystemExit(f"more instructions than {MOST.name} allows: {', '.join(above)}")


if __name__ == "__main__":
    main()
