"""The end of an upload, broken off between any two steps: the client's next request finishes it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import disks
import pytest
import resuming
import serving
import tracing

from hmacfs.model import KiB, MiB
from hmacfs.store.directories import Directories
from hmacfs.store.files import Tree
from hmacfs.store.index import Index
from hmacfs.store.publish import Publisher
from hmacfs.store.sessions.completion import Completion
from hmacfs.store.sessions.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

pytestmark = pytest.mark.slow

SIZE = 300 * KiB
HALF = 100 * KiB
LASTS_S = 3600
# The steps of an upload's end, in their order.
STEPS = (
    Completion.seal,
    Publisher.seal,
    Index.add,
    Tree.link,
    Directories.settle,
    Completion.mark_stored,
    Folder.drop_bytes,
)
# Read by every Python process at its start: a process that begins the step named in the file dies of it.
DEADLY = """
import functools, importlib, os, pathlib, signal
deadly = pathlib.Path({deadly!r})
def arm(step):
    module, _, name = step.partition(" ")
    kind, _, method = name.partition(".")
    owner = getattr(importlib.import_module(module), kind)
    real = getattr(owner, method)
    @functools.wraps(real)
    def work(*args, **kwargs):
        if deadly.exists() and deadly.read_text() == step:
            deadly.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(owner, method, work)
for step in {steps!r}:
    arm(step)
"""
DISK_BYTES = 24 * MiB
PUBLISHING_US = 1_000_000
"""How long it takes to give a file its name; longer than anybody waits for that."""
LOCKS = Path("/proc/locks")


def configuration(where: Path) -> str:
    return serving.configuration(where / "store", rest=resuming.ENDPOINTS)


def begun(
    server: serving.Server, upload: resuming.Tus | resuming.Ietf, body: bytes, part: int = HALF
) -> None:
    """Bring an upload to `part`, and cut it there."""
    with server.connect() as sock:
        span = upload.find(sock)
        assert span is not None
        sock.sendall(upload.head(span) + body[:part])
        resuming.wait_stored(server.storage, part)


def finish(server: serving.Server, upload: resuming.Tus | resuming.Ietf, body: bytes) -> int:
    """Do what a client does next: ask, and send what is missing, if anything is; give how much that was."""
    missing = 0
    with server.connect() as sock:
        span = upload.find(sock)
        while span is not None:
            missing += span.length
            sock.sendall(upload.head(span) + body[span.start : span.stop])
            span = upload.took(span, serving.read_answer(sock, "PATCH"))
    return missing


def assert_published(server: serving.Server, upload: resuming.Tus | resuming.Ietf, body: bytes) -> None:
    """Compare file, row and what is served."""
    path = server.storage / upload.rel
    assert path.read_bytes() == body
    with contextlib.closing(sqlite3.connect(server.storage / ".hmacfs/index.db")) as index:
        select = "SELECT mtime_ns, size, content_type, expires FROM file WHERE key = ?"
        rows = index.execute(select, (upload.rel,)).fetchall()
    mtime_ns, size, content_type, expires = next(row for row in rows if row[0] == path.stat().st_mtime_ns)
    assert (mtime_ns, size, content_type) == (path.stat().st_mtime_ns, SIZE, resuming.TYPE)
    assert expires is None or expires > time.time()
    answer = server.request("GET", f"/{upload.rel}")
    assert (answer.status, answer.body) == (200, body)
    assert answer.fields["content-type"] == resuming.TYPE


@contextlib.contextmanager
def apart(where: Path) -> Iterator[None]:
    """Have unfinished uploads on another file system than the finished ones."""
    place = where / "store/.hmacfs"
    place.mkdir(parents=True)
    disks.run("mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "none", str(place))
    try:
        yield
    finally:
        disks.umount(place)


# Those of an upload whose parts lie on another file system.
CARRYING = (Publisher._carry, Tree.copy)


def test_a_worker_is_killed_at_each_step(tmp_path: Path, figure: Callable[[str], None]) -> None:
    kill_at(STEPS, tmp_path, figure)


@pytest.mark.usefixtures("administrator")
def test_a_worker_is_killed_at_each_step_between_file_systems(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    with apart(tmp_path):
        kill_at((*STEPS, *CARRYING), tmp_path, figure)


def kill_at(methods: Iterable[Callable[..., Any]], where: Path, figure: Callable[[str], None]) -> None:
    """Kill a worker as it calls each of these, and finish the upload that it was ending."""
    steps = [f"{method.__module__} {method.__qualname__}" for method in methods]
    body = resuming.body_of("steps", SIZE)
    deadly = where / "deadly"
    (where / "sitecustomize.py").write_text(DEADLY.format(deadly=str(deadly), steps=steps))
    environ = {"PYTHONPATH": os.pathsep.join([str(where), os.environ.get("PYTHONPATH", "")])}
    missing = {}
    for step in steps:
        with serving.start(where, configuration(where), environ=environ) as server:
            for upload in (resuming.Tus(SIZE), resuming.Ietf(SIZE)):
                begun(server, upload, body)
                deadly.write_text(step)
                with contextlib.suppress(OSError, EOFError):
                    finish(server, upload, body)
                server.wait_for("worker-died")
                missing[step, type(upload).__name__] = finish(server, upload, body)
                assert_published(server, upload, body)
                assert finish(server, upload, body) == 0
            assert server.stop() == 0
    figure(f"{len(missing)} deaths; the next request finished each upload, without a byte sent again")
    assert not any(missing.values())


def test_the_index_is_locked_as_an_upload_ends(tmp_path: Path) -> None:
    body = resuming.body_of("locked", SIZE)
    with serving.start(tmp_path, configuration(tmp_path)) as server, server.connect() as sock:
        server.wait_for("reconcile-done")
        upload = resuming.Tus(SIZE)
        begun(server, upload, body)
        span = upload.find(sock)
        assert span is not None
        with contextlib.closing(
            sqlite3.connect(server.storage / ".hmacfs/index.db", isolation_level=None)
        ) as outsider:
            outsider.execute("BEGIN EXCLUSIVE")
            sock.sendall(upload.head(span) + body[span.start :])
            answer = serving.read_answer(sock, "PATCH")
        assert answer.status == 503
        assert "retry-after" in answer.fields
        assert finish(server, upload, body) == 0
        assert_published(server, upload, body)


@pytest.mark.parametrize("call", ["linkat", "fsync"])
def test_the_storage_fails_as_an_upload_ends(
    tmp_path: Path, program: Callable[[str], str], call: str
) -> None:
    """Without its name the upload stays; of bytes that could not be synced nobody knows what they are."""
    body = resuming.body_of("failing", SIZE)
    with serving.start(tmp_path, configuration(tmp_path)) as server, server.connect() as sock:
        upload = resuming.Tus(SIZE)
        begun(server, upload, body)
        span = upload.find(sock)
        assert span is not None
        faults = ("-e", f"trace={call}", "-e", f"inject={call}:error=EIO")
        with tracing.attached(
            program("strace"), tmp_path / "log", *faults, process=server.workers[0]
        ) as trace:
            sock.sendall(upload.head(span) + body[span.start :])
            assert serving.read_answer(sock, "PATCH").status == 500
        assert trace.injected()
        if call == "linkat":
            assert finish(server, upload, body) == 0
            assert_published(server, upload, body)
        else:
            assert server.request("HEAD", upload.target, fields=upload.fields).status == 404
            assert resuming.parts_of(server.storage) == []


@pytest.mark.parametrize(
    ("upload", "statuses", "stays"),
    [
        (resuming.Tus(SIZE), (204, 204), False),  # whose owner takes it back with its file
        (resuming.Ietf(SIZE), (201, 409), True),  # no PUT URL does that
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, resuming.Tus | resuming.Ietf) else "",
)
def test_an_upload_is_deleted_while_it_is_published(
    tmp_path: Path,
    program: Callable[[str], str],
    upload: resuming.Tus | resuming.Ietf,
    statuses: tuple[int, int],
    *,
    stays: bool,
) -> None:
    """DELETE waits, is told to come again, and in the end says what is true of the file."""
    body = resuming.body_of("deleted", SIZE)
    slow = ("-e", "trace=linkat", "-e", f"inject=linkat:delay_enter={PUBLISHING_US}")
    with serving.start(tmp_path, configuration(tmp_path)) as server, server.connect() as sock:
        begun(server, upload, body)
        span = upload.find(sock)
        assert span is not None
        fields = {"Upload-Draft-Interop-Version": "8", **getattr(upload, "fields", {})}
        with tracing.attached(program("strace"), tmp_path / "log", *slow, process=server.workers[0]):
            sock.sendall(upload.head(span) + body[span.start :])
            wait_published(server.storage)
            said = [server.request("DELETE", upload.target, fields=fields).status]
            while said[-1] == 503:
                said.append(server.request("DELETE", upload.target, fields=fields).status)
            ended = serving.read_answer(sock, "PATCH").status
        assert len(said) > 1
        assert (ended, said[-1]) == statuses
        assert server.get(upload.rel.removeprefix("upload/")).status == (200 if stays else 404)
        assert (server.storage / upload.rel).exists() is stays
        assert server.request("HEAD", upload.target, fields=fields).status == (204 if stays else 404)


def wait_published(storage: Path) -> None:
    """Wait until the only unfinished upload is on its way to its name: until its bytes are locked."""
    (path,) = (path for path in resuming.parts_of(storage) if path.suffix != ".note")
    lock = f":{path.stat().st_ino} "
    deadline = time.monotonic() + serving.PATIENCE_S
    while lock not in LOCKS.read_text(encoding="ascii"):
        assert time.monotonic() < deadline


@pytest.mark.usefixtures("administrator")
def test_the_disk_is_full_in_the_middle(tmp_path: Path) -> None:
    """507, with what has come kept; and it goes on as soon as there is room."""
    size, part = 10 * MiB, 3 * MiB
    body = resuming.body_of("full", size)
    with (
        disks.tmpfs(tmp_path, f"size={DISK_BYTES}") as place,
        serving.start(tmp_path, configuration(tmp_path)) as server,
    ):
        upload = resuming.Tus(size)
        begun(server, upload, body, part)
        filler = place / "filler"
        filler.write_bytes(b"x" * (DISK_BYTES - 8 * MiB))
        with server.connect() as sock:
            span = upload.find(sock)
            assert span is not None
            assert span.start == part
            sock.sendall(upload.head(span))
            assert serving.read_answer(sock, "PATCH").status == 507
        chunk = b"%x\r\n" % (size - part) + body[part:] + b"\r\n0\r\n\r\n"
        head = upload.head(span).replace(
            f"Content-Length: {span.length}".encode(), b"Transfer-Encoding: chunked"
        )
        with server.connect() as sock, contextlib.suppress(OSError):
            sock.sendall(head + chunk)
            assert serving.read_answer(sock, "PATCH").status == 507
        with server.connect() as sock:
            span = upload.find(sock)
        assert span is not None
        assert part < span.start < size
        filler.unlink()
        assert finish(server, upload, body) == size - span.start
        assert (place / upload.rel).read_bytes() == body


@pytest.mark.usefixtures("administrator")
def test_room_is_not_taken_twice(tmp_path: Path) -> None:
    """What a broken request had reserved is there for the one that goes on with it, and for others."""
    size = DISK_BYTES - 6 * MiB
    body = resuming.body_of("room", size)
    with (
        disks.tmpfs(tmp_path, f"size={DISK_BYTES}") as place,
        serving.start(tmp_path, configuration(tmp_path)) as server,
    ):
        upload = resuming.Tus(size)
        begun(server, upload, body, MiB)
        server.wait_for("request", method="PATCH")
        assert server.put("other/file", bytes(MiB)).status == 201
        assert finish(server, upload, body) == size - MiB
        assert (place / upload.rel).read_bytes() == body
