"""Tasks beside the connections: owned, told of when they fail, ended when the worker closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.parts import NotedLog

from hmacfs.worker.background import BackgroundTasks

if TYPE_CHECKING:
    import asyncio

    from manual_loop import ManualLoop


async def wait(on: asyncio.Future[None], ends: list[str]) -> None:
    try:
        await on
    finally:
        ends.append("ended")


def test_a_task_that_fails_is_told_of_and_others_go_on(loop: ManualLoop) -> None:
    log, ends = NotedLog([]), list[str]()
    tasks = BackgroundTasks(loop, log)  # type: ignore[arg-type]
    fails, goes_on = loop.create_future(), loop.create_future()
    tasks.start(wait(fails, ends))
    tasks.start(wait(goes_on, ends))
    fails.set_exception(ValueError("odd"))
    loop.turn(3)
    assert log.events == [("error", "background-failed", {"error": "ValueError('odd')"})]
    goes_on.set_result(None)
    loop.turn(3)
    assert (ends, len(log.events)) == (["ended"] * 2, 1)


def test_closing_cancels_what_runs_without_a_word_and_waits_for_others(loop: ManualLoop) -> None:
    log, ends = NotedLog([]), list[str]()
    tasks = BackgroundTasks(loop, log)  # type: ignore[arg-type]
    tasks.start(wait(loop.create_future(), ends))
    other: asyncio.Future[None] = loop.create_future()
    loop.turn()
    closing = loop.create_task(tasks.close([other]))
    loop.turn(5)
    assert (ends, closing.done()) == (["ended"], False)
    other.set_exception(OSError("its own affair"))
    loop.turn(5)
    assert closing.result() is None
    assert log.events == []


def test_what_comes_after_closing_never_begins(loop: ManualLoop) -> None:
    tasks, ends = BackgroundTasks(loop, NotedLog([])), list[str]()  # type: ignore[arg-type]
    loop.run_until_complete(tasks.close([]))
    late: Any = wait(loop.create_future(), ends)
    tasks.start(late)
    loop.turn(5)
    assert (ends, late.cr_frame) == ([], None)
