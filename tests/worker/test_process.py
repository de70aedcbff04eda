"""The whole of a worker, real store and loop included, in this process: what it says and how it ends."""

from __future__ import annotations

import os
import signal
import socket
from multiprocessing import Pipe
from typing import TYPE_CHECKING

import pytest
from process_state import restored
from worker.parts import settings_of

from hmacfs import ipc, metrics, worker
from hmacfs.metrics import catalogue
from hmacfs.worker import process
from hmacfs.worker.build import FILES_PER_CONNECTION, RESERVED_FILES, connection_limit, descriptors
from hmacfs.worker.messages import Barred, Drain, Ready, Reload, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hmacfs.config import Settings

# By a thread: a worker ignores the signal of the other way.
pytestmark = pytest.mark.timeout(method="thread")


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    with restored():
        yield


class Started:
    """What a worker inherits, and all that it has been told before it begins."""

    def __init__(self, settings: Settings, *, slot: int = 0) -> None:
        self.channels = ipc.Channels(2)
        self.counters = metrics.create(2)
        self.row = metrics.CounterRow(metrics.attach(self.counters), slot)
        given = self.channels.of(slot)
        fds = ipc.ChannelFds(
            inbox=os.dup(given.inbox),
            outboxes=tuple(map(os.dup, given.outboxes)),
            presence_table=os.dup(given.presence_table),
        )
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.pipe, theirs = Pipe()
        self.fd = os.dup(theirs.fileno())
        theirs.close()
        self.pipe.send(
            WorkerConfig(
                slot=slot,
                settings=settings,
                listeners=(self.listening.dup().detach(),),
                tls_listeners=(),
                counters=self.counters,
                fds=fds,
                version=3,
            )
        )

    def run(self, *messages: object) -> tuple[int, list[object]]:
        """Return the exit status, and what the supervisor heard."""
        for message in messages:
            self.pipe.send(message)
        status = process.run(self.fd)
        heard = []
        while self.pipe.poll():
            try:
                heard.append(self.pipe.recv())
            except EOFError:
                break
        return status, heard

    def close(self) -> None:
        self.pipe.close()
        self.listening.close()
        self.channels.close()
        os.close(self.counters)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.parametrize("slot", [0, 1])
def test_a_worker_serves_and_ends_when_it_is_told(tmp_path: Path, log: Path, slot: int) -> None:
    settings = settings_of(tmp_path, rest=f'file = "{log}"\n')
    started = Started(settings, slot=slot)
    assert started.run(Reload(settings, 4), Drain(20.0)) == (0, [Ready(3), Ready(4)])
    assert started.row.read(catalogue.WORKER_STARTS) == 1
    assert started.row.read(catalogue.HEARTBEAT_MS) > 0
    assert all(started.row.read(column) for column in catalogue.INDEX_INODES)
    assert '"error"' not in log.read_text()
    started.close()


def test_a_worker_hears_no_signal_that_is_not_meant_for_it(tmp_path: Path, log: Path) -> None:
    started = Started(settings_of(tmp_path, rest=f'file = "{log}"\n'))
    started.run(Drain(20.0))
    for number in worker.OF_THE_SUPERVISOR | worker.IGNORED:
        assert signal.getsignal(number) is signal.SIG_IGN, number
    assert worker.REOPEN not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    started.close()


def test_a_worker_whose_supervisor_vanished_before_it_began_ends_quietly() -> None:
    pipe, theirs = Pipe()
    fd = os.dup(theirs.fileno())
    theirs.close()
    pipe.close()
    assert process.run(fd) == 0


def test_a_worker_whose_supervisor_vanished_meanwhile_drains(tmp_path: Path, log: Path) -> None:
    started = Started(settings_of(tmp_path, rest=f'file = "{log}"\n'))
    started.pipe.close()
    assert process.run(started.fd) == 0
    assert '"error"' not in log.read_text()
    started.close()


def test_a_storage_that_is_lost_is_a_line_and_a_failure(tmp_path: Path, log: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    started = Started(settings_of(tmp_path, rest=f'file = "{log}"\n'))
    status, heard = started.run()
    assert (status, heard) == (1, [])
    assert '"storage-lost"' in log.read_text()
    started.close()


def test_a_storage_that_takes_no_uploads_is_told_before_ready(tmp_path: Path, log: Path) -> None:
    started = Started(settings_of(tmp_path, rest=f'file = "{log}"\n'))
    started.run(Drain(20.0))
    started.close()
    (index,) = (tmp_path / "store").rglob("index.db")
    index.write_bytes(b"spoilt" * 1000)
    started = Started(settings_of(tmp_path, rest=f'file = "{log}"\n'))
    status, heard = started.run(Drain(20.0))
    assert status == 0
    assert isinstance(heard[0], Barred)
    assert heard[0].words
    assert heard[1] == Ready(3)
    started.close()


@pytest.mark.parametrize("wanted", [0, 1, 10**9])
def test_connections_leave_room_for_files(wanted: int) -> None:
    most = descriptors()
    limit = connection_limit(wanted)
    assert 1 <= limit <= (wanted or limit)
    assert limit == 1 or limit * FILES_PER_CONNECTION + RESERVED_FILES <= most
