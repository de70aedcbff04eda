"""What the store tells of itself: one line where many would say the same, and the supervisor knows."""

from __future__ import annotations

from typing import Any

import pytest
from worker.parts import NotedLog

from hmacfs import metrics
from hmacfs.metrics import catalogue
from hmacfs.model import Dependency
from hmacfs.worker.messages import Barred
from hmacfs.worker.storage_events import DENIAL_S, StorageEvents


class Listening:
    """The listener, and all that it tells."""

    def __init__(self) -> None:
        self.now = 5.0
        self.log = NotedLog([])
        self.row = metrics.CounterRow(memoryview(bytearray(metrics.memory_bytes(1))), 0)
        self.sent: list[Barred] = []
        log: Any = self.log
        self.events = StorageEvents("/srv", self.row, log, now=lambda: self.now, send=self.sent.append)


@pytest.fixture
def listening() -> Listening:
    return Listening()


def test_files_denied_are_one_line_from_time_to_time_and_all_are_counted(listening: Listening) -> None:
    for at, key in ((0.0, "a"), (0.1, "b"), (DENIAL_S - 0.1, "c"), (DENIAL_S, "d"), (2 * DENIAL_S + 1, "e")):
        listening.now = 5.0 + at
        listening.events.on_denied(key, f"why {key}")
    assert listening.log.events == [
        ("warn", "file-denied", {"path": f"/srv/{key}", "error": f"why {key}", "more": more})
        for key, more in (("a", 0), ("d", 2), ("e", 0))
    ]
    assert listening.row.read(catalogue.DENIED_FILES) == 5


@pytest.mark.parametrize("dependency", Dependency)
def test_a_breaker_is_counted_when_it_opens(listening: Listening, dependency: Dependency) -> None:
    listening.events.on_breaker(dependency, True, "EIO")
    listening.events.on_breaker(dependency, False, "")
    assert listening.log.events == [
        ("error", "breaker-opened", {"dependency": dependency.value, "error": "EIO"}),
        ("info", "breaker-closed", {"dependency": dependency.value}),
    ]
    assert {one: listening.row.read(catalogue.BREAKER_OPENED[one]) for one in Dependency} == {
        one: int(one is dependency) for one in Dependency
    }


def test_uploads_refused_and_taken_again_reach_log_gauge_supervisor_and_worker(listening: Listening) -> None:
    resumed: list[str] = []
    listening.events.on_barred("")  # while the store is opened nothing is resumed
    listening.events.resumed = lambda: resumed.append("resumed")
    listening.events.on_barred("the index is gone")
    assert (resumed, listening.row.read(catalogue.UPLOADS_BARRED)) == ([], 1)
    listening.events.on_barred("")
    assert (resumed, listening.row.read(catalogue.UPLOADS_BARRED)) == (["resumed"], 0)
    assert listening.sent == [Barred(""), Barred("the index is gone"), Barred("")]
    assert listening.log.events[1:] == [
        ("error", "uploads-barred", {"error": "the index is gone"}),
        ("info", "uploads-resumed", {}),
    ]
