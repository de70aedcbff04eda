"""What TLS in this process costs beside nginx's: `PYTHONPATH=tests python -m benches.tls` prints a table.

Both serve the same certificate from core 0, with one worker; the clients, h2load and curl, run on core 1.
Rounds alternate, the first is thrown away, and the figure is the median of CPU time.
"""

from __future__ import annotations

import itertools
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import fronts
import loopback
import selfsigned
import serving

from benches import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS: Final = 5
SECONDS: Final = 3
FILES: Final = 4
SMALL_BYTES: Final = 64 * 1024
LARGE_BYTES: Final = 100 * 1024 * 1024
GB: Final = 1_000_000_000
PINNED: Final = ("taskset", "-c", "0")
CLIENT: Final = ("taskset", "-c", "1")
TYPE: Final = "application/octet-stream"
NGINX: Final = """
default_type application/octet-stream;
sendfile on;
tcp_nopush on;
keepalive_requests 1000000000;
access_log /dev/null;
server {{
    listen {listen} ssl;
    ssl_certificate {crt};
    ssl_certificate_key {key};
    root {store};
    location /upload/ {{ dav_methods PUT; create_full_put_path on; client_max_body_size 0; }}
}}
"""
OURS: Final = """
[tls]
listen_address = "{listen}"
certificate = "{crt}"
key = "{key}"
"""


class Rival(NamedTuple):
    """A running server."""

    name: str
    base: str
    pid: int
    store: Path
    target: Callable[[str], str]
    """Where a file of LARGE_BYTES goes, with its token if it needs one."""

    def cpu_s(self) -> float:
        """Return the CPU time of all its processes."""
        return measure.cpu_s(measure.tree(self.pid))


def small(rival: Rival) -> float:
    """Return microseconds of CPU for a GET of 64 KiB, kept connections."""
    before = rival.cpu_s()
    command = [*CLIENT, "h2load", "--h1", "-c16", f"-D{SECONDS}", f"{rival.base}/upload/small/small.bin"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = re.search(r"(\d+) succeeded, 0 failed", said)
    assert done is not None, said
    return (rival.cpu_s() - before) / int(done[1]) * 1e6


def large(rival: Rival, place: Path) -> float:
    """Return seconds of CPU for each GB that is downloaded in files of 100 MiB."""
    before = rival.cpu_s()
    host, port = rival.base.removeprefix("https://").split(":")
    for _ in range(FILES):
        _curl(place, host, port, "--output", "/dev/null", "/upload/large/large.bin")
    return (rival.cpu_s() - before) / (FILES * LARGE_BYTES / GB)


def put(rival: Rival, place: Path) -> float:
    """Return the same for uploads; each file is unlinked at once."""
    before = rival.cpu_s()
    host, port = rival.base.removeprefix("https://").split(":")
    for _ in range(FILES):
        rel = serving.fresh()
        _curl(place, host, port, "-H", f"Content-Type: {TYPE}", "-T", str(place / "large"), rival.target(rel))
        (rival.store / "upload" / rel).unlink()
    return (rival.cpu_s() - before) / (FILES * LARGE_BYTES / GB)


def _curl(place: Path, host: str, port: str, *words: str) -> None:
    *options, target = words
    command = [*CLIENT, "curl", "--silent", "--show-error", "--fail", "--http1.1"]
    command += ["--cacert", str(place / "crt.pem"), "--resolve", f"{selfsigned.NAME}:{port}:{host}"]
    subprocess.run(
        [*command, *options, f"https://{selfsigned.NAME}:{port}{target}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def nginx(place: Path) -> Iterator[Rival]:
    """Run nginx with TLS."""
    listen = loopback.free_address()
    folder, store = place / "nginx", place / "nginx-store"
    folder.mkdir()
    text = NGINX.format(listen=listen, crt=place / "crt.pem", key=place / "key.pem", store=store)
    front = fronts.Place(
        folder=folder, listen=listen, upstream="", certificate=place / "crt.pem", key=place / "key.pem"
    )
    proxy = fronts.nginx_of(front, text, _program)
    with loopback.served([*PINNED, *proxy.run], listen, place / "nginx.log") as process:
        yield Rival("nginx", f"https://{listen}", process.pid, store, "/upload/{}".format)


def _program(name: str) -> str:
    return shutil.which(name, path="/usr/sbin:/usr/bin") or name


def hmacfs(place: Path) -> Iterator[Rival]:
    """Run this server with TLS."""
    listen = loopback.free_address()
    where = place / "hmacfs"
    where.mkdir()
    (place / "hmacfs-store").rename(where / "store")
    rest = OURS.format(listen=listen, crt=place / "crt.pem", key=place / "key.pem")
    text = serving.configuration(where / "store", rest=rest)
    with serving.start(where, text, wrap=PINNED) as server:
        # Or this process, which reads the log, would be part of what is measured.
        server.config.write_text(text.replace("[logging]", '[logging]\nlevel = "error"'))
        server.signal(signal.SIGHUP)
        time.sleep(1)
        yield Rival(
            "hmacfs",
            f"https://{listen}",
            server.process.pid,
            where / "store",
            lambda rel: serving.signed(rel, LARGE_BYTES),
        )


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        place = Path(folder)
        place.chmod(0o755)
        selfsigned.make(_program("openssl"), place)
        for name in ("nginx", "hmacfs"):
            for size, file in ((SMALL_BYTES, "small"), (LARGE_BYTES, "large")):
                path = place / f"{name}-store" / "upload" / file / f"{file}.bin"
                path.parent.mkdir(parents=True)
                path.write_bytes(bytes(range(256)) * (size // 256))
        shutil.copy(place / "nginx-store/upload/large/large.bin", place / "large")
        for first, second in zip(hmacfs(place), nginx(place), strict=True):
            table(first, second, place)


def table(ours: Rival, rival: Rival, place: Path) -> None:
    """Measure both in turn and print a row for each work."""
    works: dict[str, Callable[[Rival], float]] = {
        "GET 64 KiB, us a request": small,
        "GET 100 MiB, s a GB": lambda one: large(one, place),
        "PUT 100 MiB, s a GB": lambda one: put(one, place),
    }
    print("| TLS 1.3 | hmacfs | nginx | ratio |\n|---|---|---|---|")
    for name, work in works.items():
        found: dict[str, list[float]] = {ours.name: [], rival.name: []}
        for turn, one in itertools.product(range(ROUNDS + 1), (ours, rival)):
            figure = work(one)
            if turn:
                found[one.name].append(figure)
        a, b = (statistics.median(found[one.name]) for one in (ours, rival))
        print(f"| {name} | {a:.2f} | {b:.2f} | {a / b:.2f} |", flush=True)


if __name__ == "__main__":
    main()
