"""Digests of contents: which are known, which is wanted, and what is written reads the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import digests


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, []),
        (b"", []),
        (b"sha-256=:YQ==:", [("sha256", b"a")]),
        (b"sha-512=:YQ==:;x=1, md5=:YQ==:, sha-256=:Yg==:", [("sha512", b"a"), ("sha256", b"b")]),
        (b"sha-256=:YQ==:, sha-256=:Yg==:", [("sha256", b"b")]),  # the last wins (RFC 9651 3.2)
        (b"sha-256=YQ==", []),
        (b"sha-256", []),
        (b"sha-256=(:YQ==:)", []),
        (b"sha-256=:YQ==:,", []),
        (b"SHA-256=:YQ==:", []),
    ],
)
def test_digests(value: bytes | None, want: list[tuple[str, bytes]]) -> None:
    got = digests.read(value, whole=True)
    assert [(checksum.algorithm, checksum.value) for checksum in got] == want
    assert all(checksum.whole for checksum in got)


@pytest.mark.parametrize(
    ("wanted", "want"),
    [
        (b"sha-256=10", True),
        (b"sha-256=1", True),
        (b"sha-512=10, sha-256=1;why=x", True),
        (b"unixsum=3, sha-256=0, sha-256=5", True),  # the last wins (RFC 9651 3.2)
        (b"sha-256=0", False),
        (b"sha-256=5, sha-256=0", False),
        (b"sha-256=11", False),
        (b"sha-256=-1", False),
        (b"sha-256=1.0", False),
        (b"sha-256=?1", False),
        (b"sha-256", False),
        (b"sha-256=(5)", False),
        (b"sha-256=:YQ==:", False),
        (b"sha-512=10", False),
        (b"SHA-256=10", False),
        (b"sha-256=10,", False),
        (b"sha-256=10;q", True),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_a_digest_is_told_to_who_wants_it(wanted: bytes, *, want: bool) -> None:
    assert digests.wants_sha256(wanted) is want
    assert not digests.wants_sha256(None)


@given(value=st.binary(max_size=60))
def test_any_bytes_are_digests_or_none(value: bytes) -> None:
    told = {checksum.algorithm: checksum.value for checksum in digests.read(value, whole=False)}
    assert digests.sha256(value) == told.get("sha256")
    digests.wants_sha256(value)


@given(digest=st.binary(max_size=64))
def test_what_is_written_reads_the_same(digest: bytes) -> None:
    written = digests.write(digest).encode()
    (checksum,) = digests.read(written, whole=True)
    assert (checksum.algorithm, checksum.value, checksum.whole) == ("sha256", digest, True)
    assert digests.sha256(written) == digest
