"""Answers of open files: which status, which bytes, and that a file's answer is always safe to show."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors
from hmacfs._descriptor import Descriptor
from hmacfs.app import files
from hmacfs.app.routing import Resource, Route
from hmacfs.errors import Refused
from hmacfs.http import conditional
from hmacfs.http import reply as replies
from hmacfs.model import Endpoint, File, Head, Secret, Slot, Span
from hmacfs.store import FileMetadata

if TYPE_CHECKING:
    from hmacfs.model import Reply

CONTENT = b"0123456789" * 100
MTIME_NS = 784_111_777_250_000_000
FILE = File(Descriptor(9, owned=False), len(CONTENT), MTIME_NS, 1)
EMPTY = File(Descriptor(9, owned=False), 0, MTIME_NS, 1)
ETAG = conditional.etag(FILE.size, MTIME_NS).encode()
LATER = b"Sun, 06 Nov 1994 08:49:38 GMT"
BEFORE = b"Sun, 06 Nov 1994 08:49:36 GMT"
NOW = 1_000_000_000.0
ENDPOINT = Endpoint(prefix="/upload/", directory="upload", protocols=("v",), secrets=(Secret(b"k"),))


def request(method: str = "GET", /, **fields: bytes) -> Head:
    return Head(
        method=method,
        target=b"/",
        path="/",
        query="",
        http10=False,
        keep_alive=True,
        fields={name.replace("_", "-").encode(): value for name, value in fields.items()},
        length=None,
        chunked=False,
        expect_continue=False,
    )


def ask(  # noqa: PLR0913 - what an answer depends on
    head: Head,
    file: File = FILE,
    *,
    name: str = "a.png",
    content_type: str | None = None,
    expires: float | None = None,
    attached: bool = False,
    ranges: bool = True,
    sha256: bytes | None = None,
) -> Reply:
    known = FileMetadata(content_type=content_type, expires=expires, created=NOW, sha256=sha256)
    route = Route(
        resource=Resource.DOWNLOAD if attached else Resource.FILE,
        endpoint=ENDPOINT,
        slot=Slot(endpoint=ENDPOINT, rel=f"a/{name}", key=f"upload/a/{name}"),
    )
    return files.reply(head, files.describe(file, known, route, now=NOW, ranges=ranges))


def body(reply: Reply) -> bytes:
    return b"".join(CONTENT[p.start : p.stop] if isinstance(p, Span) else p for p in reply.pieces)


@pytest.mark.parametrize(
    ("head", "status", "content"),
    [
        (request(), 200, CONTENT),
        (request(range=b"bytes=0-9"), 206, CONTENT[:10]),
        (request(range=b"bytes=990-"), 206, CONTENT[990:]),
        (request(range=b"bytes=-1"), 206, b"9"),
        (request(range=b"bytes=5-4"), 200, CONTENT),  # malformed: ignored
        (request(range=b"lines=1-2"), 200, CONTENT),
        (request(range=b"bytes=0-9", if_range=ETAG), 206, CONTENT[:10]),
        (request(range=b"bytes=0-9", if_range=b'"other"'), 200, CONTENT),
        (request(range=b"bytes=0-9", if_range=b"W/" + ETAG), 200, CONTENT),
        (request("HEAD", range=b"bytes=0-9"), 200, CONTENT),  # RFC 9110 14.2: with GET only
        (request(if_none_match=b'"other"'), 200, CONTENT),
        (request(if_match=ETAG), 200, CONTENT),
        (request(if_modified_since=BEFORE), 200, CONTENT),
        (request(if_unmodified_since=LATER), 200, CONTENT),
    ],
)
def test_what_is_sent(head: Head, status: int, content: bytes) -> None:
    reply = ask(head)
    assert (reply.status, reply.file, body(reply)) == (status, FILE, content)
    assert reply.length == len(content)
    assert ("Content-Range" in dict(reply.fields)) == (status == 206)


@pytest.mark.parametrize(
    "head",
    [request(if_none_match=ETAG), request("HEAD", if_none_match=b"*"), request(if_modified_since=LATER)],
)
def test_what_the_client_has_is_not_sent_again(head: Head) -> None:
    reply = ask(head)
    assert (reply.status, reply.pieces) == (304, [])
    assert {name for name, _ in reply.fields} == {"ETag", "Cache-Control"}


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        (request(if_match=b'"other"'), errors.PRECONDITION_FAILED),
        (request(if_unmodified_since=BEFORE), errors.PRECONDITION_FAILED),
        (request(range=b"bytes=1000-"), errors.BAD_RANGE),
        (request(range=b"bytes=-0"), errors.BAD_RANGE),
        (request(range=b"bytes=1000-", if_none_match=b'"other"'), errors.BAD_RANGE),
    ],
)
def test_what_is_refused(head: Head, refusal: errors.Refusal) -> None:
    with pytest.raises(Refused) as caught:
        ask(head)
    assert caught.value.refusal is refusal


def test_several_ranges_come_as_parts() -> None:
    reply = ask(request(range=b"bytes=0-1,500-501,-2"), content_type="image/png")
    kind, _, boundary = dict(reply.fields)["Content-Type"].partition("; boundary=")
    assert (reply.status, kind) == (206, "multipart/byteranges")
    assert [piece for piece in reply.pieces if isinstance(piece, Span)] == [
        Span(0, 2),
        Span(500, 502),
        Span(998, 1000),
    ]
    parts = body(reply).split(f"--{boundary}".encode())
    assert len(parts) == 5
    assert all(b"Content-Type: image/png" in part for part in parts[1:4])
    assert "Content-Range" not in dict(reply.fields)


@pytest.mark.parametrize("head", [request(), request(range=b"bytes=-5")])
def test_an_empty_file_has_no_pieces(head: Head) -> None:
    reply = ask(head, EMPTY)
    assert (reply.status, reply.pieces, reply.length) == (200, [], 0)


@pytest.mark.parametrize(
    ("name", "content_type", "attached", "served", "disposition"),
    [
        ("a.png", None, False, "image/png", "inline"),
        ("a.png", "image/jpeg", False, "image/jpeg", "inline"),
        ("a.png", "image/png", True, "application/octet-stream", "attachment"),
        ("a.html", None, False, "text/html", "attachment"),
        ("a.png", "text/html", False, "text/html", "attachment"),
        ("a.svg", None, False, "image/svg+xml", "attachment"),
        ("a", None, False, "application/octet-stream", "attachment"),
    ],
)
def test_type_and_disposition(
    *, name: str, content_type: str | None, attached: bool, served: str, disposition: str
) -> None:
    fields = dict(ask(request(), name=name, content_type=content_type, attached=attached).fields)
    assert fields["Content-Type"].partition(";")[0] == served
    assert fields["Content-Disposition"].partition(";")[0] == disposition


@pytest.mark.parametrize(
    ("expires", "cached"),
    [
        (None, "public, max-age=31536000, immutable"),
        (NOW + 60, "public, max-age=60, immutable"),
        (NOW, "no-store"),
    ],
)
@pytest.mark.parametrize("head", [request(), request(if_none_match=ETAG)])
def test_no_cache_outlives_the_file(head: Head, expires: float | None, cached: str) -> None:
    assert dict(ask(head, expires=expires).fields)["Cache-Control"] == cached


@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60),
    content_type=st.none() | st.text(max_size=60),
    header=st.none() | st.from_regex(rb"bytes=[-0-9, ]{0,40}", fullmatch=True),
    attached=st.booleans(),
)
def test_every_answer_can_be_sent_and_is_safe(
    name: str, content_type: str | None, header: bytes | None, *, attached: bool
) -> None:
    head = request() if header is None else request(range=header)
    try:
        reply = ask(head, name=name, content_type=content_type, attached=attached)
    except Refused as refused:
        assert refused.refusal is errors.BAD_RANGE  # noqa: PT017 - one of two fine outcomes
        return
    raw = replies.render(reply, head, request_id=os.urandom(4).hex(), date=b"now", keep_alive=True)
    top = raw.decode("ascii").split("\r\n")
    assert "X-Content-Type-Options: nosniff" in top
    assert any(line.startswith("Content-Security-Policy: default-src 'none'") for line in top)
    assert len(body(reply)) == reply.length <= len(CONTENT) + 16 * 300


@given(st.from_regex(rb"bytes=([0-9]{0,4}-[0-9]{0,4}(, ?)?){1,20}", fullmatch=True))
def test_ranges_never_send_a_byte_twice(header: bytes) -> None:
    try:
        reply = ask(request(range=header))
    except Refused:
        return
    spans = sorted(piece for piece in reply.pieces if isinstance(piece, Span))
    assert all(left.stop <= right.start for left, right in itertools.pairwise(spans))


def test_without_ranges_a_file_is_served_whole() -> None:
    reply = ask(request(range=b"bytes=0-9"), ranges=False)
    assert (reply.status, body(reply)) == (200, CONTENT)
    assert dict(reply.fields)["Accept-Ranges"] == "none"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(want_repr_digest=b"sha-256=1"), 200),
        (request("HEAD", want_repr_digest=b"sha-256=1"), 200),
        (request(want_repr_digest=b"sha-256=1", range=b"bytes=0-9"), 206),
        (request(want_repr_digest=b"sha-256=1", range=b"bytes=0-1,500-501"), 206),
    ],
)
def test_the_digest_of_the_whole_goes_to_who_wants_it(head: Head, status: int) -> None:
    reply = ask(head, sha256=b"a")
    assert (reply.status, dict(reply.fields)["Repr-Digest"]) == (status, "sha-256=:YQ==:")
    assert "Repr-Digest" not in dict(ask(head).fields)


@pytest.mark.parametrize(
    "head",
    [
        request(),
        request(range=b"bytes=0-9"),
        request(want_repr_digest=b"sha-256=0"),
        request(want_repr_digest=b"sha-256=1", if_none_match=ETAG),
    ],
)
def test_nobody_else_is_told_the_digest(head: Head) -> None:
    assert "Repr-Digest" not in dict(ask(head, sha256=b"a").fields)
