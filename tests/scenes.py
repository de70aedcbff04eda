"""Scenes on the loop that the server uses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PATIENCE_S = 60

uvloop.new_event_loop().close()  # libuv's pipe for signals stays open from the first loop on


def play(scene: Callable[[asyncio.AbstractEventLoop], Coroutine[None, None, None]]) -> None:
    """Run a scene on the loop that the server uses; faults in callbacks fail the test."""
    faults: list[object] = []

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        await asyncio.wait_for(scene(loop), PATIENCE_S)
        await asyncio.sleep(0)  # whatever was left scheduled shows itself

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
    assert not faults
