"""Whom our own proxies name as a client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.connection import ClientResolver
from hmacfs.policy.trusted_proxies import Trusted

OURS = Trusted(("10.0.0.0/8", "fd00::/8"))
FIELD = st.none() | st.binary(max_size=100) | st.just(b"9" * 1000)


@pytest.mark.parametrize(
    ("forwarded_for", "forwarded", "want"),
    [
        (None, None, b""),
        (b"203.0.113.7", None, b"203.0.113.7"),
        (b"198.51.100.1, 203.0.113.7", None, b"203.0.113.7"),  # the first is what the client claims
        (b"203.0.113.7, 10.0.0.1, 10.2.0.1", None, b"203.0.113.7"),
        (b"10.0.0.1, 10.0.0.2", None, b"10.0.0.1"),  # the client is one of us
        (b"nobody, 10.0.0.2", None, b""),
        (b"unknown", None, b""),
        (None, b'for="[2001:db8::1]:99";proto=https, for="[fd00::1]"', b"[2001:db8::1]:99"),
        (b"203.0.113.7", b"for=203.0.113.7", b"203.0.113.7"),
        (b"203.0.113.7", b'for="203.0.113.7:99"', b"203.0.113.7:99"),
        (b"203.0.113.7", b"for=198.51.100.1", b""),  # one is the client's own word
        (b"203.0.113.7", b"for=unknown", b""),
    ],
)
def test_who_is_named(forwarded_for: bytes | None, forwarded: bytes | None, want: bytes) -> None:
    vouching = ClientResolver(OURS)
    assert vouching(forwarded_for, forwarded) == want
    assert vouching(forwarded_for, forwarded) == want  # as it is remembered


@given(FIELD, FIELD)
def test_a_name_is_fit_for_the_log(forwarded_for: bytes | None, forwarded: bytes | None) -> None:
    named = ClientResolver(OURS)(forwarded_for, forwarded)
    assert len(named) <= len(b"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
    assert set(named) <= set(b"0123456789abcdef:.[]")
