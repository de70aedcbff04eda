"""Connections whose time is over: all of them, in pieces, and none that has gone on meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from worker.parts import FakeConnection

from hmacfs.worker.deadlines import EXPIRED_PER_TURN, expire

if TYPE_CHECKING:
    from manual_loop import ManualLoop


@pytest.mark.parametrize(
    "count", [0, 1, EXPIRED_PER_TURN - 1, EXPIRED_PER_TURN, EXPIRED_PER_TURN + 1, EXPIRED_PER_TURN * 3 + 5]
)
def test_a_turn_of_the_loop_expires_so_many_and_no_more(loop: ManualLoop, count: int) -> None:
    due: list[Any] = [FakeConnection(loop.now - number) for number in range(count)]
    later: Any = FakeConnection(loop.now + 0.001)
    expired, seen = 0, []
    expire(loop, [later, *due])
    while (now := sum(len(one.expired) for one in due)) > expired:
        seen.append(now - expired)
        expired = now
        loop.turn()
    full, rest = divmod(count, EXPIRED_PER_TURN)
    assert seen == [EXPIRED_PER_TURN] * full + [rest] * bool(rest)
    assert all(one.expired == [loop.now] for one in due)
    assert later.expired == []


def test_others_come_between_the_pieces(loop: ManualLoop) -> None:
    due: list[Any] = [FakeConnection(0.0) for _ in range(EXPIRED_PER_TURN + 1)]
    order: list[str] = []
    due[-1].then = lambda: order.append("last")
    loop.call_soon(order.append, "another")
    expire(loop, due)
    loop.turn(2)
    assert order == ["another", "last"]


def test_a_connection_that_has_gone_on_meanwhile_lives(loop: ManualLoop) -> None:
    due: list[Any] = [FakeConnection(0.0) for _ in range(EXPIRED_PER_TURN + 2)]
    expire(loop, due)
    due[-1].deadline = loop.now + 30
    loop.turn()
    assert [len(one.expired) for one in due] == [1] * (EXPIRED_PER_TURN + 1) + [0]


def test_one_that_ends_another_of_the_same_piece_expires_it_once(loop: ManualLoop) -> None:
    second: Any = FakeConnection(0.0)
    first: Any = FakeConnection(0.0, then=lambda: setattr(second, "deadline", float("inf")))
    expire(loop, [first, second])
    assert (len(first.expired), second.expired) == (1, [])
