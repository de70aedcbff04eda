"""What is known of a client after some transfers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import KiB, MiB
from hmacfs.policy import chunks, profiles
from hmacfs.policy.chunks import Algorithm, ChunkedUpload
from hmacfs.policy.estimator import TransferTotals
from hmacfs.policy.profiles import UNKNOWN, ChunkRules, Observations, Profile
from hmacfs.policy.quality import LineThresholds, Quality

NOW = 1_700_000_000.0
DAY_S = 86_400.0
SECONDS = st.just(0.0) | st.floats(1e-9, 1000)  # as clocks count
SIGHTS = st.builds(
    Observations,
    uploads=st.builds(
        TransferTotals,
        received=st.integers(0, 100 * MiB),
        seconds=SECONDS,
        served_s=st.floats(0, 100),
        started=st.integers(1, 50),
        completed=st.just(1),
    ),
    taken=st.integers(0, 100 * MiB),
    taking_s=SECONDS,
    round_trips_s=st.floats(0.0001, 10),
    round_trips=st.integers(0, 20),
    dialects=st.dictionaries(st.sampled_from(["v", "v2", "jwt"]), st.integers(1, 9)),
)


def after(*sights: Observations, now: float = NOW, profile: Profile = UNKNOWN) -> Profile:
    for observed in sights:
        profile = profiles.updated(profile, observed, LineThresholds(), now)
    return profile


def upload(rate: float, *, seconds: float = 4.0, broken: int = 0, dialect: str = "v2") -> Observations:
    seen = TransferTotals(
        received=int(rate * seconds), seconds=seconds, served_s=0.01, started=1 + broken, completed=1
    )
    return Observations(uploads=seen, round_trips_s=0.02, round_trips=1, dialects={dialect: 1 + broken})


def download(rate: float, seconds: float = 4.0) -> Observations:
    return Observations(taken=int(rate * seconds), taking_s=seconds, round_trips_s=0.02, round_trips=1)


def test_nothing_is_known_of_a_stranger() -> None:
    assert UNKNOWN.rate is None
    assert UNKNOWN.round_trip_s is None
    assert UNKNOWN.quality is None
    assert UNKNOWN.reliability == 1.0


def test_a_few_transfers_show_the_line() -> None:
    profile = after(*[upload(1 * MiB)] * 5)
    assert profile.rate == pytest.approx(1 * MiB, rel=0.05)
    assert profile.round_trip_s == pytest.approx(0.02)
    assert profile.seen == NOW
    assert after(download(5 * MiB)).rate == pytest.approx(5 * MiB)
    assert after(download(5 * MiB)).quality is Quality.GOOD
    assert after(download(50 * KiB)).quality is Quality.POOR


def test_the_quicker_direction_is_the_lines() -> None:
    assert after(download(20 * MiB), upload(1 * MiB)).quality is Quality.EXCELLENT


def test_a_burst_is_no_rate() -> None:
    assert after(download(1000 * MiB, seconds=0.001)).rate is None


def test_reliability_is_what_came_of_uploads() -> None:
    profile = after(*[upload(1 * MiB, broken=1)] * 200)
    assert profile.reliability == 0.5
    assert profile.interruptions_per_byte == pytest.approx(1 / (4 * MiB), rel=0.3)
    assert after(upload(1 * MiB)).interruptions_per_byte < profile.interruptions_per_byte / 3


def test_the_dialect_of_most_uploads_is_remembered() -> None:
    spoken = [upload(1, dialect=name) for name in ("v", "jwt", "v2", "v2", "jwt", "v2", "v2")]
    assert after(*spoken).dialect == "v2"


def test_what_was_known_long_ago_gives_way_at_once() -> None:
    old = after(*[download(20 * MiB)] * 10)
    assert after(download(100 * KiB, 2), profile=old).rate > 10 * MiB  # type: ignore[operator] # a number
    later = after(download(100 * KiB, 2), profile=old, now=NOW + DAY_S)
    assert later.rate == pytest.approx(100 * KiB, rel=0.01)


def test_chunks_follow_what_is_known() -> None:
    how = ChunkRules(algorithm=Algorithm.PREDICTIVE, bounds=chunks.ChunkBounds())
    file = ChunkedUpload(size=100 * MiB, left=100 * MiB, keeps_partial=False)
    quick, broken = after(*[upload(20 * MiB)] * 5), after(*[upload(1 * MiB, broken=3)] * 20)
    assert profiles.advise(quick, file, how) == 10 * MiB
    assert 256 * KiB <= profiles.advise(broken, file, how) < profiles.advise(UNKNOWN, file, how)
    slow = profiles.suspected(UNKNOWN, 20 * KiB, 1.0)
    assert profiles.advise(slow, file, how) < profiles.advise(UNKNOWN, file, how)
    assert profiles.suspected(quick, 20 * KiB, 1.0) == quick  # what was measured counts more


@given(st.lists(SIGHTS, max_size=10), st.floats(0, 10 * DAY_S))
def test_whatever_is_seen_a_profile_makes_sense(sights: list[Observations], pause_s: float) -> None:
    profile = UNKNOWN
    for number, observed in enumerate(sights):
        profile = profiles.updated(profile, observed, LineThresholds(), NOW + number * pause_s)
    for one in (profile.uploads.rate, profile.uploads.interruptions, profile.taking):
        assert one.value >= 0
        assert one.evidence_s >= 0
    assert 0 <= profile.reliability <= 1
    assert profile.interruptions_per_byte >= 0
    file = ChunkedUpload(size=MiB, left=MiB, keeps_partial=False)
    for algorithm in Algorithm:
        assert (
            0
            < profiles.advise(profile, file, ChunkRules(algorithm=algorithm, bounds=chunks.ChunkBounds()))
            <= MiB
        )
    assert profiles.load(profiles.dump(profile)) == profile


@given(SIGHTS, st.integers(0, 3))
def test_two_workers_that_saw_half_each_know_what_one_would(observed: Observations, times: int) -> None:
    """Since each adds to what is shared, nothing is counted twice."""
    profile = after(*[observed] * times)
    one = after(observed, observed, profile=profile)
    assert one.uploads.started == profile.uploads.started + 2 * observed.uploads.started


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[1]",
        "null",
        "[" * 50,
        "\0",
        profiles.dump(UNKNOWN).replace('""', "7"),
        profiles.dump(UNKNOWN).replace("null", "9"),
        profiles.dump(UNKNOWN).replace("0.0", "NaN", 1),
        profiles.dump(UNKNOWN).replace("0.0", "-1", 1),
        profiles.dump(UNKNOWN).replace("0.0", '"x"', 1),
    ],
)
def test_what_was_not_dumped_is_not_loaded(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        profiles.load(text)


def test_fading_keeps_values() -> None:
    profile = after(*[upload(1 * MiB), download(3 * MiB)] * 3)
    faded = profiles.faded(profile, NOW + DAY_S)
    assert faded.taking.value == profile.taking.value
    assert faded.taking.evidence_s < profile.taking.evidence_s / 1000
    assert faded.uploads.interruptions.evidence_s > 0
    assert dataclasses.replace(faded, uploads=profile.uploads, taking=profile.taking) == profile
