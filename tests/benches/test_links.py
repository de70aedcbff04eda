"""The simulation of links: nothing is lost or made up, and the bars hold in a small run."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benches.links import outcome, upload
from benches.links.weather import LINKS, Line, Stretch, weather
from hmacfs.model import MiB
from hmacfs.policy.chunks import Algorithm

JOBS = {
    "link": st.sampled_from(list(LINKS)),
    "size": st.integers(1, 64 * MiB),
    "seed": st.text("abc", max_size=5),
    "algorithm": st.sampled_from(Algorithm),
    "keeps_partial": st.booleans(),
}


def line(*stretches: Stretch) -> Line:
    return Line(iter(stretches))


def test_a_line_sends_at_its_rate_until_it_breaks() -> None:
    one = line(Stretch(10, 100, 0), Stretch(5, 10, 30), Stretch(100, 1, 1))
    assert one.send(500) == 500
    assert one.now_s == pytest.approx(5)
    assert one.send(520) == 520
    assert one.now_s == pytest.approx(12)
    assert one.send(1000) == 30
    assert one.now_s == pytest.approx(15)
    one.mend()
    assert one.now_s == pytest.approx(45)
    assert one.send(10) == 10
    assert one.now_s == pytest.approx(55)


def test_a_line_may_break_while_nothing_is_sent() -> None:
    one = line(Stretch(10, 100, 0), Stretch(5, 10, 30), Stretch(100, 1, 1))
    assert one.wait(14)
    assert not one.wait(2)
    assert one.now_s == pytest.approx(15)


def test_the_weather_is_what_the_seed_says() -> None:
    first, again, other = (weather(LINKS["train"], random.Random(seed)) for seed in "aab")
    stretches = [next(first) for _ in range(100)]
    assert stretches == [next(again) for _ in range(100)]
    assert stretches != [next(other) for _ in range(100)]
    assert all(one.seconds >= 0 and one.rate > 0 and one.outage_s >= 0 for one in stretches)


@settings(deadline=None, max_examples=50)
@given(**JOBS)
def test_every_byte_is_sent_once_and_again_if_in_vain(
    *, link: str, size: int, seed: str, algorithm: Algorithm, keeps_partial: bool
) -> None:
    result = upload.run(LINKS[link], size, seed, algorithm, keeps_partial=keeps_partial)
    assert result.sent == size + result.resent
    assert result.resent == 0 or result.interruptions > 0
    assert result.chunks >= 1
    assert result.seconds > 0


@settings(deadline=None, max_examples=20)
@given(**JOBS)
def test_the_same_upload_takes_the_same_time(
    *, link: str, size: int, seed: str, algorithm: Algorithm, keeps_partial: bool
) -> None:
    first, again = (
        upload.run(LINKS[link], size, seed, algorithm, keeps_partial=keeps_partial) for _ in range(2)
    )
    assert first == again


@pytest.mark.parametrize("keeps_partial", [False, True])
def test_the_prediction_is_better_than_both_rules(keeps_partial: bool) -> None:  # noqa: FBT001
    found = outcome.measure(range(2), 20, keeps_partial=keeps_partial)
    assert list(found.missed()) == []
