"""Jobs from time to time: each at its interval, none twice at a time, none once the worker closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manual_loop import ManualLoop
from worker.parts import NotedLog

from hmacfs.worker.background import BackgroundTasks
from hmacfs.worker.periodic import PeriodicJob, PeriodicJobs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

TICK_S = 0.25


class Timetable:
    """Jobs that note when they run, looked after at every tick."""

    def __init__(self, loop: ManualLoop, intervals: Sequence[float], **options: float | bool) -> None:
        self.loop = loop
        self.log = NotedLog([])
        self.tasks = BackgroundTasks(loop, self.log)  # type: ignore[arg-type]
        self.runs: list[tuple[int, float]] = []
        self.intervals = list(intervals)
        self.gate: asyncio.Future[None] | None = None
        self.start = loop.now
        self.draining = False
        self.jobs = PeriodicJobs(
            loop,
            self.tasks,
            [
                PeriodicJob(
                    name=f"job-{number}",
                    interval_s=lambda number=number: self.intervals[number],  # type: ignore[misc]
                    job=lambda number=number: self._run(number),  # type: ignore[misc]
                    **options,  # type: ignore[arg-type]
                )
                for number in range(len(intervals))
            ],
        )

    async def _run(self, number: int) -> None:
        self.runs.append((number, self.loop.now - self.start))
        if self.gate is not None:
            await self.gate

    def tick(self, count: int) -> None:
        for _ in range(count):
            self.jobs.run_due(self.loop.now, draining=self.draining)
            self.loop.turn(3)
            self.loop.now += TICK_S

    def of(self, number: int) -> list[float]:
        return [when for job, when in self.runs if job == number]


def test_a_job_is_due_at_once_and_then_at_its_interval(loop: ManualLoop) -> None:
    table = Timetable(loop, [1.0])
    table.tick(9)
    assert table.of(0) == [0.0, 1.0, 2.0]


def test_a_first_time_can_be_named(loop: ManualLoop) -> None:
    table = Timetable(loop, [1.0], first_s=1.5)
    table.tick(12)
    assert table.of(0) == [1.5, 2.5]


@given(intervals=st.lists(st.integers(1, 12), min_size=1, max_size=4), ticks=st.integers(1, 60))
def test_each_job_keeps_its_own_interval(intervals: list[int], ticks: int) -> None:
    loop = ManualLoop()
    table = Timetable(loop, [interval * TICK_S for interval in intervals])
    table.tick(ticks)
    loop.close()
    for number, interval in enumerate(intervals):
        assert table.of(number) == [tick * TICK_S for tick in range(0, ticks, interval)]
    assert [number for number, when in table.runs if when == 0.0] == list(range(len(intervals)))


def test_an_interval_that_has_changed_counts_from_the_next_run_on(loop: ManualLoop) -> None:
    table = Timetable(loop, [1.0])
    table.tick(1)
    table.intervals[0] = 0.5
    table.tick(7)
    assert table.of(0) == [0.0, 1.0, 1.5]


def test_a_job_that_takes_long_is_not_begun_again_and_then_has_its_interval(loop: ManualLoop) -> None:
    table = Timetable(loop, [1.0])
    table.gate = loop.create_future()
    table.tick(20)
    assert table.of(0) == [0.0]
    table.gate.set_result(None)
    table.gate = None
    loop.turn(3)
    table.tick(5)
    assert table.of(0) == [0.0, 6.0]


def test_a_job_that_fails_is_told_and_comes_again(loop: ManualLoop) -> None:
    table = Timetable(loop, [1.0])
    table.gate = loop.create_future()
    table.tick(1)
    table.gate.set_exception(OSError("no such luck"))
    loop.turn(3)
    table.gate = None
    table.tick(8)
    assert len(table.of(0)) == 2
    assert table.log.events == [("error", "background-failed", {"error": "OSError('no such luck')"})]


@pytest.mark.parametrize(("while_draining", "runs"), [(True, [0.0, 1.0, 2.0]), (False, [0.0])])
def test_a_draining_worker_leaves_out_what_can_wait(
    loop: ManualLoop, runs: list[float], *, while_draining: bool
) -> None:
    table = Timetable(loop, [1.0], while_draining=while_draining)
    table.tick(1)
    table.draining = True
    table.tick(8)
    assert table.of(0) == runs


def test_nothing_is_begun_once_the_worker_closes(loop: ManualLoop) -> None:
    table = Timetable(loop, [1.0, 0.25])
    table.tick(1)
    closing = loop.create_task(table.tasks.close([]))
    loop.turn(3)
    assert closing.done()
    table.tick(20)
    assert len(table.runs) == 2
