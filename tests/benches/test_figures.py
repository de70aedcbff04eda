from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches import figures
from benches.figures import Bar, Middle, Sample
from benches.outcome import Outcome
from benches.works import WORKS

COSTS = st.floats(1e-7, 1e3)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([3.0], Middle(3.0, 0.0, 3.0, 3.0)),
        ([1.0, 2.0, 3.0], Middle(2.0, 0.5, 1.0, 3.0)),
        ([2.0, 4.0], Middle(3.0, 1 / 3, 2.0, 4.0)),
        ([0.0, 0.0], Middle(0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_median_and_spread(values: list[float], want: Middle) -> None:
    assert figures.middle(values) == pytest.approx(want)


def test_ratio_is_taken_round_by_round() -> None:
    # the machine was ten times slower in the second round, for both alike
    assert figures.ratio([1.0, 10.0, 1.2], [2.0, 20.0, 2.0]).median == 0.5


def test_ratio_needs_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="shorter"):
        figures.ratio([1.0, 2.0], [1.0])


@given(values=st.lists(COSTS, min_size=1, max_size=9))
def test_a_contender_is_as_dear_as_itself(values: list[float]) -> None:
    assert figures.ratio(values, values) == Middle(1.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("share", "want"), [(0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100), (0.001, 1), (0.0, 1)]
)
def test_percentile_is_the_nearest_rank(share: float, want: int) -> None:
    assert figures.percentile(range(1, 101), share) == want


@given(values=st.lists(COSTS, min_size=1), share=st.floats(0, 1))
def test_so_many_do_not_exceed_a_percentile(values: list[float], share: float) -> None:
    found = figures.percentile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


@pytest.mark.parametrize(
    ("bar", "ratio", "holds"),
    [
        (Bar("nginx", 0.65, "p99_s"), 0.65, True),
        (Bar("nginx", 0.65, "p99_s"), 0.66, False),
        (Bar("nginx", 1.7, "p99_s", at_least=True), 1.7, True),
        (Bar("nginx", 1.7, "p99_s", at_least=True), 1.69, False),
    ],
)
def test_bar(bar: Bar, ratio: float, *, holds: bool) -> None:
    assert bar.holds(ratio) is holds


def test_figures_of_a_sample() -> None:
    sample = Sample(requests=1000, bytes=2_000_000_000, seconds=2.0, p50_s=0.001, p99_s=0.002)
    found = figures.of_sample(sample, server_cpu_s=1.0, client_cpu_s=0.5)
    assert found == {
        "requests": 1000,
        "cpu_per_request_s": 0.001,
        "cpu_per_gb_s": 0.5,
        "requests_per_s": 500.0,
        "bytes_per_s": 1e9,
        "p50_s": 0.001,
        "p99_s": 0.002,
        "server_busy": 0.5,
        "client_busy": 0.25,
    }


@pytest.mark.parametrize(
    ("figure", "value", "want"),
    [
        ("cpu_per_request_s", 6.8e-6, "6.80 µs"),
        ("cpu_per_request_s", 175e-6, "175 µs"),
        ("cpu_per_gb_s", 0.294, "0.29 s"),
        ("requests_per_s", 123456.0, "123,456"),
        ("memory_bytes", 12 * 1024, "12.0 KiB"),
    ],
)
def test_a_value_is_written_with_three_digits(figure: str, value: float, want: str) -> None:
    assert figures.write(figure, value) == want


def test_every_work_shows_and_judges_figures_that_exist() -> None:
    for work in WORKS.values():
        assert {work.figure, *work.columns, *(bar.figure for bar in work.bars)} <= set(figures.FIGURES)
        assert {bar.rival for bar in work.bars} | {bar.ours for bar in work.bars} <= set(work.contenders)
        assert set(work.quick) <= set(work.contenders)


def test_outcome_judges_what_has_run_so_far() -> None:
    outcome = Outcome(name="get_64k", work=WORKS["get_64k"], contenders=("hmacfs", "nginx", "caddy"))
    outcome.runs = {
        "hmacfs": [{"cpu_per_request_s": 1.0}, {"cpu_per_request_s": 1.0}],
        "nginx": [{"cpu_per_request_s": 2.0}],
    }
    (verdict,) = outcome.verdicts()
    assert (verdict.bar.rival, verdict.ratio.median, verdict.holds) == ("nginx", 0.5, True)
    assert (outcome.ours, outcome.rivals) == (("hmacfs",), ("nginx", "caddy"))
    record = outcome.record()
    assert record["work"] == "get_64k"


def test_two_workers_are_compared_with_one() -> None:
    work = WORKS["scale_1k"]
    outcome = Outcome(name="scale_1k", work=work, contenders=work.contenders)
    assert (outcome.ours, outcome.rivals) == (("hmacfs_2_of_2",), ("hmacfs_1_of_2",))
