"""What a site learns of its buffers: workers count, one of them ranks, and all use what it has found."""

from __future__ import annotations

from collections import Counter

from hmacfs import metrics, transfer
from hmacfs.metrics import catalogue
from hmacfs.model import KiB, MiB
from hmacfs.policy import buffer_classes, buffer_ranking
from hmacfs.policy.buffer_ranking import SPELL_BYTES, TRIED_EVERY

CLASSES = buffer_classes.between(256 * KiB, 2 * MiB)
COSTS = {256 * KiB: 4, 512 * KiB: 2, MiB: 3, 2 * MiB: 5}  # nanoseconds a byte
LONG = 40 * TRIED_EVERY


def rows(count: int) -> list[metrics.CounterRow]:
    memory = memoryview(bytearray(metrics.memory_bytes(count)))
    return [metrics.CounterRow(memory, slot) for slot in range(count)]


def upload(tuner: transfer.BufferTuner, spells: int) -> Counter[int]:
    """Weigh fast uploads of so many spells; give how many had each class."""
    used: Counter[int] = Counter()
    for _ in range(spells):
        used[tuner.top] += 1
        tuner.record_cost(tuner.top, SPELL_BYTES, SPELL_BYTES * COSTS[tuner.top])
    return used


def test_now_and_then_each_class_is_tried() -> None:
    (row,) = rows(1)
    tuner = transfer.BufferTuner(row, CLASSES, initial=MiB)
    used = upload(tuner, LONG)
    assert used[2 * MiB] >= LONG * (1 - 1 / TRIED_EVERY)
    assert all(used[size] >= LONG // TRIED_EVERY // 4 for size in CLASSES.each())


def test_workers_try_different_classes_at_the_same_time() -> None:
    first, second = (
        transfer.BufferTuner(row, CLASSES, initial=MiB, first_tried=n) for n, row in enumerate(rows(2))
    )
    assert upload(first, TRIED_EVERY) != upload(second, TRIED_EVERY)


def test_a_look_that_found_little_says_nothing() -> None:
    (row,) = rows(1)
    tuner = transfer.BufferTuner(row, CLASSES, initial=MiB)
    tuner.record_cost(MiB, buffer_ranking.TRIAL_FROM_BYTES - 1, 1)
    assert row.read(catalogue.BUFFER_TRIAL_BYTES[MiB]) == 0


def test_slow_clients_do_not_stay_with_a_class_that_is_tried() -> None:
    (row,) = rows(1)
    tuner = transfer.BufferTuner(row, CLASSES, initial=MiB)
    while tuner.top == CLASSES.most:
        upload(tuner, 1)
    tried = tuner.top
    for _ in range(SPELL_BYTES // (256 * KiB)):
        assert tuner.top == tried
        tuner.record_cost(tried, 256 * KiB, 1000)
    assert tuner.top == CLASSES.most


def test_all_workers_come_to_use_what_costs_least() -> None:
    shared = rows(3)
    sites = [
        transfer.BufferTuner(row, CLASSES, initial=MiB, first_tried=slot) for slot, row in enumerate(shared)
    ]
    optimiser = transfer.Optimiser(shared, shared[0], CLASSES, b"")
    assert shared[0].read(catalogue.OPTIMAL_BUFFER) == 2 * MiB
    assert optimiser.rank() is None  # nothing has been weighed yet
    for tuner in sites:
        upload(tuner, LONG)
    kept = optimiser.rank()
    assert kept is not None
    assert shared[0].read(catalogue.OPTIMAL_BUFFER) == 512 * KiB
    assert shared[0].read(catalogue.BUFFER_CHANGES["site"]) == 1
    assert optimiser.rank() is None  # nor anything since
    for tuner in sites:
        tuner.learn(shared[0].read(catalogue.OPTIMAL_BUFFER))
        upload(tuner, TRIED_EVERY)
        assert upload(tuner, LONG)[512 * KiB] >= LONG * (1 - 1 / TRIED_EVERY)
    again = rows(1)
    transfer.Optimiser(again, again[0], CLASSES, kept)
    assert again[0].read(catalogue.OPTIMAL_BUFFER) == 512 * KiB


def test_a_single_class_is_not_ranked() -> None:
    only = buffer_classes.between(256 * KiB, MiB, adaptive=False)
    (row,) = rows(1)
    optimiser = transfer.Optimiser([row], row, only, b"")
    upload(transfer.BufferTuner(row, only, initial=MiB), LONG)
    assert optimiser.rank() is None
    assert row.read(catalogue.OPTIMAL_BUFFER) == 256 * KiB


def test_nothing_heard_changes_nothing() -> None:
    (row,) = rows(1)
    tuner = transfer.BufferTuner(row, CLASSES, initial=MiB)
    tuner.learn(512 * KiB)
    tuner.learn(0)  # the first worker is just starting
    assert tuner.best == 512 * KiB


def test_the_next_client_begins_with_what_is_typical() -> None:
    (row,) = rows(1)
    tuner = transfer.BufferTuner(row, CLASSES, initial=MiB)
    assert tuner.begin(1 << 30).size == MiB
    tuner.end(100 * MiB, 200 * MiB, 2.0)
    assert tuner.begin(1 << 30).size == 512 * KiB  # 50 MiB/s: what comes in 10 ms
    assert tuner.begin(1000).size == 256 * KiB
    assert tuner.begin(1 << 30, 10.0 * MiB).size == 256 * KiB  # of a client that is known to be slower
