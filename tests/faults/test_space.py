"""What a client can take of a disk is taken before it is written to, at every door: 507 at the margin."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING

import disks
import languages
import pytest
import resuming
import serving
from languages import ALICE, OCTETS, PART, TUS, refusal

from hmacfs.model import KiB, MiB
from hmacfs.policy import reservation

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Answer, Server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("administrator")]

DISK_BYTES = 32 * MiB
MARGIN_BYTES = 1 * MiB  # the tests' configuration says so
INDEX_BYTES = 512 * KiB  # the index lies on the same disk and takes what it needs of the margin
CODED = {"Transfer-Encoding": "chunked"}
TYPE = {"Content-Type": "application/octet-stream"}
PIECE = bytes(64 * KiB)
BOUNDARY = "XyZ"
KINDS = ["tmpfs", "ext4"]


@contextlib.contextmanager
def served(where: Path, kind: str = "tmpfs", options: str = f"size={DISK_BYTES}") -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        if kind == "tmpfs":
            stack.enter_context(disks.tmpfs(where, options))
        else:
            stack.enter_context(disks.image(where, DISK_BYTES, options=("-m", "0"))).mount()
        yield stack.enter_context(serving.running(where, rest=languages.CONFIG, workers=2))


def free_bytes(server: Server) -> int:
    room = os.statvfs(server.storage)
    return room.f_bavail * room.f_frsize


def create(server: Server, **fields: str) -> str:
    """Begin an upload by tus; give its URL."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    answer = server.request("POST", "/files/", fields={**TUS, **ALICE, **named})
    assert answer.status == 201, answer
    return answer.fields["location"]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# Requests whose length nobody tells.


def tus_deferred(server: Server) -> bytes:
    url = create(server, Upload_Defer_Length="1")
    return serving.head("PATCH", url, {**TUS, **ALICE, **OCTETS, **CODED, "Upload-Offset": "0"})


def tus_known(server: Server) -> bytes:
    """The upload's length is known and finds room at first; the request's is not."""
    url = create(server, Upload_Length=str(free_bytes(server) - MARGIN_BYTES - INDEX_BYTES))
    (server.storage / "filler").write_bytes(bytes(8 * MiB))
    return serving.head("PATCH", url, {**TUS, **ALICE, **OCTETS, **CODED, "Upload-Offset": "0"})


def tus_creation(_server: Server) -> bytes:
    fields = {**TUS, **ALICE, **OCTETS, **CODED, "Upload-Defer-Length": "1"}
    return serving.head("POST", "/files/", fields)


def ietf_creation(_server: Server) -> bytes:
    return serving.head("POST", "/files/", {**ALICE, **TYPE, **CODED, "Upload-Complete": "?0"})


def ietf_whole(_server: Server) -> bytes:
    return serving.head("POST", "/files/", {**ALICE, **TYPE, **CODED, "Upload-Complete": "?1"})


def ietf_append(server: Server) -> bytes:
    begun = server.request("POST", "/files/", fields={**ALICE, "Upload-Complete": "?0"})
    assert begun.status == 201, begun
    fields = {**ALICE, **PART, **CODED, "Upload-Offset": "0", "Upload-Complete": "?0"}
    return serving.head("PATCH", begun.fields["location"], fields)


def slot(server: Server) -> bytes:
    """Its token tells the size, which finds room at first."""
    size = free_bytes(server) - MARGIN_BYTES - INDEX_BYTES
    target, token = serving.bearer(serving.fresh(), size)
    head = serving.head("PUT", target, {"Authorization": token, **TYPE, **CODED, "Upload-Complete": "?0"})
    (server.storage / "filler").write_bytes(bytes(8 * MiB))
    return head


def form(_server: Server) -> bytes:
    fields = {**languages.go_bearer(), **CODED, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    top = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    return serving.head("POST", "/upload", fields) + chunk(top.encode())


UNMEASURED = [
    tus_deferred,
    tus_known,
    tus_creation,
    ietf_creation,
    ietf_whole,
    ietf_append,
    slot,
    form,
]


def flood(server: Server, sock: socket.socket, head: bytes) -> tuple[Answer, int]:
    """Send a body without an end; give the answer, and the least space that was free meanwhile."""
    answers: list[Answer] = []

    def listen() -> None:
        with contextlib.suppress(OSError, EOFError):
            answers.append(serving.read_answer(sock, "PATCH"))

    ears = threading.Thread(target=listen)
    ears.start()
    least = free_bytes(server)
    with contextlib.suppress(OSError):
        sock.sendall(head)
        for _ in range(2 * DISK_BYTES // len(PIECE)):
            if not ears.is_alive():
                break
            sock.sendall(chunk(PIECE))
            least = min(least, free_bytes(server))
    ears.join(serving.PATIENCE_S)
    assert answers, "there was no answer"
    return answers[0], least


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", UNMEASURED)
def test_a_body_of_unknown_length_stops_at_the_margin(
    tmp_path: Path, door: Callable[[Server], bytes], kind: str
) -> None:
    with served(tmp_path, kind) as server:
        head = door(server)
        with server.connect() as sock:
            answer, least = flood(server, sock, head)
        assert refusal(answer) == (507, "disk_full")
        assert least >= MARGIN_BYTES - INDEX_BYTES


def test_two_that_do_so_at_both_workers_stop_there_too(tmp_path: Path) -> None:
    with served(tmp_path) as server, contextlib.ExitStack() as stack:
        found: list[tuple[Answer, int]] = []
        threads = []
        for worker in server.workers:
            sock = stack.enter_context(resuming.connect_to(server, worker))
            head = tus_deferred(server)
            threads.append(
                threading.Thread(target=lambda sock=sock, head=head: found.append(flood(server, sock, head)))
            )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(serving.PATIENCE_S)
        assert [refusal(answer) for answer, _ in found] == [(507, "disk_full")] * 2
        assert min(least for _, least in found) >= MARGIN_BYTES - INDEX_BYTES


# Requests that say how much will come, and send little.

SIZE = 12 * MiB


def plain(_server: Server) -> bytes:
    return serving.head("PUT", serving.signed(serving.fresh(), SIZE), TYPE, SIZE)


def patch(server: Server) -> bytes:
    url = create(server, Upload_Length=str(SIZE))
    return serving.head("PATCH", url, {**TUS, **ALICE, **OCTETS, "Upload-Offset": "0"}, SIZE)


def tus_slot(_server: Server) -> bytes:
    target = serving.signed(serving.fresh(), SIZE)
    return serving.head("POST", target, {**TUS, **OCTETS, "Upload-Length": str(SIZE)}, SIZE)


def ranged(_server: Server) -> bytes:
    fields = {**TYPE, "Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}
    return serving.head("PUT", serving.signed(serving.fresh(), SIZE), fields, SIZE)


def ietf(_server: Server) -> bytes:
    return serving.head("POST", "/files/", {**ALICE, **TYPE, "Upload-Complete": "?1"}, SIZE)


def sized_form(_server: Server) -> bytes:
    fields = {**languages.go_bearer(), "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return serving.head("POST", "/upload", fields, SIZE)


def numbered(server: Server) -> bytes:
    query = serving.signed("a/f", SIZE).partition("?")[2]
    fields = {**TYPE, "X-Filename": "a/f", "X-Total-Size": str(SIZE)}
    said = json.loads(server.request("POST", f"/chunked-upload?{query}", fields=fields).body)
    fields = {**TYPE, "X-Upload-Session-ID": said["session_id"], "X-Chunk-Number": "1"}
    return serving.head("POST", f"/chunked-upload?{query}", fields, said["chunk_size"])


MEASURED = [plain, patch, tus_slot, ranged, ietf, sized_form, numbered]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", MEASURED)
def test_who_sends_little_holds_little_and_gives_it_back(
    tmp_path: Path, door: Callable[[Server], bytes], kind: str
) -> None:
    """Eight such uploads leave room for one that does send."""
    clients = 8
    with served(tmp_path, kind) as server:
        assert server.put(serving.fresh(), b"first").status == 201
        before = free_bytes(server)
        with contextlib.ExitStack() as stack:
            for _ in range(clients):
                sock = stack.enter_context(server.connect())
                sock.sendall(door(server) + b"x")
            wait_active(server, clients)
            assert before - free_bytes(server) <= clients * (reservation.FIRST_BYTES + 64 * KiB)
            assert server.put("large/file", bytes(SIZE)).status == 201
        wait_active(server, 0)
        stays = clients * 64 * KiB + INDEX_BYTES
        settle(lambda: before - SIZE - free_bytes(server) <= stays)


def wait_active(server: Server, count: int) -> None:
    settle(lambda: server.scrape()["hmacfs_active_uploads"] == count)


def settle(holds: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + serving.PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline


# Joining.

PARTS = 3
PART_BYTES = 3 * MiB


def begin_parts(server: Server) -> list[str]:
    urls = []
    for number in range(PARTS):
        url = create(server, Upload_Length=str(PART_BYTES), Upload_Concat="partial")
        assert languages.patch(server, url, 0, bytes([number]) * PART_BYTES).status == 204
        urls.append(url)
    return urls


def join(sock: socket.socket, urls: list[str]) -> Answer:
    fields = {**TUS, **ALICE, "Upload-Concat": f"final;{' '.join(urls)}"}
    return resuming.ask(sock, "POST", "/files/", fields, 0)


def left(server: Server) -> list[str]:
    """Return the bytes of unfinished uploads."""
    return [path.name for path in resuming.parts_of(server.storage) if path.suffix != ".note"]


def test_parts_are_joined_once_whatever_their_order(tmp_path: Path) -> None:
    """Of 24 requests at once, over both workers, one makes a file; the parts are gone for the others."""
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    with served(tmp_path) as server, contextlib.ExitStack() as stack:
        urls = begin_parts(server)
        answers: list[Answer] = []
        threads = []
        for number in range(24):
            sock = stack.enter_context(resuming.connect_to(server, server.workers[number % 2]))
            order = [urls[at] for at in orders[number % len(orders)]]
            threads.append(
                threading.Thread(target=lambda sock=sock, order=order: answers.append(join(sock, order)))
            )
        least = free_bytes(server)
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            least = min(least, free_bytes(server))
        assert len({answer.fields["location"] for answer in answers if answer.status == 201}) == 1
        others = {refusal(answer)[1] for answer in answers if answer.status != 201}
        assert others <= {"busy", "not_found", "upload_taken_over"}
        assert len(server.files()) == 1
        assert least >= DISK_BYTES - 2 * PARTS * PART_BYTES - INDEX_BYTES
        assert left(server) == []


def test_space_for_what_is_joined_is_taken_before_the_copy(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        urls = begin_parts(server)
        filler = server.storage / "filler"
        filler.write_bytes(bytes(free_bytes(server) - MARGIN_BYTES - PARTS * PART_BYTES + MiB))
        before = free_bytes(server)
        with server.connect() as sock:
            assert refusal(join(sock, urls)) == (507, "disk_full")
        assert before - free_bytes(server) <= 64 * KiB
        assert len(left(server)) == PARTS
        filler.unlink()
        with server.connect() as sock:
            answer = join(sock, urls)
        assert answer.status == 201
        whole = b"".join(bytes([number]) * PART_BYTES for number in range(PARTS))
        assert languages.file_of(server, answer) == whole
        assert left(server) == []


# Inodes.


def test_unfinished_uploads_leave_inodes_to_files(tmp_path: Path) -> None:
    inodes = 400
    with served(tmp_path, options=f"size={DISK_BYTES},nr_inodes={inodes}") as server:
        assert server.put("first/file", b"first").status == 201
        statuses = []
        for number in range(inodes):
            holds = languages.holder(f"owner-{number}@chat.test")
            answer = server.request("POST", "/files/", fields={**TUS, **holds, "Upload-Length": "1"})
            statuses.append(answer.status)
            if answer.status != 201:
                assert refusal(answer) == (507, "disk_full")
                break
        assert statuses[-1] == 507
        assert os.statvfs(server.storage).f_favail >= inodes // reservation.KEPT_INODES
        for number in range(5):
            assert server.put(f"first/{number}", b"more").status == 201
