"""What several connections are worth to one upload: `PYTHONPATH=tests python -m benches.connections`.

`hmacfs put` of 64 MiB to an endpoint, over 1, 2 and 4 connections by turns, through a link that gives each
connection so much a second, each way so late (`clients/link.py`), as a path with loss or a shaper per flow
does. What is timed is the command's own `seconds`: without its start, with the joining and the digests.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import resuming
import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Server

MiB: Final = 1024 * 1024
FILE_BYTES: Final = 64 * MiB
CONNECTIONS: Final = (1, 2, 4)
ROUNDS: Final = 3
RATE: Final = 16 * MiB
DELAY_S: Final = 0.02
LINK: Final = Path(__file__).parent / "clients/link.py"


@contextlib.contextmanager
def link(server: Server) -> Iterator[str]:
    """Lend the base URL of the server's endpoint behind the link."""
    shape = map(str, (server.port, RATE, DELAY_S, 0, 1))
    with subprocess.Popen([sys.executable, str(LINK), *shape], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/files/"
        finally:
            process.kill()


def put(server: Server, base: str, file: Path, connections: int) -> float:
    """Upload `file`; give how many seconds it took. Raises CalledProcessError."""
    signing = ("--config", str(server.config), "--base-url", base, "--protocol", "tus")
    words = ("-m", "hmacfs", "put", "--json", "--connections", str(connections), *signing, str(file))
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, check=True)
    ended = json.loads(done.stdout)
    assert ended["retries"] == 0, ended
    seconds: float = ended["seconds"]
    return seconds


def main() -> None:
    """Print how long it takes, and the ratio to one connection by round."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY", "/var/tmp")) as folder:
        file = Path(folder, "file.bin")
        file.write_bytes(os.urandom(FILE_BYTES))
        with serving.running(Path(folder), rest=resuming.ENDPOINTS) as server, link(server) as base:
            rounds = [{count: put(server, base, file, count) for count in CONNECTIONS} for _ in range(ROUNDS)]
    print(f"{FILE_BYTES // MiB} MiB, {RATE // MiB} MiB/s each, {DELAY_S * 1000:.0f} ms each way")
    for count in CONNECTIONS:
        times = [one[count] for one in rounds]
        ratios = [one[count] / one[CONNECTIONS[0]] for one in rounds]
        print(
            f"{count} connections: {statistics.median(times):5.2f} s ({min(times):.2f}-{max(times):.2f})"
            f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
