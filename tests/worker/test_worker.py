"""A worker from its first tick to its last, driven by hand: no process, no client, and time stands still."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from worker.parts import FakeConnection, settings_of

from hmacfs.connection import clients
from hmacfs.metrics import catalogue
from hmacfs.model import Dependency, Lookalike
from hmacfs.store import Rules
from hmacfs.store.sweep import Swept
from hmacfs.worker.build import BUFFERS
from hmacfs.worker.messages import Barred, Drain, Ready, Reload
from hmacfs.worker.signals import REOPEN
from hmacfs.worker.upkeep import ATTEND_S, BARRED_S
from hmacfs.worker.worker import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.parts import Bench

    Make = Callable[..., Bench]

TICK = ["hot.tick", "scheduler.wake_stalled", "hot.flush", "log.flush"]
"""What every tick does, in its order."""
CLOSE = [
    "peers.close",
    "clients.close",
    "disk_threads.close",
    "scheduler.close",
    "store.close",
    "hot.flush",
    "log.flush",
]


def connection(bench: Bench, **options: Any) -> FakeConnection:
    """Return a connection of the worker; one that is expired or drained ends at once."""
    made = FakeConnection(**options)
    bench.connections.add(made)
    made.then = lambda: bench.connections.discard(made)
    return made


def test_the_date_is_set_before_a_client_can_come_and_ready_is_said_last(bench: Make) -> None:
    one = bench()
    one.begin()
    assert one.calls[: len(TICK)] == TICK
    assert one.calls.index("sockets.open") < one.calls.index("peers.listen")
    assert one.context.date.endswith(b" GMT")
    assert one.heard() == [Ready(7)]


def test_a_tick_does_the_same_each_time_and_sets_the_next_one_first(bench: Make) -> None:
    one = bench(slot=1)
    one.begin()
    for _ in range(3):
        one.calls.clear()
        one.loop.advance(TICK_S, 1)
        assert one.calls == TICK
        assert one.loop.timers() == [TICK_S]


def test_the_heartbeat_and_the_lag_are_those_of_the_loop(bench: Make) -> None:
    one = bench()
    one.begin()
    assert one.row.read(catalogue.HEARTBEAT_MS) == int(one.loop.now * 1000)
    before = one.row.read(catalogue.LOOP_LAG.sum)
    one.loop.advance(TICK_S)
    assert one.row.read(catalogue.LOOP_LAG.sum) == before
    one.loop.advance(TICK_S + 2.0)
    assert one.row.read(catalogue.HEARTBEAT_MS) == int(one.loop.now * 1000)
    lag_s = (one.row.read(catalogue.LOOP_LAG.sum) - before) / catalogue.LOOP_LAG.scale
    assert lag_s == pytest.approx(2.0, rel=0.01)


def test_no_fault_in_a_tick_stops_the_clock(bench: Make) -> None:
    one = bench()
    one.begin()
    one.hot.tick = lambda _date: 1 / 0
    one.loop.advance(TICK_S)
    assert one.log.events[-1] == (
        "error",
        "background-failed",
        {"error": "ZeroDivisionError('division by zero')"},
    )
    del one.hot.tick
    one.calls.clear()
    one.loop.advance(TICK_S)
    assert one.calls[: len(TICK)] == TICK


def test_a_fault_without_an_exception_is_told_by_its_words(bench: Make) -> None:
    one = bench()
    one.begin()
    one.loop.call_exception_handler({"message": "a task was lost"})
    assert one.log.events[-1] == ("error", "background-failed", {"error": "a task was lost"})


def test_gauges_follow_the_store_the_log_and_the_first_worker(bench: Make) -> None:
    one = bench(slot=1)
    one.begin()
    one.first_row.set(catalogue.OPTIMAL_BUFFER, 65536)
    dependency = next(iter(Dependency))
    one.store.refused.add(dependency)
    one.log.dropped = 3
    one.loop.advance(TICK_S)
    one.log.dropped = 5
    one.loop.advance(TICK_S)
    assert one.learnt[-1] == 65536
    assert one.row.read(catalogue.LOG_DROPPED_LINES) == 5
    assert {each: one.row.read(catalogue.BREAKER_OPEN[each]) for each in Dependency} == {
        each: int(each is dependency) for each in Dependency
    }


def test_connections_whose_time_is_over_are_expired_by_the_tick(bench: Make) -> None:
    one = bench()
    one.begin()
    soon, late = connection(one, deadline=one.loop.now + 1.0), connection(one, deadline=one.loop.now + 9.0)
    for _ in range(3):
        one.loop.advance(TICK_S)
    assert soon.expired == []
    one.loop.advance(TICK_S)
    assert (soon.expired, late.expired) == ([one.loop.now], [])


def ticks_between(one: Bench, call: str, seconds: float) -> list[float]:
    """Return when `call` comes within so many seconds of ticks."""
    start, times = one.loop.now, []
    for _ in range(round(seconds / TICK_S)):
        before = one.count(call)
        one.loop.advance(TICK_S)
        times += [one.loop.now - start] * (one.count(call) - before)
    return times


def test_each_job_comes_at_its_interval(bench: Make) -> None:
    one = bench(server='sweep_interval = "10s"')
    one.begin()
    assert [one.count(f"store.{job}") for job in ("reconcile", "sweep", "attend")] == [1, 1, 1]
    assert one.count("clients.synchronize") == 1
    assert one.count("optimiser.rank") == 0  # nothing has been weighed yet
    assert ticks_between(one, "store.attend", 3.0) == [ATTEND_S, 2 * ATTEND_S, 3 * ATTEND_S]
    assert ticks_between(one, "store.sweep", 20.0) == [7.0, 17.0]
    start = one.count("clients.synchronize")
    ticks_between(one, "clients.synchronize", 10 * clients.SHARE_S)
    assert one.count("clients.synchronize") - start == 10


def test_only_the_first_worker_sweeps_reconciles_and_ranks(bench: Make) -> None:
    one = bench(slot=1, server='sweep_interval = "10s"')
    one.begin()
    for _ in range(8):
        one.loop.advance(3600.0)
    for call in ("store.sweep", "store.sweep_sessions", "store.reconcile", "optimiser.rank"):
        assert one.count(call) == 0
    assert one.count("store.attend") > 1


def test_a_storage_at_fault_is_attended_at_each_tick(bench: Make) -> None:
    one = bench()
    one.begin()
    one.store.fault = "gone"
    one.loop.advance(ATTEND_S)
    assert ticks_between(one, "store.attend", 2.0) == [(n + 1) * BARRED_S for n in range(8)]


def test_a_look_at_the_storage_that_hangs_is_the_only_one(bench: Make) -> None:
    one = bench()
    one.begin()
    one.store.gates["attend"] = one.loop.create_future()
    assert ticks_between(one, "store.attend", 60.0) == [ATTEND_S]
    one.store.gates.pop("attend").set_result(None)
    assert ticks_between(one, "store.attend", 1.5) == [TICK_S + ATTEND_S]


def test_the_ranking_is_kept_when_it_changes(bench: Make) -> None:
    one = bench(rest='[performance]\nbuffer_optimization_interval = "30s"\n')
    one.begin()
    one.ranked = [None, b"ranking"]
    assert ticks_between(one, "optimiser.rank", 60.0) == [30.0, 60.0]
    assert one.store.saved == [(BUFFERS, b"ranking")]


def test_a_job_that_fails_is_told_and_the_others_go_on(bench: Make) -> None:
    one = bench(server='sweep_interval = "10s"')
    one.begin()
    one.store.errors["sweep"] = OSError(5, "Input/output error")
    assert ticks_between(one, "store.sweep", 25.0) == [10.0, 20.0]
    assert one.log.names().count("background-failed") == 2
    one.store.errors.clear()
    one.store.results["sweep"] = Swept(1, 1, 0)
    one.loop.advance(10.0)
    assert one.log.names()[-1] == "sweep-done"


def test_a_secret_with_invisible_ends_is_told_once_it_matters(bench: Make) -> None:
    one = bench()
    lookalike = Lookalike(b"secret", "security.secret", "a space at its end")
    one.worker._lookalikes = [lookalike, Lookalike(b"other", "x", "y")]
    one.begin()
    assert one.log.events == []
    lookalike.matched = True
    for _ in range(3):
        one.loop.advance(TICK_S)
    assert one.log.events == [
        ("warn", "secret-lookalike", {"key": "security.secret", "ends": "a space at its end"})
    ]


def test_a_reload_applies_to_everything_and_is_answered(bench: Make, tmp_path: Path) -> None:
    one = bench()
    one.begin()
    one.heard()
    before = one.context.app
    fresh = settings_of(
        tmp_path,
        server='max_pipelined = 3\nmax_header_fields = 21\nsweep_interval = "20s"\nfile_ttl = "2h"\n'
        'trusted_proxies = ["192.0.2.0/24"]',
        rest='[timeouts]\nidletimeout = "99s"\n[uploads]\nbodytimeout = "77m"\n',
    )
    one.calls.clear()
    one.say(Reload(fresh, 8))
    assert one.heard() == [Ready(8)]
    context = one.context
    assert context.app is not before
    assert (context.max_pipelined, context.head_limits.fields, context.bodytimeout_s) == (3, 21, 77 * 60.0)
    assert context.timeouts.idletimeout_s == 99.0
    assert context.trusted.includes("192.0.2.7")
    assert one.store.rules == Rules.of(fresh)
    assert one.calls == ["log.reconfigure", "log.reopen", "clients.reconfigure", "hot.configure"]
    one.loop.advance(1.0)
    one.calls.clear()
    one.loop.advance(3600.0)  # the sweep that was due by the interval before
    assert ticks_between(one, "store.sweep", 20.0) == [20.0]


def test_the_log_is_opened_anew_at_the_signal(bench: Make) -> None:
    one = bench()
    one.begin()
    one.calls.clear()
    one.loop.deliver(REOPEN)
    assert one.calls == ["log.reopen"]


def test_a_message_that_is_none_of_these_changes_nothing(bench: Make) -> None:
    one = bench()
    one.begin()
    one.calls.clear()
    one.heard()
    one.say(Ready(1))
    assert (one.calls, one.heard(), one.context.draining) == ([], [], False)


def drained_by_message(one: Bench) -> None:
    one.say(Drain(20.0))


def drained_by_signal(one: Bench) -> None:
    one.loop.deliver(signal.SIGTERM)


def drained_by_silence(one: Bench) -> None:
    """The supervisor vanishes."""
    one.pipe.close()
    one.loop.turn(5)


WAYS = [drained_by_message, drained_by_signal, drained_by_silence]
SHUTDOWN = '[timeouts]\nshutdown = "20s"\n'


@pytest.mark.parametrize("way", WAYS)
def test_an_idle_worker_ends_at_once_in_the_order_of_its_parts(
    bench: Make, way: Callable[[Bench], None]
) -> None:
    one = bench(rest=SHUTDOWN)
    one.begin()
    idle = connection(one)
    one.calls.clear()
    way(one)
    one.loop.turn(5)
    assert one.serving.done()
    assert one.serving.exception() is None
    assert idle.told == ["drain"]
    assert one.calls == ["hot.forget", "sockets.drain", *CLOSE]
    one.loop.advance(60.0)
    assert one.calls[-1] == CLOSE[-1]  # no timer is left


@pytest.mark.parametrize("way", WAYS)
def test_a_busy_worker_ends_when_the_last_client_has_gone(bench: Make, way: Callable[[Bench], None]) -> None:
    one = bench(rest=SHUTDOWN, server='sweep_interval = "5s"')
    one.begin()
    busy = FakeConnection()
    one.connections.add(busy)
    way(one)
    sweeps, looks = one.count("store.sweep"), one.count("store.attend")
    for _ in range(40):
        one.loop.advance(TICK_S)
    assert (busy.told, one.serving.done()) == (["drain"], False)
    assert one.count("store.sweep") == sweeps  # no time for that now
    assert one.count("store.attend") > looks
    one.connections.clear()
    one.loop.advance(TICK_S)
    assert one.serving.done()


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_does_not_end_is_abandoned_at_the_deadline(
    bench: Make, way: Callable[[Bench], None]
) -> None:
    one = bench(rest=SHUTDOWN)
    one.begin()
    stubborn = FakeConnection()
    one.connections.add(stubborn)
    way(one)
    one.loop.advance(19.9)
    assert stubborn.told == ["drain"]
    one.loop.advance(0.1)
    assert stubborn.told == ["drain", "abandon"]
    assert one.count("acceptor.abandon") == 1
    one.loop.advance(TICK_S)  # one that had to be told something first
    assert stubborn.told == ["drain", "abandon", "abandon"]
    one.connections.clear()
    one.loop.advance(TICK_S)
    assert one.serving.done()


def test_a_worker_drains_once_however_often_it_is_told(bench: Make) -> None:
    one = bench(rest=SHUTDOWN)
    one.begin()
    busy = FakeConnection()
    one.connections.add(busy)
    for way in (drained_by_message, drained_by_signal, drained_by_silence):
        way(one)
    one.loop.turn(5)
    assert (busy.told, one.count("sockets.drain"), one.count("hot.forget")) == (["drain"], 1, 1)
    one.loop.advance(20.0)
    assert busy.told == ["drain", "abandon"]


def test_a_worker_does_not_end_while_a_client_is_on_its_way_in(bench: Make) -> None:
    one = bench()
    one.begin()
    one.sockets.gate = one.loop.create_future()
    one.say(Drain(20.0))
    one.loop.advance(TICK_S, 10)
    assert not one.serving.done()  # what the kernel has queued is being accepted
    one.acceptor.busy = True
    one.sockets.gate.set_result(None)
    one.loop.advance(TICK_S, 10)
    assert not one.serving.done()  # a handshake is being made
    one.acceptor.busy = False
    one.loop.advance(TICK_S, 10)
    assert one.serving.done()


def test_an_answer_under_way_is_waited_for_before_its_store_closes(bench: Make) -> None:
    one = bench()
    one.begin()
    committed = one.loop.create_future()

    class Commit:
        """An answer whose client has gone."""

        async def ended(self) -> None:
            await committed

    answer: Any = Commit()
    one.context.tasks.add(answer)
    one.say(Drain(20.0))
    one.loop.turn(10)
    assert not one.serving.done()
    assert one.count("store.close") == 0
    committed.set_result(None)
    one.loop.turn(10)
    assert one.serving.done()
    assert one.count("store.close") == 1


def test_closing_ends_the_jobs_that_run_and_begins_no_others(bench: Make) -> None:
    one = bench()
    one.store.gates["attend"] = one.store.gates["reconcile"] = one.loop.create_future()
    one.begin()
    one.say(Drain(20.0))
    one.loop.turn(5)
    assert one.serving.done()
    assert [line for line in one.log.events if line[0] == "error"] == []
    one.calls.clear()
    one.events.on_barred("")  # the store may say so up to its end
    one.loop.advance(60.0)
    assert one.calls == ["hot.forget"]


@pytest.mark.parametrize(("slot", "reconciled"), [(0, 1), (1, 0)])
def test_uploads_taken_again_forget_answers_and_reconcile_once_for_all(
    bench: Make, slot: int, reconciled: int
) -> None:
    one = bench(slot=slot)
    one.begin()
    one.heard()
    one.calls.clear()
    one.events.on_barred("the index is gone")
    one.loop.turn(3)
    assert one.calls == []
    one.events.on_barred("")
    one.loop.turn(3)
    assert one.calls == ["hot.forget"] + ["store.reconcile"] * reconciled
    assert one.heard() == [Barred("the index is gone"), Barred("")]
