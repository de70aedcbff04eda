"""How large a chunk should be: two simple rules as tables, the prediction against a search for the best."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import GiB, KiB, MiB
from hmacfs.policy import chunks
from hmacfs.policy.chunks import Algorithm, ChunkBounds, ChunkedUpload, Network

MINUTE_S = 60.0
ROUNDED = 1 - 1e-12  # what floating point may take away
HOUR_S = 3600.0
USUAL = Network(
    rate=1.0 * MiB, round_trip_s=0.05, served_s=0.005, reliability=1.0, between_interruptions_s=600.0
)
QUICK = replace(USUAL, rate=101.0 * MiB, round_trip_s=0.049)

NETWORKS = st.builds(
    Network,
    rate=st.floats(0, 1e10),
    round_trip_s=st.floats(1e-5, 60),
    served_s=st.floats(0, 60),
    reliability=st.floats(0, 1),
    between_interruptions_s=st.floats(0.1, 1e6),
)
UPLOADS = st.integers(1, 10 * GiB).flatmap(
    lambda size: st.builds(
        ChunkedUpload, size=st.just(size), left=st.integers(1, size), keeps_partial=st.booleans()
    )
)
ALGORITHMS = st.sampled_from(Algorithm)
BOUNDS = st.tuples(st.integers(1, 20 * MiB), st.integers(1, 20 * MiB)).map(
    lambda pair: ChunkBounds(least=min(pair), most=max(pair))
)


def upload(size: int, *, keeps_partial: bool = False) -> ChunkedUpload:
    return ChunkedUpload(size=size, left=size, keeps_partial=keeps_partial)


@pytest.mark.parametrize(("size", "want"), [(1, 1), (MiB, MiB), (2 * MiB, 2 * MiB), (GiB, 2 * MiB)])
def test_fixed(size: int, want: int) -> None:
    assert chunks.advise(Algorithm.FIXED, USUAL, upload(size)) == want


@pytest.mark.parametrize(
    ("network", "size", "want"),
    [
        (QUICK, 50 * MiB, 5 * MiB),
        (QUICK, GiB, 10 * MiB),
        (replace(QUICK, rate=100.0 * MiB), 30 * MiB, 1536 * KiB),  # not above
        (replace(QUICK, round_trip_s=0.050), 30 * MiB, 1536 * KiB),  # not below
        (replace(QUICK, reliability=0.1), GiB, 10 * MiB),  # quick goes before poor
        (USUAL, 30 * MiB, 1536 * KiB),
        (USUAL, GiB, 2 * MiB),
        (USUAL, MiB, 256 * KiB),  # a twentieth would be less
        (USUAL, 100 * KiB, 100 * KiB),
        (replace(USUAL, reliability=0.8), GiB, 2 * MiB),  # not below
        (replace(USUAL, reliability=0.79), GiB, 512 * KiB),
        (replace(USUAL, reliability=0.79), 20 * MiB, 20 * MiB // 50),
        (replace(USUAL, round_trip_s=0.200), GiB, 2 * MiB),  # not above
        (replace(USUAL, round_trip_s=0.201), GiB, 512 * KiB),
    ],
)
def test_adaptive(network: Network, size: int, want: int) -> None:
    assert chunks.advise(Algorithm.ADAPTIVE, network, upload(size)) == want


@pytest.mark.parametrize(
    ("network", "want"),
    [
        (USUAL, 8.1 * MiB),  # eight seconds
        (replace(USUAL, between_interruptions_s=60.0), 2.5 * MiB),
        (replace(USUAL, between_interruptions_s=1e6), 10 * MiB),
        (replace(USUAL, rate=1000.0), 256 * KiB),
        (replace(USUAL, rate=100e6), 10 * MiB),
        (replace(USUAL, served_s=0.2, between_interruptions_s=60.0), 5.3 * MiB),  # dearer: fewer
    ],
)
def test_predictive(network: Network, want: float) -> None:
    assert chunks.advise(Algorithm.PREDICTIVE, network, upload(GiB)) == pytest.approx(want, rel=0.02)


@given(NETWORKS, BOUNDS)
def test_where_all_that_arrived_is_kept_only_large_chunks_make_sense(
    network: Network, bounds: ChunkBounds
) -> None:
    sent = upload(GiB, keeps_partial=True)
    assert chunks.advise(Algorithm.PREDICTIVE, network, sent, bounds) == bounds.most


@given(ALGORITHMS, NETWORKS, UPLOADS, BOUNDS)
def test_within_bounds_or_all_that_is_left(
    algorithm: Algorithm, network: Network, sent: ChunkedUpload, bounds: ChunkBounds
) -> None:
    size = chunks.advise(algorithm, network, sent, bounds)
    assert 1 <= size <= min(sent.left, bounds.most)
    assert size >= bounds.least or size == sent.left


@given(NETWORKS, UPLOADS, st.floats(1, 1000))
def test_a_faster_network_never_gets_smaller_chunks(
    network: Network, sent: ChunkedUpload, factor: float
) -> None:
    faster = replace(network, rate=network.rate * factor)
    for algorithm in Algorithm:
        slow, fast = (chunks.advise(algorithm, one, sent) for one in (network, faster))
        assert slow <= fast


@given(st.floats(0.1, 1e6), st.floats(1e-6, 0.01), st.floats(1, 10))
def test_a_chunk_that_costs_more_is_to_last_longer(between_s: float, share: float, factor: float) -> None:
    cost_s = between_s * share
    assert chunks.interval_s(cost_s * factor, between_s) >= ROUNDED * chunks.interval_s(cost_s, between_s)


@given(st.floats(0.1, 1e6), st.floats(1e-6, 0.1), st.floats(1, 100))
def test_a_connection_that_lasts_longer_gets_longer_chunks(
    between_s: float, share: float, factor: float
) -> None:
    cost_s = between_s * share
    assert chunks.interval_s(cost_s, between_s * factor) >= ROUNDED * chunks.interval_s(cost_s, between_s)


@pytest.mark.parametrize(
    ("cost_s", "between_s", "want_s"),
    [
        # the examples of Daly's figures 3 to 5
        (5 * MINUTE_S, 24 * HOUR_S, 117 * MINUTE_S),
        (5 * MINUTE_S, 6 * HOUR_S, 57 * MINUTE_S),
        (5 * MINUTE_S, 15 * MINUTE_S, 9.1 * MINUTE_S),
    ],
)
def test_intervals_that_were_published(cost_s: float, between_s: float, want_s: float) -> None:
    assert chunks.interval_s(cost_s, between_s) == pytest.approx(want_s, rel=0.01)


@given(st.floats(0.1, 1e6), st.floats(1e-9, 1e-4))
def test_where_a_chunk_costs_little_it_is_youngs_interval(between_s: float, share: float) -> None:
    young_s = math.sqrt(2 * share) * between_s
    assert chunks.interval_s(between_s * share, between_s) == pytest.approx(young_s, rel=0.01)


def expected_s(interval_s: float, cost_s: float, between_s: float) -> float:
    """Return the mean time for a second of work, interrupted at random and begun again (Daly 2006)."""
    return between_s * math.expm1((interval_s + cost_s) / between_s) / interval_s


@given(st.floats(0.1, 1e6), st.floats(1e-9, 1e-3) | st.floats(1e-3, 10))
def test_no_other_interval_is_better(between_s: float, share: float) -> None:
    """A chunk may cost from next to nothing to ten times of what a connection lasts."""
    cost_s = between_s * share
    grid = [between_s * 1.02**step for step in range(-600, 100)]
    best_s = min(expected_s(one, cost_s, between_s) for one in grid)
    assert expected_s(chunks.interval_s(cost_s, between_s), cost_s, between_s) <= best_s * 1.01


@given(st.floats(0.1, 1e6), st.floats(1e-7, 1.9))
def test_it_is_where_the_mean_time_is_least(between_s: float, share: float) -> None:
    cost_s = between_s * share
    grid = [between_s * 1.01**step for step in range(-1000, 100)]
    best_s = min(grid, key=lambda one: expected_s(one, cost_s, between_s))
    assert chunks.interval_s(cost_s, between_s) == pytest.approx(best_s, rel=0.07)
