"""What an answer's fields say; what makes no sense says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.client import response as answers
from hmacfs.client.problem import Failed, TransientError
from hmacfs.client.response import Response
from hmacfs.http import digests

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_800_000_000.0
AHEAD = "Fri, 15 Jan 2027 08:01:00 GMT"  # a minute after NOW
SHA256 = bytes(range(32))


def having(fields: Mapping[str, str], status: int = 200, body: bytes = b"") -> Response:
    return Response(
        status=status, url="https://x.example/a/b?c", fields=httpx.Headers(dict(fields)), body=body
    )


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("max-size=5, max-append-size=3", {"max-size": 5, "max-append-size": 3}),
        ("max-size=5,max-age=abc,x", {"max-size": 5}),
        ("", {}),
        ("min-size=0;x=1", {"min-size": 0}),
        ("max-size=-1, max-append-size=?1, max-age=1.5", {}),
        ("max-size=5, max-size=9999999999999999", None),  # malformed, so the field is not there
        ("max-size=5,", None),
        ("Max-Size=5", None),
    ],
)
def test_limits(text: str, limits: dict[str, int] | None) -> None:
    assert having({"Upload-Limit": text}).limits == limits


def test_no_limits_are_not_empty_ones() -> None:
    assert having({}).limits is None


@pytest.mark.parametrize(
    ("text", "offset"), [("0", 0), (" 7 ", 7), ("5;a", 5), ("-1", None), ("1.5", None), ("²", None)]
)
def test_offset(text: str, offset: int | None) -> None:
    assert Response(status=200, url="", fields={"Upload-Offset": text}).offset == offset


@pytest.mark.parametrize(
    ("text", "complete"), [("?1", True), (" ?0 ", False), ("?1;a", True), ("1", None), ("\u20ac1", None)]
)
def test_complete(text: str, *, complete: bool | None) -> None:
    assert Response(status=200, url="", fields={"Upload-Complete": text}).complete is complete


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (digests.write(SHA256), SHA256),
        (f"sha-512=:AA==:, {digests.write(SHA256)}", SHA256),
        (f"unixsum=30637, {digests.write(SHA256)};a=1", SHA256),
        (f"{digests.write(SHA256)},", None),
        ("sha-256=:A:", None),
        ("sha-256=AAAA", None),
        ("", None),
    ],
)
def test_digest(text: str, digest: bytes | None) -> None:
    assert having({"Repr-Digest": text}).sha256 == digest


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("/d", "https://x.example/d"),
        ("d?e", "https://x.example/a/d?e"),
        ("https://y.example/", "https://y.example/"),
        ("", None),
        ("/\x1b[2J", None),
        ("/\xe9", None),
        ("http://[", None),
        ("http://xn--/", None),
        ("http://xn--0/", None),
        ("http://[::gg]/", None),
        ("http://a..b/", "http://a..b/"),
    ],
)
def test_a_link_is_absolute_and_plain(text: str, link: str | None) -> None:
    assert (
        Response(status=201, url="https://x.example/a/b?c", fields={"Location": text}).link("Location")
        == link
    )


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        (AHEAD, 60.0),
        ("Fri, 15 Jan 2010 08:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("-5", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, wait_s: float) -> None:
    found = answers.trouble(having({"Retry-After": text}, 503), now=NOW)
    assert isinstance(found, TransientError)
    assert found.problem.retry_after_s == wait_s


@given(
    status=st.integers(300, 599),
    kind=st.sampled_from(["application/problem+json", "text/html"]),
    body=st.binary(max_size=200)
    | st.sampled_from([b"[]", b'{"code": 5}', b'{"detail": "\\u001b[2J"}', b"[" * 9000]),
    retry=st.text(max_size=30),
    request_id=st.text(max_size=20),
)
def test_whatever_a_server_answers_is_one_plain_line(
    status: int, kind: str, body: bytes, retry: str, request_id: str
) -> None:
    fields = {"Content-Type": kind, "Retry-After": retry, "X-Request-Id": request_id, "Location": retry}
    found = answers.trouble(Response(status=status, url="", fields=fields, body=body), now=NOW)
    assert isinstance(found, Failed | TransientError)
    assert found.problem.words.isprintable()
    assert len(found.problem.words) < 3000
    assert str(status) in found.problem.words
