"""A full disk: 507 and nothing left behind, the margin kept, downloads as ever, recovery at once."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import disks
import load
import pytest
import serving
import storage

from hmacfs.model import KiB, MiB
from hmacfs.policy import reservation

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("administrator")]

MARGIN_BYTES = 1 * MiB  # the tests' configuration says so
# The index lies on the same disk and takes what it needs of the margin; so do directories.
INDEX_BYTES = 512 * KiB
WORKERS = 2
RECOVERY_S = 30.0  # what does not recover takes for ever; how long it took is told
BODY = b"kept" * 5000
# Without extents ext4 has no fallocate(2), as NFS and old filesystems have none.
WITHOUT_RESERVATION = ("-m", "0", "-O", "^extents,^64bit,^has_journal")


@contextlib.contextmanager
def small_disk(where: Path, kind: str, size_bytes: int) -> Iterator[Path]:
    if kind == "tmpfs":
        with disks.tmpfs(where, f"size={size_bytes}") as place:
            yield place
        return
    options = WITHOUT_RESERVATION if kind == "without reservation" else ("-m", "0")
    with disks.image(where, size_bytes, options=options) as disk:
        disk.mount()
        yield disk.place


def free_bytes(place: Path) -> int:
    room = os.statvfs(place)
    return room.f_bavail * room.f_frsize


def fill(place: Path, leave_bytes: int) -> Path:
    """Fill the disk from outside with a file that can be removed again."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file:
        while (surplus := free_bytes(place) - leave_bytes) > 0:
            try:
                file.write(bytes(min(surplus, MiB)))
            except OSError:  # full before the filesystem's own account of it is
                break
    return filler


def ask(server: serving.Server, rel: str, size: int) -> socket.socket:
    """Send the head of an upload and wait to be asked for the body."""
    fields = {"Content-Type": "application/octet-stream", "Expect": "100-continue"}
    sock = server.connect()
    sock.sendall(serving.head("PUT", serving.signed(rel, size), fields, size))
    return sock


def assert_recovers(server: serving.Server, rel: str, body: bytes) -> float:
    """Upload again and again until it succeeds; that must be soon."""
    began = time.monotonic()
    while (answer := server.put(rel, body)).status == 507:
        assert time.monotonic() - began < RECOVERY_S
    assert answer.status == 201
    assert server.get(rel).body == body
    return time.monotonic() - began


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "without reservation"])
def test_the_head_alone_is_refused_if_there_is_no_room(tmp_path: Path, kind: str) -> None:
    with small_disk(tmp_path, kind, 32 * MiB) as place, serving.running(tmp_path) as server:
        room = free_bytes(place) - MARGIN_BYTES
        for size in (room + MiB, 9 * 1024 * MiB):
            with ask(server, "large/file", size) as sock:
                answer = serving.read_answer(sock)
            assert answer.status == 507
            assert b"disk_full" in answer.body
        assert server.files() == []
        assert free_bytes(place) >= room + MARGIN_BYTES - INDEX_BYTES
        with ask(server, "large/file", room - INDEX_BYTES) as sock:
            assert serving.read_answer(sock).status == 100


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_uploads_at_once_leave_the_margin(tmp_path: Path, kind: str, figure: Callable[[str], None]) -> None:
    """16 clients of two workers ask for twice the space there is; none goes below the margin.

    Space is taken as bytes come: some are refused at the head, others when the next step finds none.
    """
    clients, size = 16, 4 * MiB
    with small_disk(tmp_path, kind, 40 * MiB) as place, serving.running(tmp_path, workers=WORKERS) as server:
        assert server.put("first/file", BODY).status == 201
        rels = [f"dir{n}/{size}-{n}.bin" for n in range(clients)]
        sockets = [ask(server, rel, size) for rel in rels]
        statuses = [serving.read_answer(sock).status for sock in sockets]
        # Nobody has sent a byte, and the first step of each is taken.
        at_head = free_bytes(place)
        assert at_head >= MARGIN_BYTES - INDEX_BYTES
        for number, (sock, rel) in enumerate(zip(sockets, rels, strict=True)):
            if statuses[number] == 100:
                with contextlib.suppress(ConnectionError):  # refused before all of it was sent
                    sock.sendall(load.body_of(rel))
                statuses[number] = serving.read_answer(sock).status
            sock.close()
            assert free_bytes(place) >= MARGIN_BYTES - INDEX_BYTES
        assert set(statuses) == {201, 507}
        stored = [rel for rel, status in zip(rels, statuses, strict=True) if status == 201]
        assert server.files() == sorted(["upload/first/file", *(f"upload/{rel}" for rel in stored)])
        for rel in stored:
            assert server.get(rel).body == load.body_of(rel)
        at_end = free_bytes(place)
    figure(
        f"{len(stored)} of {clients} uploads of {size} bytes stored; free then {at_head} bytes, at the end "
        f"{at_end} of {MARGIN_BYTES} to be kept, index included"
    )


def test_the_margin_is_exact(tmp_path: Path) -> None:
    with small_disk(tmp_path, "tmpfs", 32 * MiB) as place, serving.running(tmp_path) as server:
        assert server.put("first/file", BODY).status == 201
        page = os.sysconf("SC_PAGE_SIZE")
        fill(place, MARGIN_BYTES + reservation.FIRST_BYTES // 2)  # less than a step: taken at once
        room = free_bytes(place) - MARGIN_BYTES
        with ask(server, "exact/file", room + 1) as sock:
            assert serving.read_answer(sock).status == 507
        with ask(server, "exact/file", room) as sock:
            assert serving.read_answer(sock).status == 100
            assert 0 <= free_bytes(place) - MARGIN_BYTES < page
            with ask(server, "other/file", 1) as second:
                assert serving.read_answer(second).status == 507


def test_a_disk_that_fills_up_under_a_body(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """No reservation protects the upload, and somebody else takes the space meanwhile."""
    size = 8 * MiB
    body = load.body_of(f"late/{size}-x")
    with (
        small_disk(tmp_path, "without reservation", 32 * MiB) as place,
        serving.running(tmp_path) as server,
    ):
        assert server.put("first/file", BODY).status == 201
        before = free_bytes(place)
        with ask(server, "late/file", size) as sock:
            assert serving.read_answer(sock).status == 100
            sock.sendall(body[:MiB])
            filler = fill(place, 0)
            with contextlib.suppress(ConnectionError):  # refused before all of it was sent
                sock.sendall(body[MiB:])
            assert serving.read_answer(sock).status == 507
        assert server.get("first/file").body == BODY
        assert server.files() == ["filler", "upload/first/file"]
        filler.unlink()
        took_s = assert_recovers(server, "late/file", body)
        assert server.files() == ["upload/first/file", "upload/late/file"]
        assert before - free_bytes(place) < size + INDEX_BYTES
        assert {key for key, _ in storage.rows(place)} == set(server.files())
    figure(f"uploads went on {took_s * 1000:.0f} ms after the space was back")


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_full_and_free_again(
    tmp_path: Path, kind: str, rounds: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    cycles = rounds(5, 50)
    worst_s = 0.0
    with small_disk(tmp_path, kind, 32 * MiB) as place, serving.running(tmp_path, workers=WORKERS) as server:
        assert server.put("first/file", BODY).status == 201
        server.wait_for("reconcile-done")  # else it may come to know the filler, and give it a row
        for cycle in range(cycles):
            filler = fill(place, MARGIN_BYTES // 2 if cycle % 2 else 0)
            with ThreadPoolExecutor(8) as clients:
                answers = list(clients.map(lambda n: server.put(f"late{n}/file", BODY), range(8)))
            assert [answer.status for answer in answers] == [507] * 8
            assert server.get("first/file").body == BODY
            status, told = server.operate("/readyz?verbose")
            assert status == 503
            assert b"disk_margin" in told
            assert str(MARGIN_BYTES).encode() in told
            filler.unlink()
            rel = f"dir{cycle}/file"
            worst_s = max(worst_s, assert_recovers(server, rel, BODY))
            assert server.operate("/readyz")[0] == 200
        stored = sorted(["upload/first/file", *(f"upload/dir{cycle}/file" for cycle in range(cycles))])
        assert server.files() == stored
        assert [key for key, _ in storage.rows(place)] == stored
        directories = {f"upload/dir{cycle}" for cycle in range(cycles)} | {"upload", "upload/first"}
        assert storage.names(place) - {"lost+found"} == directories | set(stored)
    figure(f"{cycles} times full: only 507; at the slowest {worst_s * 1000:.0f} ms to recover")


# The last is enough for all three, and for what periodic work may make meanwhile.
@pytest.mark.parametrize("left", [0, 1, 2, 9])
def test_no_inodes(tmp_path: Path, left: int) -> None:
    """The file itself, or one of its two new directories, finds no inode."""
    # Whether a probe, or periodic work, meets the moment without inodes is a matter of luck.
    with (
        disks.tmpfs(tmp_path, "size=32m,nr_inodes=100") as place,
        serving.running(tmp_path, provokes={"uploads-barred", "background-failed"}) as server,
    ):
        assert server.put("first/file", BODY).status == 201
        server.wait_for("reconcile-done")
        before = storage.names(place)
        fillers: list[Path] = []
        while os.statvfs(place).f_ffree > left:
            fillers.append(place / f"filler{len(fillers)}")
            fillers[-1].touch()
        answer = server.put("new/below/file", BODY)
        assert answer.status == (507 if left < 3 else 201)
        assert server.get("first/file").body == BODY
        for filler in fillers:
            filler.unlink()
        if left < 3:
            assert storage.names(place) == before
            assert_recovers(server, "new/below/file", BODY)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_server_starts_below_the_margin(tmp_path: Path, kind: str) -> None:
    """What is there is served; only uploads must wait."""
    with small_disk(tmp_path, kind, 32 * MiB) as place:
        with serving.running(tmp_path) as server:
            assert server.put("first/file", BODY, "text/plain").status == 201
        filler = fill(place, MARGIN_BYTES // 2)
        with serving.running(tmp_path, workers=WORKERS) as server:
            answer = server.get("first/file")
            assert (answer.status, answer.body) == (200, BODY)
            assert answer.fields["content-type"] == "text/plain"
            assert server.put("late/file", BODY).status == 507
            filler.unlink()
            assert_recovers(server, "late/file", BODY)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_workers_are_replaced_on_a_full_disk(tmp_path: Path, kind: str) -> None:
    with (
        small_disk(tmp_path, kind, 32 * MiB) as place,
        serving.running(
            tmp_path,
            workers=WORKERS,
            provokes={"worker-died", "uploads-barred", "background-failed"},
        ) as server,
    ):
        assert server.put("first/file", BODY).status == 201
        filler = fill(place, 0)
        load.kill(*server.workers)
        for _ in range(WORKERS):
            server.wait_for("worker-started")
        deadline = time.monotonic() + serving.PATIENCE_S
        while b"[-]workers" in server.operate("/readyz?verbose")[1]:
            assert time.monotonic() < deadline
        for _ in range(2 * WORKERS):
            assert server.get("first/file").body == BODY
            assert server.put("late/file", BODY).status == 507
        filler.unlink()
        assert_recovers(server, "late/file", BODY)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_start_without_a_byte_to_spare_serves_what_is_there(tmp_path: Path, kind: str) -> None:
    with small_disk(tmp_path, kind, 32 * MiB) as place:
        with serving.running(tmp_path, provokes={"uploads-barred", "worker-died"}) as server:
            assert server.put("first/file", BODY).status == 201
        filler = fill(place, 0)
        with serving.running(tmp_path, provokes={"uploads-barred", "worker-died"}) as server:
            assert server.get("first/file").body == BODY
            assert server.put("late/file", BODY).status == 507
            assert b"[-]uploads failed" in server.operate("/readyz")[1]
            filler.unlink()
            assert_recovers(server, "late/file", BODY)
