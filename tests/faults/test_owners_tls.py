"""A TLS answer holds nobody else's download, whatever the client does to its own records."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import owners
import pytest
import records
import resuming
import selfsigned
import serving
import shims
import trapping
import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Server

SETTINGS = """
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""
SIZE = 300_000
LONG = 6_000_000
"""More than a server and its client's system take for each other, so that an answer waits in the middle."""
ROOM = 65_536


class Site:
    """A server with TLS, and files of which each tells its own bytes."""

    def __init__(self, server: Server, crt: Path, keys: Path) -> None:
        self.server = server
        self.port = selfsigned.port_of(server)
        self.crt = crt
        self.keys = keys

    def file(self, size: int = SIZE) -> str:
        """Store a file; give its path."""
        rel = serving.fresh()
        assert self.server.put(rel, owners.content(rel, size)).status == 201
        return rel

    def client(self, room: int = 0) -> records.Client:
        """Shake hands."""
        return records.Client(self.port, self.crt, self.keys, room=room)


class Others:
    """Two who download all the while."""

    def __init__(self, site: Site) -> None:
        self._stack = contextlib.ExitStack()
        self._clients = [(self._stack.enter_context(site.client()), site.file()) for _ in range(2)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def download(self) -> list[str]:
        """Download both files at once; say what is wrong with them."""
        for client, rel in self._clients:
            client.send(client.record(records.APPLICATION, get(rel)))
        answers = [(rel, client.answer()) for client, rel in self._clients]
        return [words for rel, answer in answers if (words := owners.differs(rel, answer.body, SIZE))]


def get(rel: str) -> bytes:
    return serving.head("GET", f"/upload/{rel}", None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Site]:
    where = tmp_path_factory.mktemp("tls")
    crt, key = selfsigned.make(program("openssl"), where / "certificate")
    with serving.running(where, rest=SETTINGS.format(crt=crt, key=key)) as server:
        yield Site(server, crt, where / "keys")
        wire.settle(server)


def wrong(client: records.Client, begun: bytes, rel: str, size: int) -> str:
    """Read an answer with a file, of which some has come; say what is wrong with it."""
    first = begun or client.recv(1 << 14)
    if not first.startswith(b"HTTP/1.1 200 "):
        return f"{rel}: answered by {first[:80]!r}"
    answer, rest = serving.take_answer(client, first)
    return owners.differs(rel, answer.body + rest, size)


@dataclass(frozen=True)
class Way:
    """How a client cuts its KeyUpdate while an answer is due."""

    cut: int = len(records.KEY_UPDATE)
    """Bytes of it in the first record."""
    asks: int = 0
    """Whether the server is to update its key too."""
    size: int = SIZE
    room: int = 0


WAYS = {
    **{f"cut at {cut}": Way(cut=cut) for cut in (1, 2, 3, 4)},
    "asks for another": Way(asks=1),
    "in the middle of an answer": Way(size=LONG, room=ROOM),
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_key_update_in_two_records_gives_nobody_others_bytes(
    site: Site, way: Way, figure: Callable[[str], None], rounds: Callable[[int, int], int]
) -> None:
    """10 of 10 answers held up to 128 KiB of the others' downloads, heads included."""
    update, bad, count = records.KEY_UPDATE + bytes([way.asks]), [], rounds(3, 110)
    rel = site.file(way.size)
    with Others(site) as others:
        for _ in range(count):
            with site.client(way.room) as client:
                asked = client.record(records.APPLICATION, get(rel))
                half = client.record(records.HANDSHAKE, update[: way.cut])
                begun = b""
                if way.room:  # the answer is on its way, and waits for us
                    client.send(asked)
                    begun = client.recv(1 << 14)
                    client.send(half)
                else:  # in one piece, so that it is half read when the answer is begun
                    client.send(asked, half)
                bad += others.download()
                client.send(client.record(records.HANDSHAKE, update[way.cut :]))
                client.update()
                bad += [words] if (words := wrong(client, begun, rel, way.size)) else []
    figure(f"{len(bad)} wrong beside {count} key updates")
    assert not bad, "\n".join(bad)


RESETTERS, READERS = 6, 2


class Resetting:
    """Clients that begin an upload over TLS and reset while a thread writes, beside others who download."""

    def __init__(self, site: Site, wanted: int) -> None:
        """Go on until so many uploads are reset."""
        self.site = site
        self.wanted = wanted
        self.reset = 0
        self.bad: list[str] = []
        self.kept = site.file()
        self.crowd = owners.Crowd()
        self.crowd.add(RESETTERS, self.begin_and_reset)
        self.crowd.add(READERS, self.download)

    def begin_and_reset(self) -> None:
        rel = serving.fresh()
        fields = {"Content-Range": f"bytes 0-{LONG - 1}/{LONG}", "Content-Type": owners.TYPE}
        put = serving.head("PUT", serving.signed(rel, LONG), fields, LONG) + owners.content(rel, SIZE)
        with selfsigned.greet(self.site.port, self.site.crt) as sock:
            sock.sendall(put)
            self.wait_begun(rel)
            resuming.reset(sock)
        self.reset += 1
        if self.reset >= self.wanted:
            self.crowd.done.set()

    def wait_begun(self, rel: str) -> None:
        """Wait until a thread writes what has come."""
        first = owners.content(rel, owners.PIECE_BYTES)
        deadline = time.monotonic() + serving.PATIENCE_S
        while not any(begins(path, first) for path in resuming.parts_of(self.site.server.storage)):
            assert time.monotonic() < deadline, "nothing is stored"

    def download(self) -> None:
        with selfsigned.greet(self.site.port, self.site.crt) as sock:
            sock.sendall(get(self.kept))
            answer = serving.read_answer(sock)
        self.bad += [words] if (words := owners.differs(self.kept, answer.body, SIZE)) else []


def begins(path: Path, first: bytes) -> bool:
    """Whether a file is there and begins so."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(len(first)) == first
    return False


@pytest.mark.timeout(1800)
def test_a_reset_while_a_thread_writes_leaves_no_number_in_use(  # noqa: PLR0913, PLR0917 - fixtures
    tmp_path: Path,
    program: Callable[[str], str],
    faulty: Path,
    trap: Path,
    figure: Callable[[str], None],
    rounds: Callable[[int, int], int],
) -> None:
    """The request's end read a number that the loop had closed: EBADF, or another client's socket."""
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    (log := tmp_path / "traps").mkdir()
    environ = trapping.environ(trap, log)
    environ |= {"FAULTY_SLOW_BYTES": "4096", "FAULTY_SLOW_NONCES": "1", **shims.preload(faulty, trap)}
    with serving.running(tmp_path, environ=environ, rest=SETTINGS.format(crt=crt, key=key)) as server:
        clients = Resetting(Site(server, crt, tmp_path / "keys"), rounds(100, 2000))
        clients.crowd.run()
        wire.settle(server)
    used = trapping.reports(log)
    figure(f"{len(used)} uses of closed numbers beside {clients.reset} resets")
    assert not used, "\n".join(used[:3])
    assert not clients.bad, "\n".join(clients.bad)
