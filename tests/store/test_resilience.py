"""What the store makes of faults: refusals at once while they last, and further tries of what may pass."""

from __future__ import annotations

import dataclasses
import sqlite3
from typing import TYPE_CHECKING

import pytest
import storage

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Dependency
from hmacfs.policy import backoff, breaker, os_errors
from hmacfs.store import faults
from hmacfs.store.resilience import Resilience

if TYPE_CHECKING:
    from hmacfs.store import Rules

BROKEN_DISK = os_errors.writing(OSError(5, "EIO"))
SPREAD_S = 0.1


class Site:
    """A Resilience with a clock to set, and what it has told."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.now = 1000.0
        self.told: list[tuple[Dependency, bool]] = []
        self.resilience = Resilience(
            rules or storage.rules(),
            lambda dependency, opened, _why: self.told.append((dependency, opened)),
            clock=lambda: self.now,
        )

    def fail(self, refused: Refused, times: int = breaker.IN_A_ROW) -> None:
        for _ in range(times):
            self.now += SPREAD_S
            self.resilience.fail(refused)

    def refusal(self) -> Refused | None:
        """Return why an upload may not begin, None if it may."""
        try:
            self.resilience.admit()
        except Refused as refused:
            return refused
        return None


def test_uploads_are_put_off_while_the_storage_is_broken() -> None:
    site = Site()
    site.fail(BROKEN_DISK, breaker.IN_A_ROW - 1)
    assert site.resilience.troubled
    assert site.refusal() is None
    site.fail(BROKEN_DISK, 1)
    assert site.told == [(Dependency.STORAGE, True)]
    refused = site.refusal()
    assert refused is not None
    assert refused.refusal is errors.STORAGE_UNAVAILABLE
    assert refused.fields == (("Retry-After", "1"),)
    assert site.resilience.refuses(Dependency.STORAGE)
    assert not site.resilience.refuses(Dependency.INDEX)


def test_one_upload_shows_whether_it_is_well_again() -> None:
    site = Site()
    site.fail(BROKEN_DISK)
    site.now += breaker.FIRST_PAUSE_S
    assert not site.resilience.refuses(Dependency.STORAGE)  # or nobody would send an upload
    assert site.refusal() is None
    assert site.refusal() is not None
    site.resilience.succeed()
    assert site.told == [(Dependency.STORAGE, True), (Dependency.STORAGE, False)]
    assert not site.resilience.troubled
    assert site.refusal() is None


def test_a_probe_that_fails_is_told_once_and_waited_for_longer() -> None:
    site = Site()
    site.fail(BROKEN_DISK)
    site.now += breaker.FIRST_PAUSE_S
    assert site.refusal() is None
    site.resilience.fail(BROKEN_DISK)
    refused = site.refusal()
    assert refused is not None
    assert refused.fields == (("Retry-After", "2"),)
    assert site.told == [(Dependency.STORAGE, True)]


@pytest.mark.parametrize(
    "refused",
    [
        *(os_errors.writing(OSError(number, "")) for number in (17, 28, 36, 24, 12, 11, 13)),
        Refused(errors.BODY_INCOMPLETE),
        Refused(errors.DISK_FULL),
        faults.indexing(sqlite3.ProgrammingError("ours")),
        os_errors.reading(OSError(5, "EIO")),
    ],
    ids=str,
)
def test_what_is_no_fault_of_a_dependency(refused: Refused) -> None:
    site = Site()
    site.fail(refused, 100)
    assert not site.resilience.troubled


def test_switched_off_it_lets_everybody_in() -> None:
    off = dataclasses.replace(storage.rules(), circuit_breaker=False)
    site = Site(off)
    site.fail(BROKEN_DISK, 100)
    assert not site.resilience.troubled
    site.resilience.adopt(storage.rules())
    site.fail(BROKEN_DISK)
    assert site.refusal() is not None
    site.resilience.adopt(off)
    assert site.refusal() is None
    assert site.told == [(Dependency.STORAGE, True), (Dependency.STORAGE, False)]


@pytest.mark.parametrize(
    ("automatic_retry", "exponential_backoff", "tries"),
    [(True, True, backoff.RETRIES), (True, False, backoff.RETRIES), (False, True, 0)],
)
def test_the_tries_of_a_step(
    automatic_retry: bool,  # noqa: FBT001 - a table
    exponential_backoff: bool,  # noqa: FBT001 - a table
    tries: int,
) -> None:
    rules = dataclasses.replace(
        storage.rules(), automatic_retry=automatic_retry, exponential_backoff=exponential_backoff
    )
    waits_s = list(Site(rules).resilience.delays())
    assert len(waits_s) == tries
    assert not tries or (len(set(waits_s)) > 1) is exponential_backoff
