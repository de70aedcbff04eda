"""Heads of answers, fields of files, bodies of refusals."""

from __future__ import annotations

import http.client
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs._descriptor import Descriptor
from hmacfs.errors import BAD_RANGE, CATALOGUE, JWT_MISSING, NOT_FOUND, Refused
from hmacfs.http import conditional, reply
from hmacfs.model import File, Head, Reply, Span

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def request(method: str = "GET", *, http10: bool = False, **fields: bytes) -> Head:
    return Head(
        method=method,
        target=b"/",
        path="/",
        query="",
        http10=http10,
        keep_alive=True,
        fields={name.replace("_", "-").encode(): value for name, value in fields.items()},
        length=None,
        chunked=False,
        expect_continue=False,
    )


def answer(status: int = 200, *, fields: list[tuple[str, str]] | None = None, close: bool = False) -> Reply:
    return Reply(
        status=status,
        code="ok",
        fields=fields or [],
        pieces=[b"head", Span(10, 20)],
        file=File(descriptor=Descriptor(-1), size=20, mtime_ns=0, inode=1),
        close=close,
    )


def rendered(what: Reply, head: Head | None, *, keep_alive: bool = True, request_id: str = "r1") -> bytes:
    return reply.render(what, head, request_id=request_id, date=DATE, keep_alive=keep_alive)


def test_the_bytes_of_a_head() -> None:
    assert rendered(answer(206, fields=[("Content-Type", "image/png")]), request()) == (
        b"HTTP/1.1 206 Partial Content\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"Content-Type: image/png\r\n"
        b"X-Request-Id: r1\r\n"
        b"Content-Length: 14\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize("status", [201, 206, 400, 404, 405, 412, 413, 416, 431, 500, 507])
def test_head_has_the_length_of_get(status: int) -> None:
    assert rendered(answer(status), request("HEAD")) == rendered(answer(status), request())


@pytest.mark.parametrize("status", [100, 204, 304])
def test_an_answer_without_content_has_no_length(status: int) -> None:
    assert b"content-length" not in rendered(answer(status), request()).lower()
    assert not reply.sends_body(answer(status), request())


def test_who_gets_a_body() -> None:
    assert reply.sends_body(answer(), request())
    assert reply.sends_body(answer(), None)
    assert not reply.sends_body(answer(), request("HEAD"))


@pytest.mark.parametrize(
    ("http10", "keep_alive", "close", "want"),
    [
        (False, True, False, None),
        (False, False, False, b"close"),
        (False, True, True, b"close"),
        (True, True, False, b"keep-alive"),
        (True, False, False, b"close"),
        (True, True, True, b"close"),
    ],
)
def test_the_head_says_what_becomes_of_the_connection(
    *, http10: bool, keep_alive: bool, close: bool, want: bytes | None
) -> None:
    head = rendered(answer(close=close), request(http10=http10), keep_alive=keep_alive)
    found = re.search(rb"\r\nConnection: (.*)\r\n", head)
    assert (found and found[1]) == want
    assert head.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "bad", ["a\r\nX: y", "a\nb", "a\rb", "\x00", "a\tb", "\x7f", "\x85", "\u2028", "\u00e9"]
)
@pytest.mark.parametrize("where", ["value", "name", "request id"])
def test_a_field_that_could_split_the_answer_is_an_error(bad: str, where: str) -> None:
    fields = {"value": [("X-A", bad)], "name": [(bad, "x")]}.get(where, [])
    with pytest.raises(ValueError, match="control"):
        rendered(answer(fields=fields), None, request_id=bad if where == "request id" else "r")


@given(
    fields=st.lists(st.tuples(st.sampled_from(["A", "B-C"]), st.text(max_size=20))),
    request_id=st.text(max_size=10),
)
def test_what_is_rendered_has_as_many_lines_as_fields(fields: list[tuple[str, str]], request_id: str) -> None:
    try:
        head = rendered(answer(fields=fields), request(), request_id=request_id)
    except ValueError:
        return
    lines = head.split(b"\r\n")
    assert len(lines) == 1 + 1 + len(fields) + 2 + 2
    assert lines[-2:] == [b"", b""]
    assert not any(byte < 0x20 or byte > 0x7E for line in lines for byte in line)


def test_every_refusal_renders_and_is_read_by_a_client() -> None:
    for kind in CATALOGUE:
        what = reply.refusal(Refused(kind, "what\r\nexactly \u00e9 \ud800"), None, "r1")
        head = rendered(what, None)
        status, _, rest = head.partition(b"\r\n")
        assert status.startswith(b"HTTP/1.1 %d " % kind.status)
        fields = http.client.parse_headers(io.BytesIO(rest))
        assert fields["Content-Length"] == str(what.length)
        assert fields["X-Request-Id"] == "r1"
        assert fields["X-Content-Type-Options"] == "nosniff"
        assert fields["Cache-Control"] == "no-store"
        assert (fields["Connection"] == "close") is kind.close
        assert what.code == kind.code


def body(what: Reply) -> bytes:
    (piece,) = what.pieces
    assert isinstance(piece, bytes)
    return piece


def test_a_refusal_is_a_problem() -> None:
    what = reply.refusal(Refused(NOT_FOUND, "gone"), request(accept=b"*/*"), "r1")
    assert dict(what.fields)["Content-Type"] == "application/problem+json"
    assert json.loads(body(what)) == {
        "type": "urn:hmacfs:problem:not_found",
        "title": NOT_FOUND.words,
        "status": 404,
        "detail": "gone",
        "code": "not_found",
        "request_id": "r1",
    }


def test_a_refusal_in_plain_text() -> None:
    what = reply.refusal(Refused(NOT_FOUND, "\x1b[31m\ud800"), request(accept=b"text/plain"), "r1")
    assert dict(what.fields)["Content-Type"] == "text/plain; charset=utf-8"
    assert body(what) == b"there is no such file: \\x1b[31m\\ud800\nrequest r1\n"


def test_a_refusal_carries_the_fields_that_its_status_demands() -> None:
    assert ("WWW-Authenticate", "Bearer") in reply.refusal(Refused(JWT_MISSING), None, "r").fields
    unsatisfiable = Refused(BAD_RANGE, fields=(("Content-Range", "bytes */5"),))
    assert ("Content-Range", "bytes */5") in reply.refusal(unsatisfiable, None, "r").fields
    assert "detail" not in json.loads(body(reply.refusal(unsatisfiable, None, "r")))


@pytest.mark.parametrize(
    ("accept", "want"),
    [
        (b"text/plain", True),
        (b"TEXT/PLAIN; charset=utf-8", True),
        (b"text/*", True),
        (b"text/plain, */*;q=0.1", True),
        (b"application/json;q=0.5, text/plain;q=0.6", True),
        (b"application/*;q=0.2, text/plain;q=0.3", True),
        (b"application/problem+json;q=0, application/json;q=0, */*", True),
        (b"*/*", False),
        (b"", False),
        (b"application/json, text/plain, */*", False),  # axios
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),  # a browser
        (b"application/problem+json, text/plain;q=0.9", False),
        (b"application/json", False),
        (b"image/png", False),
        (b"text/plain;q=0", False),
        (b"text/plain;q=x", False),
        (b"text/plain;q=nan", False),
        (b"\xff;;,=", False),
    ],
)
def test_plain_text_only_for_who_prefers_it(accept: bytes, want: object) -> None:
    what = reply.refusal(Refused(NOT_FOUND), request(accept=accept), "r")
    assert dict(what.fields)["Content-Type"].startswith("text/plain") is want


@given(accept=st.binary(max_size=100) | st.text("aplictonjsex/*;q=0.1, ", max_size=100).map(str.encode))
def test_no_accept_field_breaks_a_refusal(accept: bytes) -> None:
    assert reply.refusal(Refused(NOT_FOUND), request(accept=accept), "r").status == 404


def file_fields(content_type: str, expires: float | None = None) -> dict[str, str]:
    tag, date = conditional.etag(1, 2), conditional.last_modified(2)
    validators = reply.unmodified_fields(tag, expires=expires, now=1000.0)
    found = reply.file_fields("a.x", content_type, date, validators)
    assert found[0] == ("Content-Type", content_type)
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize(
    ("content_type", "sandbox"),
    [
        ("image/png", "sandbox"),
        ("text/plain", "sandbox"),
        # the player fetches its own URL with CORS, which a null origin may not be allowed
        ("video/mp4", "sandbox allow-same-origin"),
        ("Audio/Ogg; codecs=opus", "sandbox allow-same-origin"),
    ],
)
def test_a_file_that_is_shown_may_load_itself_and_nothing_runs(content_type: str, sandbox: str) -> None:
    fields = file_fields(content_type)
    policy = fields["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", sandbox, "media-src 'self'"} <= set(policy)
    assert not any("script" in directive for directive in policy)
    assert fields["Content-Disposition"].startswith("inline; ")


def test_a_file_that_is_downloaded_may_load_nothing() -> None:
    fields = file_fields("text/html")
    assert fields["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    assert fields["Content-Disposition"].startswith("attachment; ")


@pytest.mark.parametrize("content_type", ["video/mp4", "text/html"])
def test_fields_of_every_file(content_type: str) -> None:
    fields = file_fields(content_type)
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert fields["Referrer-Policy"] == "no-referrer"
    assert fields["Accept-Ranges"] == "bytes"
    assert fields["ETag"] == conditional.etag(1, 2)


@pytest.mark.parametrize(
    ("expires", "want"),
    [
        (None, "public, max-age=31536000, immutable"),
        (1e12, "public, max-age=31536000, immutable"),
        (1060.9, "public, max-age=60, immutable"),
        (1000.5, "no-store"),
        (1.0, "no-store"),
    ],
)
def test_no_cache_outlives_the_file(expires: float | None, want: str) -> None:
    assert file_fields("image/png", expires)["Cache-Control"] == want
