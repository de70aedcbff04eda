"""What the store does about dependencies in trouble: leave them alone for a while, or try again.

Belongs to the event loop, but for `delays`. Tells what opened the store what changes.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Dependency
from hmacfs.policy import backoff
from hmacfs.policy.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hmacfs.store.faults import StorageError
    from hmacfs.store.rules import Rules


Tell: TypeAlias = Callable[[Dependency, bool, str], None]
"""Told of each breaker that opens (True, and why) or closes (False, "")."""


RETRY_AFTER_S: Final = "5"
"""What is mended by hand may take long; a client that asks again costs little."""


def untold(_dependency: Dependency, _opened: bool, _why: str) -> None:  # noqa: FBT001 - as Tell has it
    """Tell nothing."""


class Resilience:
    """The breakers before the store's dependencies, and its patience."""

    def __init__(self, rules: Rules, tell: Tell, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with all breakers closed; `clock` gives monotonic seconds."""
        self._rules = rules
        self._tell = tell
        self._clock = clock
        self._breakers = {name: Breaker() for name in Dependency}
        self.troubled = False
        """Whether anything is held against a dependency; if not, there is nothing to ask or to tell."""
        self._fault: StorageError | None = None

    @property
    def barred(self) -> bool:
        """Whether nothing may be changed in the storage now."""
        return self._fault is not None

    def bar(self, fault: StorageError | None) -> None:
        """Refuse uploads because of `fault` until told that there is none."""
        self._fault = fault
        self._weigh()

    def refusal(self) -> Refused:
        """Return what is said while uploads are barred."""
        if self._fault is not None and self._fault.full:
            return Refused(errors.DISK_FULL)
        return Refused(errors.STORAGE_UNAVAILABLE, fields=(("Retry-After", RETRY_AFTER_S),))

    def _weigh(self) -> None:
        self.troubled = self.barred or not all(breaker.at_rest for breaker in self._breakers.values())

    def adopt(self, rules: Rules) -> None:
        """Go by other rules from now on."""
        self._rules = rules
        if not rules.circuit_breaker:
            for name, breaker in self._breakers.items():
                if not breaker.closed:
                    self._tell(name, False, "")
            self._breakers = {name: Breaker() for name in Dependency}
            self._weigh()

    def refuses(self, dependency: Dependency) -> bool:
        """Say whether uploads are refused now because of `dependency`."""
        return self._breakers[dependency].is_open(self._clock())

    def admit(self) -> None:
        """Raise Refused unless an upload may begin: STORAGE_UNAVAILABLE, DISK_FULL. It may be the probe."""
        if self._fault is not None:
            raise self.refusal()
        now = self._clock()
        wait_s = max(breaker.wait_s(now) for breaker in self._breakers.values())
        if wait_s:
            raise Refused(errors.STORAGE_UNAVAILABLE, fields=(("Retry-After", str(math.ceil(wait_s))),))
        for breaker in self._breakers.values():
            breaker.admit(now)

    def succeed(self) -> None:
        """Take into account that an upload was published, which takes all dependencies."""
        now = self._clock()
        for name, breaker in self._breakers.items():
            was_closed = breaker.closed
            breaker.succeed(now)
            if breaker.closed and not was_closed:
                self._tell(name, False, "")
        self._weigh()

    def fail(self, refused: Refused) -> None:
        """Take into account why an upload was refused."""
        if refused.broken is None or not self._rules.circuit_breaker:
            return
        breaker = self._breakers[refused.broken]
        was_closed = breaker.closed
        breaker.fail(self._clock(), random.random())  # noqa: S311 - to spread probes, no secret
        self.troubled = True
        if was_closed and not breaker.closed:
            self._tell(refused.broken, True, refused.detail)

    def delays(self) -> Iterator[float]:
        """Return the seconds to wait before each further try of what may pass by itself; for any thread."""
        if not self._rules.automatic_retry:
            return iter(())
        return backoff.delays(random.random, exponential=self._rules.exponential_backoff)
