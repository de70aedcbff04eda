"""What a server learns of a client's network from its chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.model import MiB
from hmacfs.policy import chunks, estimator
from hmacfs.policy.chunks import Algorithm, ChunkedUpload
from hmacfs.policy.estimator import Estimate, Sample

SAMPLES = st.lists(
    st.builds(
        Sample,
        received=st.integers(0, 10 * MiB),
        seconds=st.floats(0, 1000),
        round_trip_s=st.floats(1e-5, 10),
        served_s=st.none() | st.floats(0, 10),
    ),
    max_size=50,
)


def after(*samples: Sample) -> Estimate:
    estimate = estimator.STRANGER
    for sample in samples:
        estimate = estimator.updated(estimate, sample)
    return estimate


def chunk(seconds: float = 2.0, *, broken: bool = False) -> Sample:
    return Sample(received=2 * MiB, seconds=seconds, round_trip_s=0.05, served_s=None if broken else 0.01)


def test_of_a_new_client_the_first_chunk_is_about_the_fixed_size() -> None:
    upload = ChunkedUpload(size=100 * MiB, left=100 * MiB, keeps_partial=False)
    first = chunks.advise(Algorithm.PREDICTIVE, estimator.STRANGER.network, upload)
    assert first == pytest.approx(chunks.FIXED_BYTES, rel=0.1)


def test_a_few_chunks_show_the_network() -> None:
    network = after(*[chunk()] * 5).network
    assert network.rate == pytest.approx(1 * MiB, rel=0.01)
    assert network.round_trip_s == pytest.approx(0.05)
    assert network.served_s == pytest.approx(0.01)
    assert network.reliability == 1.0


def test_a_connection_lasts_as_long_as_is_usual() -> None:
    """One of fifteen chunks breaks, so about twice in a minute."""
    network = after(*([chunk()] * 14 + [chunk(broken=True)]) * 40).network
    assert network.between_interruptions_s == pytest.approx(15 * 2.06, rel=0.1)
    assert network.reliability == pytest.approx(14 / 15)


def test_the_first_interruption_outweighs_the_guess() -> None:
    assert after(chunk(broken=True)).network.between_interruptions_s < estimator.BETWEEN_INTERRUPTIONS_S / 2


def test_without_interruptions_a_connection_is_trusted_longer_and_longer() -> None:
    estimate, trusted_s = estimator.STRANGER, []
    for _ in range(100):
        estimate = estimator.updated(estimate, chunk(20.0))
        trusted_s.append(estimate.network.between_interruptions_s)
    assert trusted_s == sorted(trusted_s)
    assert trusted_s[-1] > 10 * estimator.BETWEEN_INTERRUPTIONS_S


def test_what_came_at_once_does_not_decide_alone() -> None:
    burst = Sample(received=64 * 1024, seconds=1e-6, round_trip_s=0.05, served_s=0.01)
    assert after(burst).network.rate < 2 * MiB


def test_a_chunk_of_which_nothing_came_tells_nothing_of_the_rate() -> None:
    nothing = Sample(received=0, seconds=0.0, round_trip_s=0.05, served_s=None)
    assert after(nothing).network.rate == estimator.RATE
    assert after(nothing).network.reliability == 0.0


@given(SAMPLES)
def test_whatever_was_seen_there_is_an_advice(samples: list[Sample]) -> None:
    network = after(*samples).network
    assert 0 <= network.reliability <= 1
    assert 0 < network.between_interruptions_s <= estimator.LONGEST_S
    upload = ChunkedUpload(size=1024 * MiB, left=1024 * MiB, keeps_partial=False)
    assert chunks.MIN_BYTES <= chunks.advise(Algorithm.PREDICTIVE, network, upload) <= chunks.MAX_BYTES
