"""A TLS answer holds nobody else's download, whatever the client does to its own records."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import owners
import pytest
import records
import selfsigned
import serving
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

    def __enter__(self) -> Others:
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
