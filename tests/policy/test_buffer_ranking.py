"""The ranking of classes: soon right, then quiet, and never lost to what is in its file."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import KiB, MiB
from hmacfs.policy import buffer_classes, buffer_ranking
from hmacfs.policy.buffer_ranking import Ranking, Weight

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = buffer_classes.between(32 * KiB, 4 * MiB)
SIZES = CLASSES.each()
SPREAD = 0.2


def cost(size: int, best: int) -> float:
    """Return seconds a byte with `size` where `best` is best: a fifth more for each class between."""
    return 1e-9 * math.pow(1.2, abs(math.log2(size / best)))


def round_of(used: int, best: int, chance: random.Random, rounds: float = 1.0) -> dict[int, Weight]:
    """Return what one interval weighs: most with the class that is used, some with each."""
    fresh = {}
    for size in SIZES:
        share = 1 / buffer_ranking.TRIED_EVERY / len(SIZES)
        if size == used:
            share += 1 - 1 / buffer_ranking.TRIED_EVERY
        moved = buffer_ranking.round_bytes(CLASSES) * rounds * share
        spells = moved / buffer_ranking.SPELL_BYTES
        price = cost(size, best) * max(chance.gauss(1, SPREAD / math.sqrt(spells)), 0.1)
        fresh[size] = Weight(moved, moved * price)
    return fresh


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("best", SIZES)
def test_after_a_change_one_round_is_enough(best: int, seed: int) -> None:
    """One interval of a busy site later the class used is at most one from the best."""
    chance = random.Random(seed)
    for before in SIZES:
        ranking = Ranking(best=before)
        for _ in range(4):
            ranking = buffer_ranking.updated(
                ranking, round_of(ranking.best, before, chance, rounds=40), CLASSES
            )
        ranking = buffer_ranking.updated(ranking, round_of(ranking.best, best, chance, rounds=40), CLASSES)
        assert 0.5 <= ranking.best / best <= 2


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("rounds", [1, 10])
def test_a_steady_site_is_left_alone(rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    ranking, changes = Ranking(best=CLASSES.most), 0
    for _ in range(10):
        after = buffer_ranking.updated(ranking, round_of(ranking.best, 256 * KiB, chance, rounds), CLASSES)
        changes += after.best != ranking.best
        ranking = after
    assert changes <= 2


def test_what_costs_nearly_the_same_is_no_reason_to_change() -> None:
    fresh = {size: Weight(1e12, 1e3) for size in SIZES} | {64 * KiB: Weight(1e12, 1e3 * 0.97)}
    assert buffer_ranking.updated(Ranking(best=MiB), fresh, CLASSES).best == MiB


def test_the_best_of_several_better_ones_is_used() -> None:
    fresh = {MiB: Weight(1e12, 1e3), 64 * KiB: Weight(1e12, 500), 128 * KiB: Weight(1e12, 400)}
    assert buffer_ranking.updated(Ranking(best=MiB), fresh, CLASSES).best == 128 * KiB


@pytest.mark.parametrize(
    "fresh",
    [
        {},
        {64 * KiB: Weight(1e12, 1.0)},  # nothing to compare it with
        {MiB: Weight(1e12, 1e3), 64 * KiB: Weight(1 * MiB, 1e-9)},  # left over from a spell
        {MiB: Weight(1e12, 1e3), 64 * KiB: Weight(8 * MiB, 8e6 * 0.85e-9)},  # one spell may be chance
        {MiB: Weight(0, 0), 64 * KiB: Weight(0, 0)},
    ],
)
def test_too_little_is_no_reason_either(fresh: dict[int, Weight]) -> None:
    assert buffer_ranking.updated(Ranking(best=MiB), fresh, CLASSES).best == MiB


@given(
    st.sampled_from(SIZES),
    st.dictionaries(
        st.sampled_from(SIZES), st.builds(Weight, st.floats(0, 1e15), st.floats(0, 1e6)), max_size=8
    ),
)
def test_the_best_is_always_a_class_and_the_state_comes_back(best: int, fresh: dict[int, Weight]) -> None:
    ranking = buffer_ranking.updated(Ranking(best=best), fresh, CLASSES)
    assert ranking.best in SIZES
    assert buffer_ranking.read(buffer_ranking.write(ranking), CLASSES) == ranking


def test_other_bounds_keep_what_still_counts() -> None:
    ranking = Ranking(best=4 * MiB, weights={size: Weight(1e9, 1.0) for size in SIZES})
    fewer = buffer_classes.between(64 * KiB, 1 * MiB)
    read = buffer_ranking.read(buffer_ranking.write(ranking), fewer)
    assert read.best == 1 * MiB
    assert tuple(read.weights) == fewer.each()


JSON = st.recursive(
    st.none() | st.floats() | st.text() | st.integers(),
    lambda some: st.lists(some) | st.dictionaries(st.sampled_from(["best", "weights", "32768"]), some),
)
STRANGE: list[Callable[[], bytes]] = [
    lambda: b"",
    lambda: b"\xff\x00",
    lambda: b"null",
    lambda: b"[1, 2]",
    lambda: b'"text"',
    lambda: b"[" * 100_000,
    lambda: b'{"best": 32768}',
    lambda: b'{"best": 1e999, "weights": {}}',
    lambda: b'{"best": NaN, "weights": {}}',
    lambda: b'{"best": [], "weights": {}}',
    lambda: b'{"best": 32768, "weights": []}',
    lambda: b'{"best": 32768, "weights": {"32768": 1}}',
    lambda: b'{"best": 32768, "weights": {"32768": [1, 2, 3]}}',
    lambda: b'{"best": 32768, "weights": {"32768": ["1", "2"]}}',
    lambda: b'{"best": 32768, "weights": {"32768": [1, -2]}}',
    lambda: b'{"best": 32768, "weights": {"32768": [1, NaN]}}',
    lambda: b'{"best": 32768, "weights": {"32768": [Infinity, 1]}}',
    lambda: b'{"best": 32768, "weights": {"x": [1, 1]}}',
]


@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_file_is_as_good_as_none(text: Callable[[], bytes]) -> None:
    assert buffer_ranking.read(text(), CLASSES) == Ranking(best=CLASSES.most)


@given(JSON)
def test_whatever_json_the_file_holds_a_class_comes_of_it(value: object) -> None:
    assert buffer_ranking.read(json.dumps(value).encode(), CLASSES).best in SIZES
