"""A storage that keeps failing: uploads are put off at once, downloads go on, until it is well again."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
import serving
import tracing
from serving import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

BODY = bytes(range(256)) * 40
# Five faults in a row open it, but those within 20 ms count as one.
FEW = 100
# The tries of a step end within half a second; the rest is for a machine that runs other tests too.
SOON_S = 30.0


@contextlib.contextmanager
def failing(strace: str, where: Path, server: serving.Server, call: str, error: str) -> Iterator[None]:
    """Make every such call of the worker fail."""
    options = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}")
    with tracing.attached(strace, where / "log", *options, process=server.workers[0]):
        yield


def put(server: serving.Server) -> serving.Answer:
    return server.put(serving.fresh(), BODY)


def ask(server: serving.Server) -> serving.Answer:
    """Send the head of an upload alone."""
    fields = {"Content-Type": "application/octet-stream", "Expect": "100-continue"}
    with server.connect() as sock:
        sock.sendall(serving.head("PUT", serving.signed(serving.fresh(), len(BODY)), fields, len(BODY)))
        return serving.read_answer(sock)


def opened(server: serving.Server, dependency: str) -> tuple[float, float]:
    """Return how many workers put uploads off, and how often one began to."""
    samples = server.scrape()
    label = f'{{dependency="{dependency}"}}'
    return samples[f"hmacfs_breaker_open{label}"], samples[f"hmacfs_breaker_opened_total{label}"]


@pytest.mark.parametrize(
    ("call", "dependency"),
    [("pwrite64", "storage"), ("fsync", "storage"), ("linkat", "storage"), ("fdatasync", "index")],
)
def test_uploads_are_put_off_while_the_storage_fails(
    tmp_path: Path, program: Callable[[str], str], call: str, dependency: str
) -> None:
    with serving.running(tmp_path) as server:
        kept = serving.fresh()
        assert server.put(kept, BODY).status == 201
        with failing(program("strace"), tmp_path, server, call, "EIO"):
            statuses = []
            while (answer := put(server)).status != 503:
                statuses.append(answer.status)
                assert len(statuses) < FEW
            assert set(statuses) == {500}
            assert b"storage_unavailable" in answer.body
            assert answer.fields["content-type"].startswith("application/problem+json")
            assert int(answer.fields["retry-after"]) >= 1
            assert server.wait_for("breaker-opened", dependency=dependency)["error"]
            assert ask(server).status == 503  # no body is asked for
            assert server.get(kept).body == BODY

            def unready() -> bool:
                assert put(server).status in (500, 503)  # a probe now and then
                status, words = server.operate("/readyz")
                return status == 503 and f"[-]{dependency} failed: 1 of 1 workers".encode() in words

            until(unready)
            assert opened(server, dependency)[1] == 1
        until(lambda: put(server).status == 201)
        server.wait_for("breaker-closed", dependency=dependency)
        assert put(server).status == 201
        until(lambda: server.operate("/readyz")[0] == 200)
        assert opened(server, dependency) == (0, 1)


@pytest.mark.parametrize("call", ["pwrite64", "fsync", "linkat"])
def test_a_full_disk_is_no_fault(tmp_path: Path, program: Callable[[str], str], call: str) -> None:
    with serving.running(tmp_path) as server:
        assert put(server).status == 201
        with failing(program("strace"), tmp_path, server, call, "ENOSPC"):
            assert {put(server).status for _ in range(10)} == {507}
        assert put(server).status == 201
        assert opened(server, "storage") == opened(server, "index") == (0, 0)


def test_switched_off_every_upload_is_tried(tmp_path: Path, program: Callable[[str], str]) -> None:
    with serving.running(tmp_path, rest="[streaming]\ncircuit_breaker = false") as server:
        assert put(server).status == 201
        with failing(program("strace"), tmp_path, server, "linkat", "EIO"):
            assert {put(server).status for _ in range(10)} == {500}
        assert put(server).status == 201


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.parametrize("call", ["openat2", "linkat"])
@pytest.mark.parametrize("error", ["EBUSY", "EINTR", "EAGAIN"])
def test_what_passes_by_itself_is_tried_again(
    tmp_path: Path, program: Callable[[str], str], durability: str, call: str, error: str
) -> None:
    with serving.running(tmp_path, server=f'durability = "{durability}"') as server:
        assert put(server).status == 201
        once = f"inject={call}:error={error}:when=1"
        options = ("-e", f"trace={call}", "-e", once)
        with tracing.attached(
            program("strace"), tmp_path / "log", *options, process=server.workers[0]
        ) as trace:
            assert put(server).status == 201
        assert trace.injected()
        assert opened(server, "storage") == (0, 0)


@pytest.mark.parametrize("call", ["openat2", "linkat"])
def test_what_does_not_pass_is_put_off_soon(tmp_path: Path, program: Callable[[str], str], call: str) -> None:
    with serving.running(tmp_path) as server:
        assert put(server).status == 201
        with failing(program("strace"), tmp_path, server, call, "EBUSY"):
            began = time.monotonic()
            answer = put(server)
            assert time.monotonic() - began < SOON_S
            assert (answer.status, b'"busy"' in answer.body or b"/busy" in answer.body) == (503, True)
        assert put(server).status == 201
        assert opened(server, "storage") == (0, 0)


def test_without_retries_it_is_put_off_at_once(tmp_path: Path, program: Callable[[str], str]) -> None:
    with serving.running(tmp_path, rest="[streaming]\nautomatic_retry = false") as server:
        assert put(server).status == 201
        with failing(program("strace"), tmp_path, server, "linkat", "EBUSY"):
            assert put(server).status == 503
        calls = [call for call in tracing.Trace(tmp_path / "log").calls() if call.name == "linkat"]
        assert len(calls) == 1
