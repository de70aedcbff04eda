"""Uploads cut again and again: they finish whole, and next to nothing is sent twice."""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING

import load
import pytest
import resuming
import serving
from resuming import Chunked, Ietf, Journey, Plain, Stall, Tus

from hmacfs.model import MiB

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from resuming import End

    Upload = Tus | Ietf | Chunked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SEED = "cuts"
REPEATED = 0.01
"""Share of the file that may be sent twice."""
OUT_OF = 6
"""Of so many cuts one is a worker's death, or a server's end."""


@pytest.fixture
def uploads(rounds: Callable[[int, int], int]) -> list[Upload]:
    """Return an upload in each language, of no round size."""
    size = rounds(6, 256) * MiB + 4321
    return [Tus(size), Ietf(size), Chunked(size)]


@pytest.fixture
def ends() -> Iterator[Iterator[End]]:
    stall = Stall()
    yield itertools.cycle([resuming.reset, resuming.end, stall])
    for sock in stall.open:
        sock.close()


def configuration(where: Path) -> str:
    # A chunk is kept whole or not at all, so less than a hundredth of what is between two cuts may be in one.
    rest = (
        f'{resuming.ENDPOINTS}[timeouts]\nshutdown = "500ms"\n'
        '[performance]\nmin_chunk_size = "9KB"\nmax_chunk_size = "9KB"\n'
    )
    # What a process has written outlives it without a sync; test_resume_power.py is about syncs.
    return serving.configuration(where / "store", workers=2, server='durability = "relaxed"', rest=rest)


def now_and_then(rare: End, usual: Iterator[End]) -> Iterator[End]:
    """Return a rare end among the usual ones."""
    for number in itertools.count(1):
        yield rare if number % OUT_OF == 2 else next(usual)


def carry(
    upload: Upload,
    connect: Callable[[], socket.socket],
    ends: Iterator[End],
    storage: Path,
    workers: tuple[int, ...] = (),
) -> tuple[bytes, Journey]:
    """Upload a body; give it and what that has cost."""
    body = resuming.body_of(SEED, upload.size)
    journey = Journey(storage=storage, every=MiB, ends=ends, workers=workers)
    journey.carry(upload, body, connect)
    return body, journey


def assert_whole(server: serving.Server, upload: Upload, body: bytes) -> None:
    """Look at the file and at what the server says of it; nothing of the upload is left but its note."""
    assert (server.storage / upload.rel).read_bytes() == body
    answer = server.request("HEAD", f"/{upload.rel}")
    assert answer.status == 200, answer
    assert answer.fields["content-type"] == resuming.TYPE
    assert all(path.suffix == ".note" for path in resuming.parts_of(server.storage))
    assert upload.told == sorted(upload.told)


def assert_little_is_repeated(upload: Upload, journey: Journey, figure: Callable[[str], None]) -> None:
    """Compare what was sent with the file. A chunk that did not come whole comes again."""
    again, size = journey.sent - upload.size, upload.size
    words = (
        f"{type(upload).__name__}: {size} bytes, {journey.cuts} cuts: {again} sent twice ({again / size:.3%})"
    )
    if isinstance(upload, Chunked):
        words += f", chunks of {upload.chunk}"
    figure(words)
    assert journey.cuts >= size // journey.every - 1
    assert again <= REPEATED * size


def test_any_cut(
    tmp_path: Path, figure: Callable[[str], None], uploads: list[Upload], ends: Iterator[End]
) -> None:
    """Reset, ended or silent; each retry lands on the other worker."""
    with serving.start(tmp_path, configuration(tmp_path)) as server:
        workers = itertools.cycle(server.workers)
        for upload in uploads:
            body, journey = carry(
                upload, lambda: resuming.connect_to(server, next(workers)), ends, server.storage
            )
            assert_whole(server, upload, body)
            assert_little_is_repeated(upload, journey, figure)


def test_plain_puts(
    tmp_path: Path, figure: Callable[[str], None], rounds: Callable[[int, int], int], ends: Iterator[End]
) -> None:
    """As above, and one in three times nobody knows yet that the connection is dead as the other is asked."""
    with serving.start(tmp_path, configuration(tmp_path)) as server:
        workers = itertools.cycle(server.workers)
        for number in range(rounds(6, 200)):
            upload = Plain(2 * MiB + 4321 * number)
            body, journey = carry(
                upload,
                lambda: resuming.connect_to(server, next(workers)),
                ends,
                server.storage,
                tuple(server.workers),
            )
            assert_whole(server, upload, body)
            assert_little_is_repeated(upload, journey, figure)


def test_deaths_of_workers(
    tmp_path: Path, figure: Callable[[str], None], uploads: list[Upload], ends: Iterator[End]
) -> None:
    with serving.start(tmp_path, configuration(tmp_path)) as server:
        killed = 0

        def kill(sock: socket.socket) -> None:
            nonlocal killed
            killed += 1
            load.kill(resuming.owner_of(server, sock))
            sock.close()
            server.wait_for("worker-died")

        for upload in uploads:
            body, journey = carry(upload, server.connect, now_and_then(kill, ends), server.storage)
            assert_whole(server, upload, body)
            assert_little_is_repeated(upload, journey, figure)
    figure(f"{killed} workers killed")
    assert killed >= len(uploads)


def test_restarts(
    tmp_path: Path, figure: Callable[[str], None], uploads: list[Upload], ends: Iterator[End]
) -> None:
    """SIGTERM in the middle of a body, with which the client does not go on; then a new server."""
    servers = [serving.start(tmp_path, configuration(tmp_path))]

    def restart(sock: socket.socket) -> None:
        assert servers[-1].stop() == 0
        sock.close()
        servers.append(serving.start(tmp_path, configuration(tmp_path)))

    try:
        for upload in uploads:
            body, journey = carry(
                upload,
                lambda: servers[-1].connect(),  # noqa: PLW0108 - the last server changes
                now_and_then(restart, ends),
                tmp_path / "store",
            )
            assert_whole(servers[-1], upload, body)
            assert_little_is_repeated(upload, journey, figure)
    finally:
        with servers[-1]:
            pass
    figure(f"{len(servers) - 1} restarts")
    assert len(servers) > len(uploads)


def test_reloads(tmp_path: Path, uploads: list[Upload]) -> None:
    """SIGHUP in the middle of each body: it goes on as if nothing had been."""
    with serving.start(tmp_path, configuration(tmp_path)) as server:
        for upload in uploads:
            body = resuming.body_of(SEED, upload.size)
            with server.connect() as sock:
                span = upload.find(sock)
                while span is not None:
                    half = span.start + span.length // 2
                    sock.sendall(upload.head(span) + body[span.start : half])
                    server.signal(signal.SIGHUP)
                    server.wait_for("reload-done")
                    sock.sendall(body[half : span.stop])
                    span = upload.took(span, serving.read_answer(sock, "PATCH"))
            assert_whole(server, upload, body)
