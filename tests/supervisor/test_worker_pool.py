"""The workers in their slots: started, watched, told, replaced ever more slowly, ended. No process runs."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import procfs
import pytest
from manual_loop import ManualLoop
from supervisor.processes import NotedLog, Processes, loaded

from hmacfs import metrics
from hmacfs.listeners import Listener
from hmacfs.metrics import catalogue
from hmacfs.model import Dependency
from hmacfs.supervisor import cores
from hmacfs.supervisor.worker_pool import (
    FIRST_DELAY_S,
    HEALTHY_S,
    LONGEST_DELAY_S,
    REAP_POLL_S,
    SILENT_S,
    START_TIMES,
    WorkerPool,
    slots_for,
)
from hmacfs.worker import REOPEN, Barred, Drain, Ready, Reload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUCK_S = 60.0
SLOTS = 2


class Pool:
    """A pool of two slots, and the processes that fill them."""

    def __init__(self, where: Path) -> None:
        self.loop = ManualLoop()
        self.processes = Processes(self.loop)
        self.log = NotedLog()
        self.changes: list[tuple[int, bool]] = []
        self.settings = loaded(where).settings
        self.fresh = loaded(where, server="max_pipelined = 3").settings
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        plain, tls = self.sockets[:2], self.sockets[2:]
        self.counters = metrics.create(SLOTS)
        rows = metrics.attach(self.counters)
        self.rows = [metrics.CounterRow(rows, slot) for slot in range(SLOTS)]
        log: Any = self.log
        self.pool = WorkerPool(
            self.loop,
            log,
            self.settings,
            slots=SLOTS,
            listeners=[Listener("plain", tuple(plain)), Listener("tls", tuple(tls), tls=True)],
            counters=self.counters,
            stuck_s=STUCK_S,
            spawn=self.processes.spawn,
            changed=self._changed,
        )

    def _changed(self) -> None:
        self.changes.append((self.pool.alive, self.pool.all_ready))

    def start(self) -> None:
        """Start every worker, and let it serve."""
        self.pool.start()
        self.processes.begin()
        for row in self.rows:
            row.set(catalogue.HEARTBEAT_MS, int(self.loop.now * 1000))

    def close(self) -> None:
        self.pool.kill()
        self.processes.close()
        self.loop.advance(1.0)
        self.pool.close()
        self.loop.close()
        for sock in self.sockets:
            sock.close()
        os.close(self.counters)
        assert self.loop.faults == []


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(tmp_path)
    yield made
    made.close()


def test_each_slot_is_filled_with_its_sockets_and_the_settings(pool: Pool) -> None:
    pool.pool.start()
    assert (pool.pool.alive, pool.pool.serving, pool.pool.all_ready, pool.pool.slots) == (2, 0, False, 2)
    boots = pool.processes.begin(ready=False)
    assert [boot.slot for boot in boots] == [0, 1]
    first, second, tls = (sock.fileno() for sock in pool.sockets)
    assert [boot.listeners for boot in boots] == [(first, tls), (second, tls)]
    for boot, process in zip(boots, pool.processes.all, strict=True):
        assert (boot.settings, boot.version, boot.tls_listeners) == (pool.settings, 1, (tls,))
        assert set(process.inherited) == {pool.counters, *boot.listeners, *boot.fds.descriptors}


def test_ready_is_when_the_last_one_serves(pool: Pool) -> None:
    pool.pool.start()
    for number, process in enumerate(pool.processes.all, 1):
        process.say(Ready(1))
        pool.loop.turn(2)
        assert (pool.pool.serving, pool.pool.all_ready) == (number, number == SLOTS)
    assert pool.changes == [(2, False), (2, True)]


def delays(pool: Pool, lives_s: list[float]) -> list[float]:
    """Return how long the slot stays empty after each of such lives."""
    found = []
    for life_s in lives_s:
        process = pool.processes.all[-1]
        pool.loop.advance(life_s)
        count = len(pool.processes.all)
        process.end(1)
        pool.loop.turn(3)
        started = pool.loop.now
        while len(pool.processes.all) == count:
            pool.loop.advance(min(pool.loop.timers()), 2)
        found.append(round(pool.loop.now - started, 3))
    return found


LIVES = [
    # how long one worker after the other lives, after how many seconds the next one comes
    ([0.0], [FIRST_DELAY_S]),
    ([0.0] * 5, [0.1, 0.2, 0.4, 0.8, 1.6]),
    ([0.0] * 12, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, *[LONGEST_DELAY_S] * 3]),
    ([HEALTHY_S], [FIRST_DELAY_S]),
    ([HEALTHY_S + 0.1], [0.0]),
    ([0.0, 0.0, 0.0, 3600.0, 0.0, 0.0], [0.1, 0.2, 0.4, 0.0, 0.1, 0.2]),
]


@pytest.mark.parametrize(("lives", "after"), LIVES)
def test_a_worker_that_dies_is_replaced_the_more_slowly_the_less_it_lived(
    pool: Pool, lives: list[float], after: list[float]
) -> None:
    pool.start()
    assert delays(pool, lives) == after
    deaths = [fields for _, name, fields in pool.log.events if name == "worker-died"]
    assert [line["restart_in_s"] for line in deaths] == pytest.approx(after)
    assert {(line["slot"], line["error"]) for line in deaths} == {(1, "exit status 1")}
    assert pool.rows[1].read(catalogue.WORKER_DEATHS) == len(lives)
    assert pool.rows[0].read(catalogue.WORKER_DEATHS) == 0


def test_a_dead_worker_serves_no_more_and_its_gauges_are_empty(pool: Pool) -> None:
    pool.start()
    pool.processes.all[0].say(Barred("no index"))
    pool.rows[0].set(catalogue.CONNECTIONS, 7)
    pool.loop.turn(2)
    pool.changes.clear()
    pool.processes.all[0].end(-11)
    pool.loop.turn(2)
    assert (pool.pool.alive, pool.pool.serving, pool.pool.barred) == (1, 1, [])
    assert pool.rows[0].read(catalogue.CONNECTIONS) == 0
    assert pool.changes == [(1, False)]


def test_one_that_cannot_be_started_is_tried_again_and_leaves_no_descriptor(pool: Pool) -> None:
    pool.start()
    before = procfs.descriptors(os.getpid())
    pool.processes.failures = [OSError(errno.EAGAIN, "try again"), OSError(errno.EMFILE, ""), OSError("odd")]
    pool.processes.all[1].end(0)
    for _ in range(60):
        pool.loop.advance(0.1)
    why = [fields["error"] for _, name, fields in pool.log.events if name == "worker-died"]
    assert why == ["exit status 0", "try again", "OSError(24, '')", "OSError('odd')"]
    assert (pool.pool.alive, len(pool.processes.all)) == (2, 3)
    assert len(procfs.descriptors(os.getpid())) == len(before)


def test_a_worker_on_its_way_out_is_waited_for_without_blocking(pool: Pool) -> None:
    pool.start()
    process = pool.processes.all[0]
    process.hang_up()
    pool.loop.turn(2)
    for _ in range(50):
        pool.loop.advance(REAP_POLL_S)
    assert (pool.pool.alive, pool.pool.serving, len(pool.processes.all)) == (2, 1, 2)
    pool.pool.reload(pool.fresh)  # what is on its way out cannot be told
    process.status = 0
    pool.loop.advance(REAP_POLL_S)
    assert pool.pool.alive == 1
    pool.loop.advance(FIRST_DELAY_S)
    (boot,) = pool.processes.begin()
    assert (boot.settings, boot.version) == (pool.fresh, 2)


def test_a_reload_goes_to_every_worker_and_is_done_when_all_serve_it(pool: Pool) -> None:
    pool.start()
    pool.pool.reload(pool.fresh)
    assert [one.heard() for one in pool.processes.all] == [[Reload(pool.fresh, 2)]] * SLOTS
    assert (pool.pool.serving, pool.pool.all_ready) == (0, False)
    for number, process in enumerate(pool.processes.all, 1):
        process.say(Ready(2))
        pool.loop.turn(2)
        assert (pool.pool.serving, pool.pool.all_ready) == (number, number == SLOTS)


def test_a_reload_while_one_is_in_flight_waits_and_only_the_last_is_told(pool: Pool) -> None:
    pool.start()
    slow, quick = pool.processes.all
    pool.pool.reload(pool.fresh)
    assert (len(slow.heard()), len(quick.heard())) == (1, 1)
    quick.say(Ready(2))
    pool.loop.turn(2)
    pool.pool.reload(pool.settings)
    pool.pool.reload(pool.fresh)
    assert slow.heard() == []  # a worker that does not listen cannot fill its pipe
    assert quick.heard() == [Reload(pool.settings, 3)]
    quick.say(Ready(3))
    slow.say(Ready(2))
    pool.loop.turn(2)
    assert slow.heard() == quick.heard() == [Reload(pool.fresh, 4)]
    for one in (slow, quick):
        one.say(Ready(4))
    pool.loop.turn(2)
    assert pool.pool.all_ready


def test_a_worker_that_starts_is_told_newer_settings_once_it_serves(pool: Pool) -> None:
    pool.pool.start()
    pool.pool.reload(pool.fresh)
    boots = pool.processes.begin()
    assert [boot.version for boot in boots] == [1, 1]
    assert pool.processes.all[0].heard() == [Reload(pool.fresh, 2)]


def test_a_worker_that_dies_of_a_reload_is_replaced_by_one_that_has_it(pool: Pool) -> None:
    pool.start()
    pool.pool.reload(pool.fresh)
    pool.processes.all[0].end(1)
    pool.loop.turn(2)
    pool.loop.advance(FIRST_DELAY_S)
    (boot,) = pool.processes.begin()
    assert (boot.slot, boot.settings, boot.version) == (0, pool.fresh, 2)
    assert not pool.pool.all_ready
    pool.processes.all[1].say(Ready(2))
    pool.loop.turn(2)
    assert pool.pool.all_ready


def test_a_worker_that_died_this_moment_can_be_told_anything(pool: Pool) -> None:
    pool.start()
    for process in pool.processes.all:
        process.end(0)
    pool.pool.reload(pool.fresh)
    pool.pool.drain(1.0)
    pool.loop.turn(3)
    assert pool.pool.alive == 0


def test_what_a_worker_refuses_is_known_until_it_takes_it_again(pool: Pool) -> None:
    pool.start()
    pool.processes.all[1].say(Barred("the index is gone"))
    pool.loop.turn(2)
    assert pool.pool.barred == ["the index is gone"]
    pool.processes.all[1].say(Barred(""))
    pool.loop.turn(2)
    assert pool.pool.barred == []


def test_a_message_that_no_worker_sends_changes_nothing(pool: Pool) -> None:
    pool.start()
    before = list(pool.changes)
    pool.processes.all[0].say(Drain(1.0))
    pool.loop.turn(2)
    assert (pool.changes, pool.pool.serving) == (before, 2)


def test_draining_tells_each_and_replaces_none(pool: Pool) -> None:
    pool.start()
    pool.processes.all[0].end(1)  # and its successor is to come soon
    pool.loop.turn(2)
    pool.pool.drain(20.0)
    assert pool.processes.all[1].heard() == [Drain(20.0)]
    pool.processes.all[1].end(0)
    pool.loop.advance(60.0)
    assert (pool.pool.alive, len(pool.processes.all)) == (0, 2)
    assert pool.log.events[-1] == ("info", "worker-stopped", {"slot": 1, "pid": 101, "status": 0})
    assert pool.rows[1].read(catalogue.WORKER_DEATHS) == 0


def test_killing_ends_each_and_replaces_none(pool: Pool) -> None:
    pool.start()
    pool.pool.kill()
    pool.loop.advance(60.0)
    assert [one.kills for one in pool.processes.all] == [1, 1]
    assert pool.pool.alive == 0


def test_every_worker_opens_its_log_anew(pool: Pool) -> None:
    pool.start()
    pool.processes.all[0].end(1)
    pool.loop.turn(2)
    pool.pool.reopen_logs()
    assert [one.signals for one in pool.processes.all] == [[], [REOPEN]]


STUCK = [
    # whether it ever served, seconds without a heartbeat, whether it is ended
    (True, STUCK_S, False),
    (True, STUCK_S + 0.1, True),
    (False, STUCK_S + 0.1, False),
    (False, START_TIMES * STUCK_S, False),
    (False, START_TIMES * STUCK_S + 0.1, True),
]


@pytest.mark.parametrize(("served", "seconds", "ended"), STUCK)
def test_a_worker_whose_loop_stands_still_is_ended(
    pool: Pool, seconds: float, *, served: bool, ended: bool
) -> None:
    pool.pool.start()
    pool.processes.begin(ready=served)
    pool.loop.advance(seconds)
    pool.rows[1].set(catalogue.HEARTBEAT_MS, int(pool.loop.now * 1000))
    pool.pool.kill_stuck(pool.loop.now)
    assert [one.kills for one in pool.processes.all] == [int(ended), 0]
    stuck = [fields for _, name, fields in pool.log.events if name == "worker-stuck"]
    assert stuck == [{"slot": 0, "pid": 100}] * ended
    pool.loop.turn()
    assert pool.pool.alive == SLOTS - ended
    pool.pool.kill_stuck(pool.loop.now)  # the slot that is empty now is passed over


@pytest.mark.parametrize(("seconds", "silent"), [(SILENT_S, 0), (SILENT_S + 0.1, 1)])
def test_a_worker_that_misses_its_heartbeats_is_silent(pool: Pool, seconds: float, silent: int) -> None:
    pool.start()
    pool.loop.now += seconds
    pool.rows[1].set(catalogue.HEARTBEAT_MS, int(pool.loop.now * 1000))
    assert pool.pool.silent(pool.loop.now) == silent


def test_one_that_never_served_is_not_silent_yet(pool: Pool) -> None:
    pool.pool.start()
    assert pool.pool.silent(pool.loop.now + 100.0) == 0


def test_gauges_of_all_workers_are_told(pool: Pool) -> None:
    pool.pool.start()
    pool.processes.all[0].say(Ready(1))
    pool.loop.turn(2)
    for number, column in enumerate(catalogue.INDEX_INODES):
        pool.rows[0].set(column, 10 + number)
    assert pool.pool.index_inodes() == [(10, 11, 12)]
    dependency = next(iter(Dependency))
    pool.rows[1].set(catalogue.BREAKER_OPEN[dependency], 1)
    assert {one: pool.pool.refusing(one) for one in Dependency} == {
        one: int(one is dependency) for one in Dependency
    }


def test_there_are_as_many_workers_as_configured_or_cores_to_use() -> None:
    assert (slots_for(3), slots_for(0)) == (3, cores.usable())
