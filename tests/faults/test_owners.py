"""No file, no answer holds another's bytes: whatever is closed, ended or taken over while threads are at it.

Every case was seen once. The disk is slow or fails by a shim that counts calls, so that the fault needs no
luck; the full form (HMACFS_FULL=1) runs until it would have been seen a hundred times over.
"""

from __future__ import annotations

import collections
import socket
from typing import TYPE_CHECKING

import owners
import pytest
import serving
import shims
import wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serving import Server

SLOW_BYTES = 4096
LARGE, MIDDLE, SMALL, SHORT = 1_500_000, 70_000, 66_000, 100


class HalfClosing:
    """Clients that keep a lane's threads busy, some that read back what was stored, some that half-close."""

    def __init__(self, server: Server, wanted: int) -> None:
        """Go on until so many files of those who wait for 201 are read back."""
        self.server = server
        self.wanted = wanted
        self.bad: list[str] = []
        self.read = 0
        self.told: collections.Counter[object] = collections.Counter()
        self.crowd = owners.Crowd()
        self.crowd.add(5, self.keep_busy)
        self.crowd.add(4, self.wait_and_read)
        self.crowd.add(4, self.half_close)

    def keep_busy(self) -> None:
        rel = serving.fresh()
        with self.server.connect() as sock:
            sock.sendall(owners.put(rel, LARGE))
            assert serving.read_answer(sock, "PUT").status == 201
        self.look(rel, LARGE)

    def wait_and_read(self) -> None:
        rel = serving.fresh()
        with self.server.connect() as sock:
            sock.sendall(owners.put(rel, MIDDLE))
            assert serving.read_answer(sock, "PUT").status == 201
        self.look(rel, MIDDLE)
        self.read += 1
        if self.read >= self.wanted:
            self.crowd.done.set()

    def half_close(self) -> None:
        """Ask for two uploads at once, all of both, and say that nothing more comes (RFC 9112 9.6)."""
        rels = {serving.fresh(): SHORT, serving.fresh(): SMALL}
        with self.server.connect() as sock:
            sock.sendall(b"".join(owners.put(rel, size) for rel, size in rels.items()))
            sock.shutdown(socket.SHUT_WR)
            rest = b""
            for rel, size in rels.items():
                try:
                    answer, rest = serving.take_answer(sock, rest, "PUT")
                except (EOFError, OSError) as error:
                    self.told[type(error).__name__] += 1
                    break
                self.told[answer.status] += 1
                if answer.status == 201:
                    self.look(rel, size)

    def look(self, rel: str, size: int) -> None:
        if words := owners.wrong(self.server, rel, size):
            self.bad.append(words)


@pytest.mark.timeout(3600)
def test_half_closing_behind_whole_uploads_gives_nobody_others_bytes(
    tmp_path: Path, faulty: Path, figure: Callable[[str], None], rounds: Callable[[int, int], int]
) -> None:
    """3 of 384 acknowledged files began with the half-closing client's bytes; none of its own was stored."""
    environ = {**shims.preload(faulty), "FAULTY_SLOW_BYTES": str(SLOW_BYTES)}
    with serving.running(tmp_path, environ=environ) as server:
        clients = HalfClosing(server, rounds(100, 12_800))
        clients.crowd.run()
        figure(f"{len(clients.bad)} wrong beside {clients.read} read back; half-closed: {dict(clients.told)}")
        assert not clients.bad, "\n".join(clients.bad)
        assert set(clients.told) == {201}
        wire.settle(server)
