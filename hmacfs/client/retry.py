"""How often and after which waits one transfer is tried again.

Exponential back-off with full jitter, begun anew whenever bytes get through: a link that breaks every minute
still carries a large file. A server that names a time (Retry-After, RFC 9110 10.2.3) is obeyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.client.problem import GaveUp, Problem
from hmacfs.policy import backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hmacfs.client.problem import TransientError

FIRST_S: Final = 1.0
MOST_S: Final = 60.0
# Who is to wait longer than this is told so, and may come back.
LONGEST_RETRY_AFTER_S: Final = 300.0


class RetryPolicy:
    """The waits between the tries of one transfer."""

    def __init__(
        self,
        retries: int,
        *,
        chance: Callable[[], float],
        rest: Callable[[float], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        """Allow `retries` failures in a row.

        `chance` gives numbers in [0, 1); `rest` waits for seconds; `say` tells the user why he waits.
        """
        self._retries = retries
        self._chance = chance
        self._rest = rest
        self._say = say
        self.waits = 0
        """How often it has been waited, over other connections too."""
        self._first = self
        self.reset()

    def another(self) -> RetryPolicy:
        """Return a patience for another connection of the same transfer; its waits count here too."""
        other = RetryPolicy(self._retries, chance=self._chance, rest=self._rest, say=self._say)
        other._first = self._first
        return other

    def reset(self) -> None:
        """Begin anew, since bytes have got through."""
        self._delays = backoff.growing(self._chance, first_s=FIRST_S, most_s=MOST_S, retries=self._retries)

    async def wait(self, passing: TransientError) -> None:
        """Wait before the next try. Raises GaveUp if there shall be none."""
        problem = passing.problem
        delay_s = next(self._delays, None)
        if delay_s is None or problem.retry_after_s > LONGEST_RETRY_AFTER_S:
            raise GaveUp(
                Problem(
                    words=f"gave up: {problem.words}",
                    status=problem.status,
                    code=problem.code,
                    request_id=problem.request_id,
                    retry_after_s=problem.retry_after_s,
                )
            ) from passing
        delay_s = max(delay_s, problem.retry_after_s)
        self._first.waits += 1
        self._say(f"{problem.words}; trying again in {delay_s:.1f} s")
        await self._rest(delay_s)
