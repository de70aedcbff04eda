"""Power cuts while uploads are under way: what was told of them is there when the machine comes back.

As in `test_power`; here each acknowledgement that an upload gets is once the last one before a cut.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import disks
import languages
import load
import pytest
import resuming
import serving

from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from hmacfs.model import Span

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("administrator")]

Stage: TypeAlias = "Callable[[serving.Server], Upload]"
"""Brings a new upload to where a cut finds it."""

SIZE_BYTES = 64 * MiB
SIZE = 300 * KiB
SENT = 120 * KiB
RESERVED = 64 * KiB
ANOTHER_BOOT = bytes(16)
CHUNKED = '[performance]\nmin_chunk_size = "64KiB"\nmax_chunk_size = "64KiB"\n'
BOOT_AT = 32
"""Where a note says in which boot the bytes were written (`hmacfs.store.sessions.session_file`)."""


@dataclass
class Upload:
    """An upload, and what its client was told of it."""

    name: str
    client: resuming.Client
    told: int = 0
    """Bytes that the client was told it need not send again."""
    right: int = SIZE
    """Bytes that the server may know to be right."""
    expires: float | None = None
    connection: socket.socket | None = None
    """One on which more is coming as the power is cut."""
    body: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.body = resuming.body_of(f"{self.name}/{self.client.rel}", SIZE)

    @property
    def finished(self) -> bool:
        """Whether the client was told that it is whole."""
        return self.told == SIZE

    @property
    def landmark(self) -> int:
        """Where the upload's bytes tell its file from others."""
        return 0

    def survivor(self, storage: Path) -> Path | None:
        """Return the file that looks as this upload does, if there is one."""
        at = self.landmark
        for path in [path for path in resuming.parts_of(storage) if not path.suffix]:
            with path.open("rb") as file:
                file.seek(at)
                if file.read(64) == self.body[at : at + 64]:
                    return path
        return None

    def count_survived(self, storage: Path) -> int:
        """Count the bytes of an unfinished upload that came through the cut."""
        path = self.survivor(storage)
        data = b"" if path is None else path.read_bytes()
        pairs = zip(data, self.body, strict=False)
        return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(data), SIZE))

    def ask(self, server: serving.Server) -> None:
        """Ask how far the upload is; the answer is an acknowledgement."""
        with server.connect() as sock:
            span = self.client.find(sock)
        self.told = SIZE if span is None else span.start


@dataclass
class Chunks(Upload):
    """An upload whose chunks come in any order."""

    status: str = ""
    """Where its status is told."""
    stored: list[Span] = field(default_factory=list)
    """Chunks that were acknowledged."""

    @property
    def landmark(self) -> int:
        return self.stored[0].start

    def count_survived(self, storage: Path) -> int:
        path = self.survivor(storage)
        data = b"" if path is None else path.read_bytes()
        return sum(
            span.length
            for span in self.stored
            if data[span.start : span.stop] == self.body[span.start : span.stop]
        )

    def ask(self, server: serving.Server) -> None:
        answer = server.request("GET", self.status)
        assert answer.status == 200, answer
        said = json.loads(answer.body)
        assert (said["chunks"], said["completed"]) == (len(self.stored), self.finished)
        self.told = said["uploaded_bytes"]


def tus() -> resuming.Tus:
    return resuming.Tus(SIZE)


def ietf() -> resuming.Ietf:
    return resuming.Ietf(SIZE)


def break_off(server: serving.Server, head: bytes, upload: Upload) -> None:
    """Send a request's first bytes and end the connection; wait until they are stored."""
    with server.connect() as sock:
        sock.sendall(head + upload.body[:SENT])
    wait_stored(server, upload, SENT)


def wait_stored(server: serving.Server, upload: Upload, size: int) -> None:
    """Wait until so many bytes of an upload are in its file."""
    deadline = time.monotonic() + serving.PATIENCE_S
    while (path := upload.survivor(server.storage)) is None or path.stat().st_size < size:
        assert time.monotonic() < deadline


def created(server: serving.Server) -> Upload:
    upload = Upload("created", tus())
    upload.ask(server)
    return upload


def appended(server: serving.Server) -> Upload:
    client = tus()
    upload = Upload("appended", client)
    upload.ask(server)
    answer = languages.patch(server, client.target, 0, upload.body[:SENT], holds=resuming.bearer())
    assert answer.status == 204, answer
    upload.told = SENT
    return upload


def checksum_head(client: resuming.Tus, body: bytes) -> bytes:
    """Write the head of a request whose bytes count once they are compared with their checksum."""
    digest = base64.b64encode(hashlib.sha1(body[:SENT], usedforsecurity=False).digest()).decode()
    fields = {**client.fields, **languages.OCTETS, "Upload-Offset": "0"}
    return serving.head("PATCH", client.target, {**fields, "Upload-Checksum": f"sha1 {digest}"}, SENT)


def checked(server: serving.Server) -> Upload:
    """Meanwhile the note of what is not compared yet has reached the disk by itself, as it does in time."""
    client = tus()
    upload = Upload("checked", client)
    others = {*resuming.parts_of(server.storage)}
    upload.ask(server)
    (note,) = (path for path in resuming.parts_of(server.storage) if path.suffix and path not in others)
    with server.connect() as sock:
        sock.sendall(checksum_head(client, upload.body) + upload.body[: SENT // 2])
        wait_stored(server, upload, SENT // 2)
        sync(note)
        sock.sendall(upload.body[SENT // 2 : SENT])
        answer = serving.read_answer(sock, "PATCH")
    assert answer.status == 204, answer
    upload.told = SENT
    return upload


def unchecked(server: serving.Server) -> Upload:
    """Broken off before its checksum was compared; the bytes have reached the disk by themselves."""
    client = tus()
    upload = Upload("unchecked", client, right=0)
    upload.ask(server)
    with server.connect() as sock:
        sock.sendall(checksum_head(client, upload.body) + upload.body[: SENT // 2])
        wait_stored(server, upload, SENT // 2)
    path = upload.survivor(server.storage)
    assert path is not None
    sync(path)
    return upload


def asked(server: serving.Server) -> Upload:
    """Broken off, and told by HEAD how far it is."""
    upload = Upload("asked", ietf())
    with server.connect() as sock:
        span = upload.client.find(sock)
    assert span is not None
    break_off(server, upload.client.head(span), upload)
    upload.ask(server)
    return upload


def salvaged(server: serving.Server) -> Upload:
    """A plain PUT, broken off."""
    client = ietf()
    client.begun = True
    upload = Upload("salvaged", client)
    head = serving.head("PUT", client.target, {"Content-Type": resuming.TYPE}, SIZE)
    break_off(server, head, upload)
    upload.ask(server)
    return upload


def ended_by_tus(server: serving.Server) -> Upload:
    expires = float(int(time.time()) + 3600)
    client = tus()
    client.fields = {**languages.TUS, **languages.holder(expires=expires)}
    upload = Upload("ended by tus", client, expires=expires)
    finish(server, upload)
    return upload


def ended_by_ietf(server: serving.Server) -> Upload:
    upload = asked(server)
    upload.name = "ended by the IETF's draft"
    finish(server, upload)
    return upload


def begin_chunks(server: serving.Server, name: str, *numbers: int) -> tuple[Chunks, resuming.Chunked]:
    """Begin an upload in chunks, and bring those of these numbers."""
    client = resuming.Chunked(SIZE)
    with server.connect() as sock:
        client.find(sock)
        status = f"/upload-status?session_id={client.session}&{client.query}"
        upload = Chunks(name, client, status=status)
        for span in (client.span(number) for number in numbers):
            sock.sendall(client.head(span) + upload.body[span.start : span.stop])
            assert serving.read_answer(sock, "POST").status == 200
            upload.stored.append(span)
            upload.told += span.length
    return upload, client


def some_chunks(server: serving.Server) -> Upload:
    return begin_chunks(server, "some chunks", 4, 0, 2)[0]


def chunk_in_flight(server: serving.Server) -> Upload:
    """What has come of the chunk has reached the disk by itself."""
    upload, client = begin_chunks(server, "a chunk in flight", 3, 1)
    span = client.span(4)
    upload.connection = server.connect()
    upload.connection.sendall(client.head(span) + upload.body[span.start : -1])
    wait_stored(server, upload, SIZE - 1)
    path = upload.survivor(server.storage)
    assert path is not None
    sync(path)
    return upload


def all_chunks(server: serving.Server) -> Upload:
    return begin_chunks(server, "all chunks", 2, 4, 0, 3, 1)[0]


STAGES: tuple[Stage, ...] = (
    checked,
    unchecked,
    salvaged,
    ended_by_tus,
    asked,
    ended_by_ietf,
    appended,
    created,
    some_chunks,
    chunk_in_flight,
    all_chunks,
)


def finish(server: serving.Server, upload: Upload) -> None:
    """Go on from where the server says it is, to the end."""
    with server.connect() as sock:
        span = upload.client.find(sock)
    while span is not None:
        with server.connect() as sock:  # the body of a chunk that is there is not waited for
            sock.sendall(upload.client.head(span) + upload.body[span.start : span.stop])
            span = upload.client.took(span, serving.read_answer(sock, "PATCH"))
    upload.told = SIZE


def under_way(server: serving.Server) -> Upload:
    """Send bytes of which nobody is told anything, on a connection that stays."""
    upload = appended(server)
    upload.connection = sock = server.connect()
    span = upload.client.find(sock)
    assert span is not None
    more = span.start + KiB
    sock.sendall(upload.client.head(span) + upload.body[span.start : more])
    wait_stored(server, upload, more)
    return upload


def sync(path: Path) -> None:
    """Bring a file to the disk."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def start(disk: disks.Disk, where: Path, durability: str) -> serving.Server:
    text = serving.configuration(
        disk.place, workers=2, server=f'durability = "{durability}"', rest=resuming.ENDPOINTS + CHUNKED
    )
    return load.start_group(where, text)


def come_back(disk: disks.Disk, server: serving.Server) -> None:
    """End a server whose disk is gone and recover the disk, as at another boot of the machine."""
    load.kill_all(server)
    disk.umount()
    disk.mount()
    for path in resuming.parts_of(disk.place):
        if path.suffix == ".note":
            with path.open("r+b") as file:
                file.seek(BOOT_AT)
                file.write(ANOTHER_BOOT)


def reserve(path: Path) -> None:
    """Let a file end in room that was reserved and not written, as a cut may leave it."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, min(size + RESERVED, SIZE))


def is_published(upload: Upload, storage: Path) -> bool:
    """Whether the file is there whole, and its row with type and expiry."""
    path = storage / upload.client.rel
    if not path.exists() or path.read_bytes() != upload.body:
        return False
    with contextlib.closing(sqlite3.connect(storage / ".hmacfs/index.db")) as index:
        select = "SELECT size, content_type, expires FROM file WHERE key = ? AND mtime_ns = ?"
        rows = index.execute(select, (upload.client.rel, path.stat().st_mtime_ns)).fetchall()
    return rows == [(SIZE, resuming.TYPE, upload.expires)]


def cut(
    disk: disks.Disk, server: serving.Server, stages: tuple[Stage, ...]
) -> tuple[list[Upload], list[str]]:
    """Bring uploads to their stages, the last one just before the cut; give them, and what was lost."""
    uploads = [stage(server) for stage in (under_way, *stages)]
    disk.cut()
    come_back(disk, server)
    for connection in [upload.connection for upload in uploads]:
        if connection is not None:
            connection.close()
    lost = []
    for upload in uploads:
        if upload.finished:
            survived = is_published(upload, disk.place)
        else:
            survived = upload.count_survived(disk.place) >= upload.told
        if not survived:
            lost.append(upload.name)
    return uploads, lost


def go_on(server: serving.Server, upload: Upload, survived: int) -> None:
    """Ask how far an upload is after a cut, through which so much of it came, and bring it to its end."""
    told = upload.told
    if upload.finished and isinstance(upload.client, resuming.Tus):
        assert server.request("GET", upload.client.target).status == 307
    upload.ask(server)
    assert told <= upload.told, upload.name
    assert upload.finished or upload.told <= min(survived, upload.right), upload.name
    finish(server, upload)
    assert is_published(upload, server.storage), upload.name
    (server.storage / upload.client.rel).unlink()  # the disk is small


def test_uploads_go_on_after_a_power_cut(
    tmp_path: Path, rounds: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    """No offset is told of bytes that are gone or were never there; each ends as the file that it is."""
    cuts = rounds(3, 10 * len(STAGES))
    told = 0
    uploads: list[Upload] = []
    with disks.image(tmp_path, SIZE_BYTES) as disk:
        disk.mount()
        for number in range(cuts):
            survived = [upload.count_survived(disk.place) for upload in uploads]
            for path in [upload.survivor(disk.place) for upload in uploads if not upload.finished]:
                if path is not None:
                    reserve(path)
            with start(disk, tmp_path, "full") as server:
                for upload, size in zip(uploads, survived, strict=True):
                    go_on(server, upload, size)
                first = (number + 1) % len(STAGES)
                uploads, lost = cut(disk, server, STAGES[first:] + STAGES[:first])
            assert lost == [], f"cut {number}"
            told += sum(upload.told for upload in uploads)
        disk.umount()
        disk.check()
    figure(f"{cuts} power cuts, {cuts * (len(STAGES) + 1)} uploads, {told} bytes acknowledged: 0 lost")


def test_a_missing_sync_of_an_upload_is_found_out(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """The control: the test above can fail."""
    with disks.image(tmp_path, SIZE_BYTES) as disk:
        disk.mount()
        with start(disk, tmp_path, "relaxed") as server:
            _, lost = cut(disk, server, STAGES)
    assert lost
    figure(f"lost without syncs: {', '.join(lost)}")
