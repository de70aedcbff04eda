"""Several who write one upload at once: the newest wins, in one piece, and one of them finishes it."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import languages
import pytest
import resuming
import serving
import tracing

from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

WRITERS = 8
PIECE = 64 * KiB
SIZE = 6 * PIECE + 321
SEED = 8
BACKOFF_S = 0.01
SMALL = 1000
BEGINNINGS = {
    "put": ("PUT", {"Upload-Complete": "?1"}),
    "post": ("POST", {"Upload-Complete": "?1"}),
    "range": ("PUT", {"Content-Range": f"bytes 0-{SMALL - 1}/{SMALL}"}),
}
"""Ways to begin an upload to a slot, and to bring all of it."""
PROMPT_MS = 10_000  # who waits for what does not answer waits for [timeouts] readtimeout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[serving.Server]:
    text = serving.configuration(tmp_path / "store", workers=2, rest=resuming.ENDPOINTS)
    with serving.start(tmp_path, text) as running:
        yield running


@dataclass
class Race:
    """One upload and what its writers were told."""

    server: serving.Server
    upload: resuming.Tus
    taken: list[tuple[int, int, int]] = field(default_factory=list)
    """Start, stop and writer of what was acknowledged."""
    statuses: Counter[int] = field(default_factory=Counter)
    finished: list[int] = field(default_factory=list)
    """Writers that were acknowledged the last byte."""

    def write(self, writer: int, chance: random.Random) -> None:
        """Ask how far it is and add a piece, until it is whole; if overtaken, wait ever longer before."""
        told = -1
        overtaken = 0
        while told < SIZE:
            time.sleep(chance.uniform(0, BACKOFF_S * overtaken))
            overtaken += 1
            try:
                with self.server.connect() as sock:
                    head = resuming.ask(sock, "HEAD", self.upload.target, self.upload.fields)
                    self.statuses[head.status] += 1
                    if head.status != 200:  # a newer one came between
                        assert head.status in {409, 503}, head
                        continue
                    start = int(head.fields["upload-offset"])
                    assert start >= told, "the offset went back"
                    told = start
                    stop = min(start + chance.randint(1, PIECE), SIZE)
                    if start < stop and self._add(sock, writer, start, stop):
                        told, overtaken = stop, 0
            except (OSError, EOFError):  # in the middle of the body
                self.statuses[0] += 1

    def _add(self, sock: socket.socket, writer: int, start: int, stop: int) -> bool:
        """Add a piece; give whether nobody else was quicker."""
        patch = {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        head = serving.head("PATCH", self.upload.target, {**self.upload.fields, **patch}, stop - start)
        body = pattern(writer) * (stop - start)
        sock.sendall(head)
        sock.sendall(body)
        answer = serving.read_answer(sock, "PATCH")
        self.statuses[answer.status] += 1
        if answer.status != 204:
            assert answer.status in {409, 503}, answer
            return False
        assert int(answer.fields["upload-offset"]) == stop
        self.taken.append((start, stop, writer))
        if stop == SIZE:
            self.finished.append(writer)
        return True


def pattern(writer: int) -> bytes:
    """Return the byte that a writer writes."""
    return bytes([ord("A") + writer])


def assert_explained(data: bytes, taken: list[tuple[int, int, int]]) -> None:
    """Each acknowledged piece is there in one piece, and none overlaps another."""
    at = 0
    for start, stop, writer in sorted(taken):
        assert start >= at, "two acknowledged pieces overlap"
        assert data[start:stop] == pattern(writer) * (stop - start)
        at = stop
    # Between them lie beginnings of pieces whose writers were overtaken: each of one writer's bytes.
    assert set(data) <= {pattern(writer)[0] for writer in range(WRITERS)}


def test_writers_on_two_workers(
    server: serving.Server, rounds: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    statuses: Counter[int] = Counter()
    races = rounds(10, 1000)
    for number in range(races):
        upload = resuming.Tus(SIZE)
        with server.connect() as sock:
            upload.find(sock)
        race = Race(server, upload)
        threads = [
            threading.Thread(target=race.write, args=(writer, random.Random(f"{SEED}/{number}/{writer}")))
            for writer in range(WRITERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(serving.PATIENCE_S)
            assert not thread.is_alive()
        data = (server.storage / upload.rel).read_bytes()
        assert len(data) == SIZE
        assert_explained(data, race.taken)
        assert len(race.finished) <= 1  # none, if the answer to the last byte was an overtaken one's
        statuses += race.statuses
    figure(f"seed {SEED}: {races} races of {WRITERS} writers: {dict(sorted(statuses.items()))}")
    assert len(server.files()) == races


@pytest.mark.parametrize("workers", [(0, 1), (0, 0)], ids=["two", "one"])
def test_two_that_begin_an_upload_to_one_slot(
    server: serving.Server,
    rounds: Callable[[int, int], int],
    figure: Callable[[str], None],
    workers: tuple[int, int],
) -> None:
    """One stores its file; the other has lost it to that one, and is not told to begin once more."""
    said: Counter[str] = Counter()
    pids = [server.workers[worker] for worker in workers]
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(resuming.connect_to(server, pid)) for pid in pids]
        pairs = itertools.combinations_with_replacement(BEGINNINGS, 2)
        for ways in itertools.chain.from_iterable(itertools.repeat(tuple(pairs), rounds(5, 500))):
            name = serving.fresh("f.mp4")
            target = serving.signed(name, SMALL, resuming.TYPE)
            for writer, (sock, way) in enumerate(zip(socks, ways, strict=True)):
                method, fields = BEGINNINGS[way]
                head = serving.head(method, target, {**fields, "Content-Type": resuming.TYPE}, SMALL)
                sock.sendall(head + pattern(writer) * SMALL)
            codes = []
            for writer, pid in enumerate(pids):
                answer = serving.read_answer(socks[writer], "PUT")
                codes.append("" if answer.status == 201 else languages.refusal(answer)[1])
                if answer.fields.get("connection") == "close":
                    socks[writer] = stack.enter_context(resuming.connect_to(server, pid))
            said.update(codes)
            # "busy" if the disk is so slow that the older is still being published.
            assert sorted(codes) in [["", "busy"], ["", "exists"], ["", "upload_taken_over"]]
            assert server.get(name).body == pattern(codes.index("")) * SMALL
    figure(f"of the two one was stored, the other was told: {dict(said)}")


def test_who_is_overtaken_behind_its_last_byte_is_told_of_its_own_bytes(
    server: serving.Server, program: Callable[[str], str], tmp_path: Path
) -> None:
    """The older one looks slowly at how far the file is; by then the newer one has added to it."""
    slow = ("-e", "trace=fstat,newfstatat", "-e", "inject=fstat,newfstatat:delay_enter=200000")
    upload = resuming.Tus(SIZE)
    patch = {**upload.fields, "Content-Type": "application/offset+octet-stream"}
    first, second = server.workers
    with resuming.connect_to(server, first) as old, resuming.connect_to(server, second) as new:
        upload.find(new)
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=first):
            head = serving.head("PATCH", upload.target, {**patch, "Upload-Offset": "0"}, 1000)
            old.sendall(head + pattern(0) * 1000)
            resuming.wait_stored(server.storage, 1000)
            head = serving.head("PATCH", upload.target, {**patch, "Upload-Offset": "1000"}, 500)
            new.sendall(head + pattern(1) * 500)
            assert serving.read_answer(new, "PATCH").fields["upload-offset"] == "1500"
            answer = serving.read_answer(old, "PATCH")
        assert answer.status == 204
        assert answer.fields["upload-offset"] == "1000"


@pytest.mark.parametrize("method", ["HEAD", "PATCH"])
def test_a_newer_request_is_answered_at_once(
    server: serving.Server, rounds: Callable[[int, int], int], figure: Callable[[str], None], method: str
) -> None:
    """An old connection stalls in its body; a newer one is at the other worker. Then the old one sends on."""
    taken_s = []
    size, part = 4 * MiB, MiB
    for _ in range(rounds(3, 200)):
        upload = resuming.Tus(size)
        first, second = server.workers
        with resuming.connect_to(server, first) as old, resuming.connect_to(server, second) as new:
            span = upload.find(old)
            assert span is not None
            old.sendall(upload.head(span) + b"o" * part)
            resuming.wait_stored(server.storage, part)
            span = span._replace(start=part)
            began = time.monotonic()
            if method == "HEAD":
                assert upload.find(new) == span
            else:
                new.sendall(upload.head(span) + b"n")
                resuming.wait_stored(server.storage, part + 1)
                span = span._replace(start=part + 1)
            taken_s.append(time.monotonic() - began)
            with contextlib.suppress(ConnectionError):
                old.sendall(b"o" * part)
                assert serving.read_answer(old, "PATCH").status == 409
            if method == "HEAD":
                new.sendall(upload.head(span))
            new.sendall(b"n" * span.length)
            assert serving.read_answer(new, "PATCH").status == 204
        assert (server.storage / upload.rel).read_bytes() == b"o" * part + b"n" * (size - part)
    assert_prompt(taken_s, f"{method} by the other worker", figure)


@pytest.mark.parametrize("here", [True, False], ids=["the same worker", "the other worker"])
def test_a_silent_plain_put_is_taken_over_at_once(
    server: serving.Server, rounds: Callable[[int, int], int], figure: Callable[[str], None], *, here: bool
) -> None:
    """It stalls in its body; its owner asks how far it is, and goes on. Then the old one sends on."""
    taken_s = []
    size, part = 4 * MiB, MiB
    first, second = server.workers
    for _ in range(rounds(5, 200)):
        upload = resuming.Plain(size)
        asked = first if here else second
        with resuming.connect_to(server, first) as old, resuming.connect_to(server, asked) as new:
            span = upload.find(old)
            assert span is not None
            old.sendall(upload.head(span) + b"o" * part)
            resuming.wait_stored(server.storage, part, (first,))
            began = time.monotonic()
            span = upload.find(new)
            taken_s.append(time.monotonic() - began)
            assert span == (part, size)
            with contextlib.suppress(ConnectionError):
                old.sendall(b"o" * part)
                assert serving.read_answer(old, "PUT").status == 409
            new.sendall(upload.head(span) + b"n" * span.length)
            assert serving.read_answer(new, "PUT").status == 201
        assert (server.storage / upload.rel).read_bytes() == b"o" * part + b"n" * (size - part)
    assert_prompt(taken_s, f"HEAD by {'the same' if here else 'the other'} worker than a plain PUT's", figure)


def assert_prompt(taken_s: list[float], what: str, figure: Callable[[str], None]) -> None:
    """Show how long it took each time."""
    taken_s.sort()
    median_ms, most_ms = taken_s[len(taken_s) // 2] * 1000, taken_s[-1] * 1000
    figure(f"{what}, {len(taken_s)} times: median {median_ms:.1f} ms, max {most_ms:.1f} ms")
    assert median_ms < PROMPT_MS
