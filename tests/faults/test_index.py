"""The index in trouble: locked by another program, gone, damaged. Files are served all the same."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import load
import pytest
import serving
import storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

BODY = b"body" * 1000
DOWNLOADS = 200
# Less than `store.index.BUSY_TIMEOUT_S`: who takes longer has waited for the lock.
FAST_S = 4.0


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the index as another program would that writes to it and does not end."""
    with contextlib.closing(sqlite3.connect(root / ".hmacfs/index.db", isolation_level=None)) as outsider:
        outsider.execute("BEGIN EXCLUSIVE")
        yield


def read_all(server: serving.Server, rels: list[str]) -> float:
    """Read each file; give the longest time that one took."""
    longest_s = 0.0
    for rel in rels:
        began = time.monotonic()
        answer = server.get(rel)
        longest_s = max(longest_s, time.monotonic() - began)
        assert (answer.status, answer.body) == (200, BODY)
        assert answer.fields["content-type"] == "text/plain"
    return longest_s


def stored(where: Path, count: int) -> list[str]:
    """Upload some files with a server that then ends."""
    rels = [f"dir{n}/file" for n in range(count)]
    with serving.running(where) as server:
        for rel in rels:
            assert server.put(rel, BODY, "text/plain").status == 201
    return rels


def test_downloads_go_on_while_the_index_is_locked(tmp_path: Path, figure: Callable[[str], None]) -> None:
    rels = stored(tmp_path, DOWNLOADS)
    with serving.running(tmp_path) as server:
        server.wait_for("reconcile-done")
        with locked(server.storage):
            first_s = read_all(server, rels)  # each asks the index for the signed type
            again_s = read_all(server, rels)  # these are remembered
            assert server.get("no/such").status == 404
    assert max(first_s, again_s) < FAST_S
    figure(f"{DOWNLOADS} files: at most {first_s * 1000:.1f} ms each at first, {again_s * 1000:.1f} ms later")


def test_an_upload_waits_for_a_lock_that_is_released(tmp_path: Path) -> None:
    rels = stored(tmp_path, DOWNLOADS)
    with serving.running(tmp_path) as server:
        server.wait_for("reconcile-done")
        statuses: list[int] = []
        upload = threading.Thread(target=lambda: statuses.append(server.put("late/file", BODY).status))
        with locked(server.storage):
            upload.start()
            read_all(server, rels)
            assert statuses == []
        upload.join()
        assert statuses == [201]
        assert ("upload/late/file") in {key for key, _ in storage.rows(server.storage)}


def test_an_upload_is_put_off_if_the_lock_stays(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with serving.running(tmp_path) as server:
        server.wait_for("reconcile-done")
        assert server.put("first/file", BODY, "text/plain").status == 201
        before = storage.names(server.storage)
        answers: list[serving.Answer] = []
        uploads = [
            threading.Thread(target=lambda n=n: answers.append(server.put(f"late{n}/file", BODY)))
            for n in range(6)
        ]
        began = time.monotonic()
        with locked(server.storage):
            for upload in uploads:
                upload.start()
            longest_s = 0.0
            while any(upload.is_alive() for upload in uploads):
                longest_s = max(longest_s, read_all(server, ["first/file"]))
            for upload in uploads:
                upload.join()
        took_s = time.monotonic() - began
        assert [answer.status for answer in answers] == [503] * 6
        assert all("retry-after" in answer.fields for answer in answers)
        assert longest_s < FAST_S
        assert storage.names(server.storage) == before
        assert [key for key, _ in storage.rows(server.storage)] == ["upload/first/file"]
        assert server.put("late0/file", BODY).status == 201
    figure(f"6 uploads answered 503 after {took_s:.1f} s; a download took at most {longest_s * 1000:.1f} ms")


def test_an_index_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    rels = stored(tmp_path, 20)
    for file in (tmp_path / "store/.hmacfs").glob("index.db*"):
        file.unlink()
    with serving.running(tmp_path) as server:
        assert server.wait_for("reconcile-done")["added"] == 20
        for rel in rels:
            assert server.get(rel).body == BODY
            assert server.put(rel, BODY).status == 409
        assert [key for key, _ in storage.rows(server.storage)] == sorted(f"upload/{rel}" for rel in rels)


def test_a_log_that_is_lost_is_made_up_for(tmp_path: Path) -> None:
    """A power cut of a disk that lies may lose the end of the log: files are served, rows come back."""
    rels = [f"dir{n}/file" for n in range(20)]
    with load.start_group(tmp_path, serving.configuration(tmp_path / "store")) as server:
        for rel in rels:
            assert server.put(rel, BODY).status == 201
        load.kill_all(server)
    log = tmp_path / "store/.hmacfs/index.db-wal"
    half = log.stat().st_size // 2
    with log.open("r+b") as file:
        file.truncate(half)
        file.write(b"\xff" * 100)
    with serving.running(tmp_path) as server:
        assert server.wait_for("reconcile-done")["added"] > 0
        for rel in rels:
            assert server.get(rel).body == BODY
        assert [key for key, _ in storage.rows(server.storage)] == sorted(f"upload/{rel}" for rel in rels)


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


@pytest.mark.parametrize(
    ("start", "data"),
    [(0, b"no database" * 1000), (16, b"\0" * 84), (100, b"\xff" * 3996)],
    ids=["another file", "header", "first page"],
)
def test_a_damaged_index_keeps_no_file_from_being_served(tmp_path: Path, start: int, data: bytes) -> None:
    rels = stored(tmp_path, 3)
    index = tmp_path / "store/.hmacfs/index.db"
    overwrite(index, start, data)
    with serving.running(tmp_path, provokes={"uploads-barred"}) as server:
        early = [line for line in server.events if line["event"] == "uploads-barred"]
        barred = early[0] if early else server.wait_for("uploads-barred")
        assert str(index) in barred["error"]
        status, told = server.operate("/readyz")
        assert (status, b"aside" in told, b"[-]downloads" in told) == (503, True, False)
        for rel in rels:
            assert server.get(rel).body == BODY
        assert server.put("late/file", BODY).status == 503
    for file in index.parent.glob("index.db*"):  # what the words advise
        file.rename(tmp_path / file.name)
    with serving.running(tmp_path) as server:
        assert server.wait_for("reconcile-done")["added"] == 3
        for rel in rels:
            assert server.get(rel).body == BODY


def test_a_damage_that_shows_itself_later_is_told(tmp_path: Path) -> None:
    """Leaf pages are damaged. From the first look-up that meets them on, nothing is asked of the index."""
    rels = stored(tmp_path, 300)
    overwrite(tmp_path / "store/.hmacfs/index.db", 5 * 4096, b"\xff" * (20 * 4096))
    before = storage.names(tmp_path / "store")
    with serving.running(tmp_path, provokes={"uploads-barred", "background-failed"}) as server:
        for rel in rels[::10]:
            assert server.get(rel).body == BODY
        server.wait_for("uploads-barred")
        assert server.operate("/readyz")[0] == 503
        assert {server.put(f"{rel}-2", BODY).status for rel in rels[::10]} == {503}
        assert storage.names(server.storage) == before
