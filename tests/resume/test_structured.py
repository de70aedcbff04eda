"""Structured fields: what is malformed is not there, and what is written reads the same."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.resume import UploadLimits, structured


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, None),
        (b"?1", True),
        (b"?0", False),
        (b" ?1;why=x ", True),
        (b"1", None),
        (b"true", None),
        (b"?2", None),
        (b"", None),
        (b"?1, ?1", None),
    ],
)
def test_booleans(value: bytes | None, *, want: bool | None) -> None:
    assert structured.boolean(value) is want


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, None),
        (b"0", 0),
        (b"007", 7),
        (b"-0", 0),
        (b"5;a", 5),
        (b"999999999999999", 999_999_999_999_999),
        (b"1000000000000000", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.0", None),
        (b"1 1", None),
        (b"?1", None),
        (b'"1"', None),
        (b"\xff", None),
    ],
)
def test_integers(value: bytes | None, want: int | None) -> None:
    assert structured.integer(value) == want


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
    got = structured.digests(value, whole=True)
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
    assert structured.wants_sha256(wanted) is want
    assert not structured.wants_sha256(None)
    assert structured.repr_digest(b"a") == [("Repr-Digest", "sha-256=:YQ==:")]
    assert structured.repr_digest(None) == []


@given(value=st.binary(max_size=60))
def test_any_bytes_are_a_value_or_none(value: bytes) -> None:
    structured.boolean(value)
    assert (structured.integer(value) or 0) >= 0
    structured.digests(value, whole=False)
    structured.wants_sha256(value)


@given(number=st.integers(0, 999_999_999_999_999), yes=st.booleans(), digest=st.binary(max_size=64))
def test_what_is_written_reads_the_same(number: int, digest: bytes, *, yes: bool) -> None:
    assert structured.integer(str(number).encode()) == number
    name, value = structured.complete(yes)
    assert (name, structured.boolean(value.encode())) == ("Upload-Complete", yes)
    (checksum,) = structured.digests(http_sf.ser({"sha-256": digest}).encode(), whole=True)
    assert checksum.value == digest


@given(most=st.integers(0, 2**63 - 1), chunk=st.integers(1, 2**63 - 1), lives_s=st.floats(0, 1e18))
def test_a_limit_is_a_dictionary_of_integers(most: int, chunk: int, lives_s: float) -> None:
    name, value = structured.limit(UploadLimits(most=most, chunk=chunk, lives_s=lives_s), 8)
    assert name == "Upload-Limit"
    members = http_sf.parse(value.encode(), tltype="dictionary")
    assert isinstance(members, dict)
    assert list(members) == ["max-size", "max-append-size", "max-age"]
