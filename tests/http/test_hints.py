"""What a request lets suspect of its client's line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import hints
from hmacfs.http.hints import Hints


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, Hints()),
        ({b"save-data": b"on"}, Hints(frugal=True)),
        ({b"save-data": b"off"}, Hints()),
        ({b"downlink": b"10"}, Hints(rate=1_250_000)),
        ({b"downlink": b"0.4", b"rtt": b"450"}, Hints(rate=50_000, round_trip_s=0.45)),
        ({b"downlink": b"0", b"rtt": b"0"}, Hints()),
        ({b"ect": b"2g"}, Hints(rate=8750, round_trip_s=1.4)),
        ({b"ect": b"3G", b"rtt": b"100"}, Hints(rate=87_500, round_trip_s=0.1)),
        ({b"ect": b"4g"}, Hints()),  # "or better", which says nothing
        ({b"ect": b"5g"}, Hints()),
        ({b"downlink": b"-1", b"rtt": b"1e3"}, Hints()),
        ({b"downlink": b"nan", b"rtt": b"inf"}, Hints()),
        ({b"downlink": b"9" * 400}, Hints()),
        ({b"user-agent": b"Conversations 2.16.2"}, Hints(frugal=True)),
        ({b"user-agent": b"Mozilla/5.0 (Linux; Android 10; K) Mobile"}, Hints(frugal=True)),
        ({b"user-agent": b"curl/8.5.0"}, Hints()),
    ],
)
def test_what_is_suspected(fields: dict[bytes, bytes], want: Hints) -> None:
    assert hints.read(fields) == want


@given(
    st.dictionaries(
        st.sampled_from([b"save-data", b"downlink", b"rtt", b"ect", b"user-agent"]), st.binary(max_size=30)
    )
)
def test_whatever_is_said_a_guess_is_a_number_above_0(fields: dict[bytes, bytes]) -> None:
    found = hints.read(fields)
    assert found.rate is None or found.rate > 0
    assert found.round_trip_s is None or found.round_trip_s > 0
