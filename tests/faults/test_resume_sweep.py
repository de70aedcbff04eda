"""Uploads that nobody goes on with any more: a running server drops them all, and nothing else."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import languages
import pytest
import resuming
import serving

from hmacfs.model import KiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIZE = 8 * KiB
HALF = 4 * KiB
# Many uploads are made sooner without syncs; what the sweep looks at are their times.
SERVER = 'durability = "relaxed"\nsweep_interval = "1s"\n'
# One upload stays silent in the middle of its body for as long as all the others take.
REST = f"""{resuming.ENDPOINTS}
[uploads]
sessiontimeout = "1h"
max_unfinished = 100000
[timeouts]
readtimeout = "10m"
"""
LONG_S = 7200


def abandon(server: serving.Server, count: int, body: bytes) -> None:
    """Begin uploads, by one connection, and leave each half done."""
    fields = {**resuming.bearer(), **languages.TUS, **languages.OCTETS, "Upload-Length": str(SIZE)}
    with server.connect() as sock:
        for _ in range(count):
            sock.sendall(serving.head("POST", "/files/", fields, HALF) + body[:HALF])
            answer = serving.read_answer(sock, "POST")
            assert answer.status == 201, answer


def set_back(paths: Iterable[Path]) -> None:
    """Let files look as if nobody had used them for long."""
    then = time.time() - LONG_S
    for path in paths:
        os.utime(path, (then, then))


def parts_since(server: serving.Server, before: set[Path]) -> set[Path]:
    """Return what is there of unfinished uploads beside what was there before."""
    return {*resuming.parts_of(server.storage)} - before


def test_abandoned_uploads_are_swept(
    tmp_path: Path, rounds: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    count = rounds(300, 10_000)
    body = resuming.body_of("swept", SIZE)
    with serving.running(tmp_path, workers=2, server=SERVER, rest=REST) as server, server.connect() as sock:
        assert server.put("a/plain", body).status == 201
        finished, running, waiting = resuming.Tus(SIZE), resuming.Tus(SIZE), resuming.Tus(SIZE)
        for upload in (finished, waiting):
            upload.find(sock)
        assert languages.patch(server, finished.target, 0, body, holds=resuming.bearer()).status == 204
        assert languages.patch(server, waiting.target, 0, body[:HALF], holds=resuming.bearer()).status == 204
        kept = {*resuming.parts_of(server.storage)}
        span = running.find(sock)
        assert span is not None
        sock.sendall(running.head(span) + body[:HALF])
        serving.until(lambda: len(parts_since(server, kept)) == 2)  # its bytes and its note
        in_use = parts_since(server, kept)
        kept |= in_use
        began = time.monotonic()
        abandon(server, count, body)
        made_s = time.monotonic() - began
        abandoned = parts_since(server, kept)
        assert len(abandoned) == 2 * count

        began = time.monotonic()
        set_back(abandoned)
        set_back(path for path in in_use if path.suffix)  # of its bytes the note knows nothing
        dropped = 0
        while dropped < count:
            dropped += server.wait_for("uploads-dropped", level="info")["dropped"]
        took_s = time.monotonic() - began
        assert dropped == count
        assert server.scrape()["hmacfs_expired_uploads_total"] == count
        assert {*resuming.parts_of(server.storage)} == kept

        sock.sendall(body[HALF:])
        assert running.took(span, serving.read_answer(sock, "PATCH")) is None
        assert languages.offset(server, waiting.target, resuming.bearer()) == HALF
        for rel in ("upload/a/plain", finished.rel, running.rel):
            assert (server.storage / rel).read_bytes() == body
        assert len(server.files()) == 3
    figure(f"{count} uploads abandoned in {made_s:.1f} s, all of them dropped {took_s:.1f} s later")
