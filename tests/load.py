"""Uploads whose bytes follow from their names, from many clients at once, and what is left of them."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import random
import select
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Self

import serving
from serving import PATIENCE_S, Server

from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

# (share of the uploads, largest size): most are small, as chat's are, and no size is left out.
SIZES = ((1, 0), (4, 4 * KiB), (3, 64 * KiB), (2, 512 * KiB), (1, 2 * MiB))
DIRECTORIES_BUSY = 6


class Moment(enum.Enum):
    """When in the life of an upload something strikes."""

    HALF = "half"  # half of its body is sent
    SENT = "sent"  # all of it is sent, and the answer awaited
    ANSWERED = "answered"  # its 201 has just arrived


class Strike(NamedTuple):
    """What happens to the server, at which upload and when in its life."""

    upload: int
    """So many uploads reach that moment before."""
    moment: Moment
    act: Callable[[], None]


class Verdict(NamedTuple):
    """What was found wrong with a storage."""

    lost: list[str]
    """Acknowledged and not there."""
    torn: list[str]
    """There with other bytes than were sent, acknowledged or not."""
    strange: list[str]
    """There, and nobody has sent it."""


def body_of(rel: str) -> bytes:
    """Return the bytes of the file called `rel`, whose name begins with its size."""
    size = int(rel.rpartition("/")[2].partition("-")[0])
    return hashlib.shake_128(rel.encode()).digest(size)


class Load:
    """Clients that upload one file after the other until they are stopped."""

    def __init__(self, server: Server, seed: str, *, clients: int, strike: Strike | None = None) -> None:
        self.requested: set[str] = set()
        self.acknowledged: list[str] = []
        self.others: Counter[int] = Counter()
        self._server = server
        self._seed = seed
        self._strike = strike
        self._chance = random.Random(seed)
        self._busy: list[str] = []
        self._reached = 0
        self._turn = threading.Condition()
        self._stopped = threading.Event()
        self.struck = threading.Event()
        self._threads = [threading.Thread(target=self._upload_on, args=(n,)) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def wait_acknowledged(self, more: int) -> None:
        """Wait until so many more uploads than now are acknowledged."""
        with self._turn:
            wanted = len(self.acknowledged) + more
            assert self._turn.wait_for(lambda: len(self.acknowledged) >= wanted, PATIENCE_S)

    def _upload_on(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        serial = 0
        sock: socket.socket | None = None
        while not self._stopped.is_set():
            serial += 1
            try:
                if sock is None:
                    sock = self._server.connect()
                answer = self._upload(sock, self._choose(chance, f"{number}.{serial}"))
            except (OSError, EOFError):  # killed: the upload may or may not be there, but never in part
                answer = None
            if answer is None or answer.fields.get("connection") == "close" or chance.random() < 0.2:
                if sock is not None:
                    sock.close()
                sock = None
        if sock is not None:
            sock.close()

    def _choose(self, chance: random.Random, serial: str) -> str:
        """Return a new name, in a directory that others use at the same time or in a new one."""
        with self._turn:
            if not self._busy or self._chance.random() < 0.5:
                below = "/below" if self._chance.random() < 0.2 else ""
                self._busy.append(f"{self._chance.getrandbits(64):016x}{below}")
                self._busy = self._busy[-DIRECTORIES_BUSY:]
            directory = self._chance.choice(self._busy)
        largest = chance.choices([size for _, size in SIZES], [share for share, _ in SIZES])[0]
        return f"{directory}/{chance.randint(0, largest)}-{serial}.bin"

    def _upload(self, sock: socket.socket, rel: str) -> serving.Answer:
        self.requested.add(rel)
        body = body_of(rel)
        half = len(body) // 2
        target = serving.signed(rel, len(body))
        fields = {"Content-Type": "application/octet-stream"}
        sock.sendall(serving.head("PUT", target, fields, len(body)) + body[:half])
        self._pass(Moment.HALF)
        sock.sendall(body[half:])
        self._pass(Moment.SENT)
        answer = serving.read_answer(sock, "PUT")
        if answer.status != 201:
            self.others[answer.status] += 1
            return answer
        self._pass(Moment.ANSWERED)
        with self._turn:
            self.acknowledged.append(rel)
            self._turn.notify_all()
        return answer

    def _pass(self, moment: Moment) -> None:
        """Strike, if this is the upload and the moment for it."""
        strike = self._strike
        if strike is None or strike.moment is not moment:
            return
        with self._turn:
            self._reached += 1
            due = self._reached == strike.upload
        if due:
            strike.act()
            self.struck.set()


def judge(directory: Path, requested: set[str], acknowledged: list[str]) -> Verdict:
    """Look at every file below `directory` and compare with what was sent."""
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return Verdict(
        lost=sorted(set(acknowledged) - found),
        torn=sorted(rel for rel in found & requested if (directory / rel).read_bytes() != body_of(rel)),
        strange=sorted(found - requested),
    )


SOUND = Verdict([], [], [])


def kill(*pids: int, group: int = 0) -> None:
    """End processes by SIGKILL, or the whole `group` that they make up, and wait until they are gone."""
    fds = [os.pidfd_open(pid) for pid in pids]
    if group:
        os.killpg(group, signal.SIGKILL)
    for fd in fds:
        with contextlib.suppress(ProcessLookupError):  # it may be gone with its group
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    for fd in fds:
        gone = select.poll()
        gone.register(fd, select.POLLIN)
        assert gone.poll(PATIENCE_S * 1000)
        os.close(fd)


def kill_all(server: Server) -> None:
    """Kill supervisor and workers at one blow; the server was started by `start_group`."""
    kill(server.process.pid, *server.workers, group=server.process.pid)
    server.process.wait(PATIENCE_S)


def start_group(where: Path, text: str, environ: dict[str, str] | None = None) -> Server:
    """Start a server whose processes are a process group of their own."""
    return serving.start(where, text, environ=environ, wrap=("setsid",))
