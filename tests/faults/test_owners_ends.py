"""However a connection ends, and wherever it was: nothing is left open, lent or counted, no number used.

On a quick disk and on a slow one, where threads are at work as the end comes; over traps (`trapping`).
"""

from __future__ import annotations

import collections
import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

import owners
import procfs
import pytest
import resuming
import selfsigned
import serving
import shims
import tracing
import trapping
import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Server

SETTINGS = """
[[endpoint]]
prefix = "/upload/"
protocols = ["v2"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt", "gojwt"]
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""
LARGE, SMALL, PART = 1_500_000, 60_000, 0.6
AT_ONCE = 2
COUNTED = (
    "hmacfs_connections",
    "hmacfs_active_uploads",
    "hmacfs_active_downloads",
    "hmacfs_buffer_pool_bytes",
)
BOUNDARY = "XyZ"


def half_a_head(_site: Site) -> bytes:
    return b"GET /upload/a/b HTTP/1.1\r\nHost: a\r\nX-Half"


def head_alone(_site: Site) -> bytes:
    return owners.put(serving.fresh(), LARGE)[:-LARGE]


def part(size: int, **fields: str) -> bytes:
    """Return a PUT of which not all comes."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    rel = serving.fresh()
    head = serving.head("PUT", serving.signed(rel, size), {"Content-Type": owners.TYPE, **named}, size)
    return head + owners.content(rel, size)[: int(size * PART)]


def part_of_small(_site: Site) -> bytes:
    return part(SMALL)


def part_of_large(_site: Site) -> bytes:
    return part(LARGE)


def part_of_resumable(_site: Site) -> bytes:
    return part(LARGE, Content_Range=f"bytes 0-{LARGE - 1}/{LARGE}")


def part_of_small_resumable(_site: Site) -> bytes:
    return part(SMALL, Upload_Complete="?1")


def part_of_chunked(_site: Site) -> bytes:
    rel = serving.fresh()
    target, token = serving.bearer(rel, LARGE, owners.TYPE, prefix="/share/")
    fields = {"Authorization": token, "Content-Type": owners.TYPE, "Transfer-Encoding": "chunked"}
    return serving.head("PUT", target, fields) + b"%x\r\n" % LARGE + bytes(LARGE // 2)


def part_of_form(_site: Site) -> bytes:
    _, token = serving.bearer("any/name", 0, dialect="gojwt")
    fields = {"Authorization": token, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    return serving.head("POST", "/upload", fields, LARGE) + top.encode() + bytes(LARGE // 2)


def whole(_site: Site) -> bytes:
    return owners.put(serving.fresh(), LARGE)


def whole_and_part(_site: Site) -> bytes:
    return owners.put(serving.fresh(), SMALL) + part(LARGE)


def downloads(site: Site) -> bytes:
    """Ask for more than a client's system holds, and for more behind it."""
    return 3 * serving.head("GET", f"/upload/{site.kept}", None)


def refused(_site: Site) -> bytes:
    """Go on with a body that nobody wants."""
    fields = {"Content-Type": owners.TYPE}
    return serving.head("PUT", "/upload/a/b?v2=none", fields, LARGE) + bytes(LARGE // 2)


PLACES = (
    half_a_head,
    head_alone,
    part_of_small,
    part_of_large,
    part_of_resumable,
    part_of_small_resumable,
    part_of_chunked,
    part_of_form,
    whole,
    whole_and_part,
    downloads,
    refused,
)


def reset(sock: socket.socket) -> None:
    resuming.reset(sock)


def end(sock: socket.socket) -> None:
    resuming.end(sock)


def half_close(sock: socket.socket) -> None:
    """Say that nothing more comes, and read whatever does."""
    with contextlib.suppress(OSError):
        if isinstance(sock, ssl.SSLSocket):
            sock.unwrap()
        else:
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
    sock.close()


ENDS = (reset, end, half_close)


class Site:
    """A server over traps, and what its worker has open when nobody is there."""

    def __init__(self, server: Server, crt: Path, traps: Path) -> None:
        self.server = server
        self.traps = traps
        self.kept = serving.fresh()
        assert server.put(self.kept, owners.content(self.kept, 4 * LARGE)).status == 201
        self._crt = crt
        self._port = selfsigned.port_of(server)
        self._used = 0

    def connect(self, *, tls: bool) -> socket.socket:
        """Open a connection."""
        return selfsigned.greet(self._port, self._crt) if tls else self.server.connect()

    def open_files(self) -> collections.Counter[str]:
        """Count what the worker has open: sockets, and each file."""
        (worker,) = self.server.workers
        return collections.Counter(target.partition(":")[0] for target in procfs.descriptors(worker).values())

    def uses(self) -> list[str]:
        """Return the uses of closed numbers since the last call."""
        found = trapping.reports(self.traps)
        used, self._used = found[self._used :], len(found)
        return used


@pytest.fixture(scope="module", params=["quick", "slow"])
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    program: Callable[[str], str],
    faulty: Path,
    trap: Path,
) -> Iterator[Site]:
    where = tmp_path_factory.mktemp("ends")
    crt, key = selfsigned.make(program("openssl"), where / "certificate")
    (log := where / "traps").mkdir()
    environ = trapping.environ(trap, log) | shims.preload(faulty, trap)
    if request.param == "slow":
        environ |= {"FAULTY_SLOW_BYTES": "4096", "FAULTY_SLOW_NONCES": "1"}
    with serving.running(where, environ=environ, rest=SETTINGS.format(crt=crt, key=key)) as server:
        yield (site := Site(server, crt, log))
        wire.settle(server)
    assert not site.uses()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_outlives_its_connection(
    site: Site,
    end: Callable[[socket.socket], None],
    tls: bool,  # noqa: FBT001 - a table's column
    rounds: Callable[[int, int], int],
) -> None:
    assert site.server.get(site.kept).status == 200
    settle(site)
    before = site.open_files()
    for _ in range(rounds(1, 25)):
        sockets = []
        for place in AT_ONCE * PLACES:
            sockets.append(sock := site.connect(tls=tls))
            sock.settimeout(serving.PATIENCE_S)
            with contextlib.suppress(OSError):  # refused before all was sent
                sock.sendall(place(site))
        for sock in sockets:
            end(sock)
    settle(site)
    deadline = time.monotonic() + serving.PATIENCE_S
    while more := site.open_files() - before:
        assert time.monotonic() < deadline, more
    assert not (used := site.uses()), "\n".join(used[:3])


def settle(site: Site) -> None:
    """Wait until nobody is connected, nothing is under way, and no memory is lent."""
    wire.settle(site.server)
    deadline = time.monotonic() + serving.PATIENCE_S
    while left := {name: value for name in COUNTED if (value := site.server.scrape()[name])}:
        assert time.monotonic() < deadline, left


def test_a_worker_that_ends_slowly_begins_nothing_more(tmp_path: Path, program: Callable[[str], str]) -> None:
    """Its clock went on, and started work on a store that was closed by then: `background-failed`."""
    slow = ("-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_exit=1500000")
    with serving.start(tmp_path, serving.configuration(tmp_path / "store")) as server:
        assert server.put(serving.fresh(), b"so that the index has a log to sync").status == 201
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]) as trace:
            assert server.stop() == 0
        assert trace.calls()
        assert not wire.failures(server)
