"""A lock that cannot be had, a note that cannot be read: what was drawn is refused, and never left out.

The shim makes every ninth shared lock fail, or every fortieth look at a note's nonce.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import owners
import pytest
import serving
import shims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Server

SIZE, PIECE = 900_000, 450_000
SNDBUF = 8192  # so little is on the way that the server looks at the body many times
FAULTS = {"no lock": {"FAULTY_LOCKS": "9"}, "no nonce": {"FAULTY_NONCES": "40"}}
MOST_TRIES = 200
ANSWER_S = 20.0
"""How long a client waits for an answer before it takes the request for lost, and asks where it is."""
MOST_SILENT = 2
SILENT = "silent"
ANSWERS = {200, 201, 204, 404, 500, 503}
STORE_THREADS = 8
"""Steps of the store that one worker makes at a time."""


class Resuming:
    """A client that uploads in pieces by Content-Range and asks where it is whenever one fails."""

    def __init__(self, server: Server, size: int = SIZE) -> None:
        self.server = server
        self.size = size
        self.told: collections.Counter[int | str] = collections.Counter()

    def upload(self, rel: str) -> bool:
        """Upload a file until it is acknowledged; give whether it was, before the server fell silent."""
        target, offset = serving.signed(rel, self.size), 0
        for _ in range(MOST_TRIES):
            answer = self.request("PUT", target, *self.piece(rel, offset))
            if answer is not None and answer.status == 201:
                return True
            answer = self.request("HEAD", target, {})
            if answer is not None and answer.status == 200:  # the file itself: only the answer was lost
                return True
            if answer is not None:
                offset = 0 if answer.status == 404 else int(answer.fields.get("upload-offset", offset))
            if self.told[SILENT] >= MOST_SILENT:
                return False
        raise AssertionError(f"not acknowledged: {dict(self.told)}")

    def piece(self, rel: str, offset: int) -> tuple[dict[str, str], bytes]:
        """Return the fields and the bytes of what comes next; none if all of it is there."""
        stop = min(offset + PIECE, self.size)
        span = f"{offset}-{stop - 1}" if offset < self.size else "*"
        fields = {"Content-Range": f"bytes {span}/{self.size}", "Content-Type": owners.TYPE}
        return fields, owners.content(rel, self.size)[offset:stop]

    def request(
        self, method: str, target: str, fields: dict[str, str], body: bytes = b""
    ) -> serving.Answer | None:
        """Make one request, whose body goes a few packets at a time; None if it is not answered."""
        head = serving.head(method, target, fields, len(body) if method == "PUT" else None)
        with self.server.connect() as sock:
            sock.settimeout(ANSWER_S)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF)
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    sock.sendall(head + body)
                answer = serving.read_answer(sock, method)
            except TimeoutError:
                self.told[SILENT] += 1
                return None
        self.told[answer.status] += 1
        return answer


def failures(where: Path) -> int:
    """Return how many calls the shim has made to fail."""
    return (where / "faults").stat().st_size


@contextlib.contextmanager
def failing(where: Path, faulty: Path, faults: dict[str, str]) -> Iterator[Server]:
    """Run a server that meets these faults; SIGTERM must end it, whatever it had to do."""
    environ = {**shims.preload(faulty), **faults, "FAULTY_LOG": str(where / "faults")}
    (where / "faults").touch()
    with serving.start(where, serving.configuration(where / "store"), environ=environ) as server:
        workers = server.workers
        try:
            yield server
            assert failures(where), "nothing failed"
            assert server.stop() == 0
        finally:
            for worker in workers:  # one whose threads wait for ever would outlive this test
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_could_not_be_stored_is_not_left_out(
    tmp_path: Path,
    faulty: Path,
    fault: str,
    figure: Callable[[str], None],
    rounds: Callable[[int, int], int],
) -> None:
    """23 of 25 acknowledged files lacked bytes, and what followed had moved up."""
    bad = []
    with failing(tmp_path, faulty, FAULTS[fault]) as server:
        client = Resuming(server)
        wanted, whole = rounds(10, 110), 0
        while whole < wanted and client.upload(rel := serving.fresh()):
            whole += 1
            bad += [words] if (words := owners.wrong(server, rel, SIZE)) else []
        figure(f"{len(bad)} wrong of {whole}, {failures(tmp_path)} calls failed: {dict(client.told)}")
        assert not bad, "\n".join(bad)
        assert set(client.told) <= ANSWERS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("size", [40_000, SIZE], ids=["by the transport", "by turns"])
def test_a_lock_behind_which_the_disk_failed_keeps_no_thread(
    tmp_path: Path, faulty: Path, figure: Callable[[str], None], size: int
) -> None:
    """Eight such uploads, and a worker stored nothing any more, was ready all the same, and did not end."""
    with failing(tmp_path, faulty, {"FAULTY_FENCES": "1"}) as server:
        client = Resuming(server, size)
        slots = [serving.fresh() for _ in range(2 * STORE_THREADS)]
        for rel in slots:
            client.request("PUT", serving.signed(rel, size), *client.piece(rel, 0))
            if client.told[SILENT] >= MOST_SILENT:
                break
        for rel in slots:
            assert client.request("HEAD", serving.signed(rel, size), {}) is not None, client.told
        # Faults in a row may have closed the store for a moment; whoever asks again is let in.
        deadline = time.monotonic() + serving.PATIENCE_S
        while (answer := server.put(rel := serving.fresh(), owners.content(rel, size))).status == 503:
            assert time.monotonic() < deadline, f"nothing is stored any more: {dict(client.told)}"
        figure(f"{failures(tmp_path)} looks failed: {dict(client.told)}")
        assert answer.status == 201
        assert not owners.wrong(server, rel, size)
        assert set(client.told) <= ANSWERS
