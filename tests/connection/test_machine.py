"""A connection under any order of events: each upload is stored whole or refused, and nothing outlives it.

Real sockets, loop and store in this process; the threads of the lane run when the machine says so, the tick's
work is called by hand, and system calls fail when they are told to.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import socket
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import procfs
import serving
import stages
import uvloop
import workbench
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from hmacfs import _core
from hmacfs.connection import HttpProtocol
from hmacfs.metrics import catalogue
from hmacfs.model import KiB
from hmacfs.store import locks
from hmacfs.store.sessions.session_file import Fence

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = st.sampled_from([1, 31, 1000, 40 * KiB, 70_000, 100_000, 300 * KiB, 1_500_000])
WAYS = st.sampled_from(["plain", "chunked", "range"])


def content(name: str, size: int) -> bytes:
    """Return bytes each 32 of which tell whose they are and where they belong."""
    blocks = range(-(-size // 32))
    return b"".join(hashlib.blake2s(f"{name}/{block}".encode()).digest() for block in blocks)[:size]


class Upload:
    """One upload of a client: what is sent, and what of it is not sent yet."""

    def __init__(self, way: str, size: int) -> None:
        self.name = serving.fresh()
        self.content = content(self.name, size)
        dialect = "jwt" if way == "chunked" else "v2"
        fields = {"Content-Type": "application/octet-stream"}
        if dialect == "jwt":
            target, fields["Authorization"] = serving.bearer(self.name, size)
        else:
            target = serving.signed(self.name, size)
        self.target = target
        wire = self.content
        if way == "chunked":
            fields["Transfer-Encoding"] = "chunked"
            pieces = [self.content[at : at + 7000] for at in range(0, size, 7000)]
            wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        elif way == "range" and size:
            fields["Content-Range"] = f"bytes 0-{size - 1}/{size}"
        length = None if way == "chunked" else size
        self.rest = serving.head("PUT", target, fields, length) + wire


class Client:
    """One connection to the service, and what was asked on it."""

    def __init__(self, bench: workbench.Workbench) -> None:
        self._bench = bench
        ours, self.sock = stages.tcp_pair()
        for sock in (ours, self.sock):
            sock.setblocking(False)
        self.uploads: list[Upload] = []
        self.answers = b""
        self.ended = False
        self.asked = 0
        self.disturbed = False  # whether anything may have kept its uploads from being stored
        made: list[HttpProtocol] = []

        def make() -> HttpProtocol:
            made.append(HttpProtocol(bench.service))
            return made[0]

        bench.loop.run_until_complete(bench.loop.connect_accepted_socket(make, ours))
        self.connection = made[0]

    def __repr__(self) -> str:
        sent = [(len(upload.content), len(upload.rest)) for upload in self.uploads]
        return f"Client(sent={sent}, statuses={self.statuses()}, phase={self.connection._phase!r})"

    def is_over(self) -> bool:
        """Whether all that it has asked is answered, or never will be."""
        self.read()
        lost = self.connection not in self._bench.service.connections
        return lost or len(self.statuses()) == len(self.uploads)

    def send(self, count: int) -> None:
        """Send up to `count` bytes of what was asked, as far as the socket takes them."""
        for upload in self.uploads:
            while upload.rest and count > 0 and not self.ended:
                try:
                    sent = self.sock.send(upload.rest[:count])
                except BlockingIOError:
                    return
                except OSError:
                    self.ended = True
                    return
                upload.rest = upload.rest[sent:]
                count -= sent
            if upload.rest:
                return

    def read(self) -> None:
        try:
            while more := self.sock.recv(65536):
                self.answers += more
        except (BlockingIOError, OSError):
            pass

    def statuses(self) -> list[int]:
        """Return the final statuses that came, in order."""
        found, data = [], self.answers
        while b"\r\n\r\n" in data:
            top, _, data = data.partition(b"\r\n\r\n")
            status = int(top.split(b" ")[1])
            lengths = [line for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            length = int(lengths[0].split(b":")[1]) if lengths else 0
            if status >= 200:
                found.append(status)
                data = data[length:]
        return found


class Machine(RuleBasedStateMachine):
    """Clients of one service, in any order of events."""

    clients: Bundle[Client] = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        uvloop.new_event_loop().close()  # libuv makes a pipe with the first loop of a process, and keeps it
        gc.collect()
        self.before = procfs.descriptors(os.getpid())
        self.folder = tempfile.TemporaryDirectory()
        self.bench = workbench.Workbench(Path(self.folder.name))
        self.all: list[Client] = []
        self.faults: list[tuple[str, int]] = []  # calls that fail the next time
        self.faulty = False  # whether any did, or might have
        self.undo: list[tuple[object, str, object]] = []
        self._inject()

    def _inject(self) -> None:
        machine = self

        class FileWriter(_core.FileWriter):
            def take(self, data: object, patience_ns: int = 0) -> int:
                machine.fail("pwrite")
                return super().take(data, patience_ns)  # type: ignore[arg-type] # as it came

        draw, try_lock, holds = _core.recv_into, locks.try_lock, Fence.holds

        def failing_draw(*given: object) -> object:
            machine.fail("recv")
            return draw(*given)  # type: ignore[arg-type] # as they came

        def failing_lock(fd: int, kind: int) -> bool:
            machine.fail("flock")
            return not machine.due("busy") and try_lock(fd, kind)

        def failing_look(fence: Fence) -> bool:
            machine.fail("pread")
            return holds.__get__(fence)  # type: ignore[no-any-return] # a property

        for owner, name, value in (
            (_core, "FileWriter", FileWriter),
            (_core, "recv_into", failing_draw),
            (locks, "try_lock", failing_lock),
            (Fence, "holds", property(failing_look)),
        ):
            self.undo.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)

    def due(self, call: str) -> int:
        """Return the errno with which a call is to fail now; 0 if it is not."""
        if self.faults and self.faults[0][0] == call:
            return self.faults.pop(0)[1]
        return 0

    def fail(self, call: str) -> None:
        if number := self.due(call):
            raise OSError(number, os.strerror(number))

    @initialize(target=clients)
    def first(self) -> Client:
        return self._client()

    def _client(self) -> Client:
        client = Client(self.bench)
        self.all.append(client)
        return client

    @rule(target=clients)
    def connect(self) -> Client:
        return self._client()

    @rule(client=clients, way=WAYS, size=SIZES)
    def ask(self, client: Client, way: str, size: int) -> None:
        client.uploads.append(Upload(way, size))

    @rule(client=clients, count=st.sampled_from([1, 200, 5000, 66_000, 2_000_000]))
    def send(self, client: Client, count: int) -> None:
        client.send(count)
        self.bench.turn()

    @rule(client=clients, way=WAYS, size=SIZES)
    def put(self, client: Client, way: str, size: int) -> None:
        client.uploads.append(Upload(way, size))
        client.send(2_000_000)
        self.bench.turn()

    @rule(client=consumes(clients), sizes=st.lists(SIZES, min_size=1, max_size=3), way=WAYS)
    def last_words(self, client: Client, sizes: list[int], way: str) -> None:
        """Ask for all in one go and half-close behind it, as `nc -N` does."""
        client.uploads.extend(Upload(way, size) for size in sizes)
        client.send(8_000_000)
        if not any(upload.rest for upload in client.uploads):
            client.ended = True
            with contextlib.suppress(OSError):
                client.sock.shutdown(socket.SHUT_WR)
        self.bench.turn()

    @rule(count=st.integers(1, 20))
    def turn(self, count: int) -> None:
        self.bench.turn(count)

    @rule(slow=st.booleans())
    def disk(self, slow: bool) -> None:  # noqa: FBT001 - drawn
        for _ in range(1 if slow else 100):
            self.bench.disk_threads.note(1.0 if slow else 0.0)

    @rule(index=st.integers(0, 3))
    def thread(self, index: int) -> None:
        # No precondition: what the kernel has brought by now differs, and the same rules must be open again.
        if self.bench.threads.jobs:
            self.bench.threads.run(index)
            self.bench.turn()

    @rule(client=clients)
    def half_close(self, client: Client) -> None:
        client.ended = True
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_WR)
        self.bench.turn()

    @rule(client=consumes(clients))
    def reset(self, client: Client) -> None:
        client.read()
        client.ended = client.disturbed = True
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sock.close()
        self.bench.turn()

    @rule(client=clients, other=clients)
    def take_over(self, client: Client, other: Client) -> None:
        if client.uploads and not other.ended:
            client.disturbed = other.disturbed = True
            try:
                other.sock.send(serving.head("HEAD", client.uploads[0].target, None))
            except OSError:
                other.ended = True
            else:
                other.uploads.clear()  # its answers are no longer those of its uploads
                other.asked += 1
            self.bench.turn()

    @rule(client=clients)
    def time_out(self, client: Client) -> None:
        client.disturbed = True
        client.connection.expire(self.bench.loop.time())
        self.bench.turn()

    @rule(client=clients)
    def abandon(self, client: Client) -> None:
        client.disturbed = True
        client.connection.abandon()
        self.bench.turn()

    @rule(client=clients)
    def drain(self, client: Client) -> None:
        client.disturbed = True
        client.connection.drain()

    @rule()
    def rouse(self) -> None:
        self.bench.scheduler.wake_stalled()
        self.bench.turn()

    @rule(
        call=st.sampled_from(["pwrite", "recv", "flock", "pread", "busy"]),
        number=st.sampled_from([5, 28, 37, 12, 104]),  # EIO, ENOSPC, ENOLCK, ENOMEM, ECONNRESET
    )
    def fault(self, call: str, number: int) -> None:
        self.faults.append((call, number))
        self.faulty = True

    def teardown(self) -> None:
        try:
            self._end()
            self._look_for_leaks()
        finally:
            for owner, name, value in self.undo:
                setattr(owner, name, value)
            self.folder.cleanup()

    def _end(self) -> None:
        bench = self.bench
        self.faults.clear()
        for client in self.all:
            if not (self.faulty or client.disturbed or any(upload.rest for upload in client.uploads)):
                bench.until(client.is_over, f"an answer to {client}")
                assert client.statuses() == [201] * len(client.uploads)
            client.read()
            if client.sock.fileno() >= 0:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sock.close()
        service, disk_threads = bench.service, bench.disk_threads
        bench.until(lambda: not service.connections, "every connection is lost")
        bench.until(lambda: not service.tasks, "every answer is given")
        bench.until(lambda: not disk_threads._tasks, "no thread has work")
        scheduler = bench.scheduler
        assert (scheduler._movers, list(scheduler._queue), scheduler._deferred) == ({}, [], {})
        assert bench.slabs._holders == 0
        gauges = (
            catalogue.CONNECTIONS,
            catalogue.ACTIVE_UPLOADS,
            catalogue.ACTIVE_DOWNLOADS,
            catalogue.BUFFER_POOL_BYTES,
        )
        assert [bench.row.read(gauge) for gauge in gauges] == [0, 0, 0, 0]
        assert bench.errors() == []
        for upload, status in self._outcomes():
            path = bench.path_of(upload.name)
            stored = path.read_bytes() if path.exists() else None
            assert stored in {None, upload.content}, f"{upload.name} holds what nobody sent"
            assert (stored is not None) or status != 201, "acknowledged and not stored"
            assert stored is None or status in {None, 201, 409}, f"refused by {status} and stored"
        bench.close()

    def _look_for_leaks(self) -> None:
        del self.bench
        for client in self.all:  # hypothesis keeps them
            del client.connection, client._bench
        gc.collect()
        now = procfs.descriptors(os.getpid())
        left = {fd: target for fd, target in now.items() if self.before.get(fd) != target}
        assert left == {}

    def _outcomes(self) -> Iterator[tuple[Upload, int | None]]:
        """Return each upload and the status that its client has seen; None if none came."""
        for client in self.all:
            # Answers to HEAD among them cannot be told apart without asking what was sent when.
            statuses: list[int | None] = [] if client.asked else [*client.statuses()]
            for upload in client.uploads:
                known = statuses.pop(0) if statuses else None
                yield upload, known


Machine.TestCase.settings = workbench.examples(30, 1000)
test_any_order_of_events = Machine.TestCase
