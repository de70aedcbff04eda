"""The benches' own client against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import resuming
import serving

from benches import folder, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Server

STREAMS = Path(__file__).parents[2] / "benches" / "clients" / "streams.py"
SIZE = 300_000
UPLOADS = 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving.running(tmp_path) as running:
        yield running


def run(server: Server, **order: Any) -> subprocess.CompletedProcess[str]:
    plain = {"stored": [], "piece": 0, "rest": ""}
    text = json.dumps({"host": server.host, "port": server.port, "connections": 2, **plain, **order})
    return subprocess.run(
        [sys.executable, str(STREAMS)], input=text, capture_output=True, text=True, timeout=60, check=False
    )


def test_uploads_arrive_whole_and_are_unlinked_at_once(server: Server, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(SIZE))
    rels = [serving.fresh() for _ in range(UPLOADS)]
    fields = {"Content-Type": "application/octet-stream"}
    heads = [serving.head("PUT", serving.signed(rel, SIZE), fields, SIZE).decode() for rel in rels]
    stored = [str(server.storage / "upload" / rel) for rel in rels]
    done = run(server, heads=heads, stored=stored, body=str(body), size=SIZE, seconds=60)
    assert done.returncode == 0, done.stderr
    sample = readings.streams(done.stdout)
    assert (sample.requests, sample.bytes) == (UPLOADS, UPLOADS * SIZE)
    assert server.files() == []
    assert not any((server.storage / "upload").iterdir())  # nor the directories made for them


def test_resumable_uploads_arrive_whole_and_are_unlinked_at_once(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(SIZE))
    holder = "".join(f"{name}: {value}\r\n" for name, value in resuming.bearer().items())
    with serving.running(tmp_path, rest=resuming.ENDPOINTS) as server:
        for language in folder.LANGUAGES:
            done = run(
                server,
                heads=[folder.beginning(language, server.host, holder, SIZE)] * UPLOADS,
                stored=[str(server.storage / "files" / "{id}" / "upload")] * UPLOADS,
                body=str(body),
                size=SIZE,
                piece=SIZE // 3 + 1,
                rest=folder.going_on(language, server.host, holder),
                seconds=60,
            )
            assert done.returncode == 0, done.stderr
            sample = readings.streams(done.stdout)
            assert (sample.requests, sample.bytes) == (UPLOADS, UPLOADS * SIZE)
        assert not any((server.storage / "files").iterdir())


def test_downloads_are_counted_by_their_bodies(server: Server) -> None:
    rel = serving.fresh()
    assert server.put(rel, bytes(SIZE)).status == 201
    head = serving.head("GET", f"/upload/{rel}", None).decode()
    done = run(server, heads=[head], body="", size=0, seconds=0.2)
    assert done.returncode == 0, done.stderr
    sample = readings.streams(done.stdout)
    assert sample.requests > 0
    assert sample.bytes == sample.requests * SIZE


def test_a_refusal_ends_the_client(server: Server) -> None:
    head = serving.head("GET", "/upload/nobody/has.it", None).decode()
    done = run(server, heads=[head], body="", size=0, seconds=60)
    assert done.returncode != 0
    assert "not {200}" in done.stderr
