"""The storage is kept in order: what was done is counted and told, what was not is no line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from worker.parts import FakeStore, NotedLog

from hmacfs import metrics
from hmacfs.metrics import catalogue
from hmacfs.store.reconcile import Reconciled
from hmacfs.store.sweep import Swept
from hmacfs.worker.upkeep import ATTEND_S, BARRED_S, Upkeep

if TYPE_CHECKING:
    from manual_loop import ManualLoop


class Kept:
    """An upkeep of a store that answers as a test says."""

    def __init__(self, **results: Any) -> None:
        self.store = FakeStore([])
        self.store.results |= results
        self.log = NotedLog([])
        self.row = metrics.CounterRow(memoryview(bytearray(metrics.memory_bytes(1))), 0)
        store: Any = self.store
        log: Any = self.log
        self.upkeep = Upkeep(store, self.row, log)


SWEEPS = [
    # what a sweep of files and one of unfinished uploads give, the lines, files and uploads counted
    (None, 0, [], (0, 0)),
    (Swept(0, 0, 2), 0, [], (0, 0)),
    (Swept(3, 99, 0), 0, [("info", "sweep-done", {"removed": 3})], (3, 0)),
    (None, 2, [("info", "uploads-dropped", {"dropped": 2})], (0, 2)),
    (
        Swept(1, 9, 0),
        4,
        [("info", "sweep-done", {"removed": 1}), ("info", "uploads-dropped", {"dropped": 4})],
        (1, 4),
    ),
]


@pytest.mark.parametrize(("swept", "dropped", "lines", "counted"), SWEEPS)
def test_a_sweep_tells_what_it_removed(
    loop: ManualLoop, swept: Swept | None, dropped: int, lines: list[Any], counted: tuple[int, int]
) -> None:
    kept = Kept(sweep=swept, sweep_sessions=dropped)
    loop.run_until_complete(kept.upkeep.sweep())
    assert kept.log.events == lines
    assert (kept.row.read(catalogue.EXPIRED_FILES), kept.row.read(catalogue.EXPIRED_UPLOADS)) == counted


RECONCILED = [
    (None, []),
    (Reconciled(dropped=1, added=2, skipped=3), [("info", "reconcile-done", {"added": 2, "dropped": 1})]),
    (
        Reconciled(dropped=0, added=0, skipped=0, unserved=2, unserved_names=("a\\xff", "b\\x01")),
        [
            ("info", "reconcile-done", {"added": 0, "dropped": 0}),
            ("warn", "files-unserved", {"count": 2, "names": "a\\xff b\\x01"}),
        ],
    ),
]


@pytest.mark.parametrize(("done", "lines"), RECONCILED)
def test_index_and_files_that_agree_again_are_told(
    loop: ManualLoop, done: Reconciled | None, lines: list[Any]
) -> None:
    kept = Kept(reconcile=done)
    loop.run_until_complete(kept.upkeep.reconcile())
    assert kept.log.events == lines


@pytest.mark.parametrize(("inodes", "shown"), [((4, 5, 6), (4, 5, 6)), ((), (0, 0, 0))])
def test_the_supervisor_sees_which_files_are_open(
    loop: ManualLoop, inodes: tuple[int, ...], shown: tuple[int, ...]
) -> None:
    kept = Kept()
    kept.store.open_inodes = inodes
    loop.run_until_complete(kept.upkeep.attend())
    assert tuple(kept.row.read(column) for column in catalogue.INDEX_INODES) == shown


def test_a_storage_at_fault_is_looked_at_more_often() -> None:
    kept = Kept()
    assert kept.upkeep.attend_interval_s() == ATTEND_S
    kept.store.fault = "gone"
    assert kept.upkeep.attend_interval_s() == BARRED_S
