"""The Go server's chunked uploads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from asking import head
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors
from hmacfs.errors import Refusal, Refused
from hmacfs.model import Span
from hmacfs.resume import Action, UploadLimits, UploadProtocol, UploadRequest, UploadState, chunked

if TYPE_CHECKING:
    from hmacfs.model import Reply

ID = "0123456789abcdef0123456789abcdef"
LIMITS = UploadLimits(most=1000, chunk=4, lives_s=60.0)
CHUNK = UploadRequest(protocol=UploadProtocol.CHUNKED, act=Action.APPEND, session=ID, chunk=1)


def state(offset: int = 6, *, complete: bool = False) -> UploadState:
    return UploadState(
        offset=offset,
        length=10,
        complete=complete,
        expires=0.0,
        name="a.png",
        chunks=2,
        began=784111776.5,
        touched=784111777.0,
    )


def said(reply: Reply) -> dict[str, Any]:
    (body,) = reply.pieces
    assert isinstance(body, bytes)
    assert dict(reply.fields)["Content-Type"] == "application/json"
    told: dict[str, Any] = json.loads(body)
    return told


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_creation(method: str) -> None:
    asked = chunked.read(head(f"{method} /chunked-upload", "X-Filename: a b.png", "X-Total-Size: 10"))
    assert (asked.act, asked.name, asked.length) == (Action.CREATE, "a b.png", 10)
    reply = chunked.created(asked, state(0), ID, LIMITS)
    assert reply.status == 201
    assert said(reply) == {"session_id": ID, "chunk_size": 4, "total_chunks": 3}


def test_a_chunk() -> None:
    asked = chunked.read(
        head("PUT /chunked-upload", f"X-Upload-Session-ID: {ID}", "X-Chunk-Number: 2", body=4)
    )
    assert (asked.act, asked.session, asked.chunk) == (Action.APPEND, ID, 2)
    reply = chunked.appended(asked, state(), LIMITS)
    assert reply.status == 200
    assert said(reply) == {
        "success": True,
        "chunk": 2,
        "uploaded_bytes": 6,
        "total_size": 10,
        "progress": 0.6,
        "completed": False,
    }


def test_the_last_chunk_and_one_that_had_come_before() -> None:
    reply = chunked.appended(CHUNK, state(10, complete=True), LIMITS)
    assert reply.status == 200
    assert said(reply) == {
        "success": True,
        "filename": "a.png",
        "size": 10,
        "duration": "0.500000s",
        "completed": True,
    }
    assert said(chunked.repeated(CHUNK)) == {"message": "Chunk already uploaded", "chunk": 1}
    assert chunked.finished_fields(CHUNK, state(10, complete=True)) == []


def test_the_status() -> None:
    asked = chunked.read(head(f"GET /upload-status?a=b&session_id={ID}"))
    assert (asked.act, asked.session) == (Action.STATUS, ID)
    assert said(chunked.told(asked, state(), LIMITS)) == {
        "session_id": ID,
        "filename": "a.png",
        "total_size": 10,
        "uploaded_bytes": 6,
        "progress": 0.6,
        "completed": False,
        "last_activity": "1994-11-06T08:49:37+00:00",
        "chunks": 2,
    }


def test_an_empty_file_is_all_there() -> None:
    empty = UploadState(offset=0, length=0, complete=False, expires=0.0)
    assert said(chunked.told(CHUNK, empty, LIMITS))["progress"] == 1.0
    assert said(chunked.created(CHUNK, empty, ID, LIMITS))["total_chunks"] == 0


@pytest.mark.parametrize(
    ("line", "fields", "refusal"),
    [
        ("POST /chunked-upload", [], errors.UPLOAD_FIELD),
        ("POST /chunked-upload", ["X-Filename: a"], errors.UPLOAD_FIELD),
        ("POST /chunked-upload", ["X-Total-Size: 10"], errors.UPLOAD_FIELD),
        ("POST /chunked-upload", ["X-Total-Size: 10", "X-Filename: \xe9"], errors.UPLOAD_FIELD),
        ("POST /chunked-upload", ["X-Total-Size: -10", "X-Filename: a"], errors.UPLOAD_FIELD),
        ("POST /chunked-upload", [f"X-Total-Size: {2**63}", "X-Filename: a"], errors.TOO_LARGE),
        ("PUT /chunked-upload", ["X-Upload-Session-ID: ../x", "X-Chunk-Number: 1"], errors.NOT_FOUND),
        ("PUT /chunked-upload", [f"X-Upload-Session-ID: {ID}0", "X-Chunk-Number: 1"], errors.NOT_FOUND),
        ("PUT /chunked-upload", [f"X-Upload-Session-ID: {ID.upper()}"], errors.NOT_FOUND),
        ("PUT /chunked-upload", [f"X-Upload-Session-ID: {ID}"], errors.UPLOAD_FIELD),
        ("PUT /chunked-upload", [f"X-Upload-Session-ID: {ID}", "X-Chunk-Number: -1"], errors.UPLOAD_FIELD),
        ("GET /upload-status", [], errors.UPLOAD_FIELD),
        ("GET /upload-status?session_id=", [], errors.NOT_FOUND),
        ("GET /upload-status?session_id=..%2fx", [], errors.NOT_FOUND),
        (f"GET /upload-status?session_id={ID}&session_id={ID}", [], errors.QUERY_MALFORMED),
    ],
)
def test_requests_that_are_refused(line: str, fields: list[str], refusal: Refusal) -> None:
    with pytest.raises(Refused) as caught:
        chunked.read(head(line, *fields))
    assert caught.value.refusal is refusal


@given(length=st.integers(1, 10_000), chunk_bytes=st.integers(1, 500))
def test_the_chunks_are_the_file(length: int, chunk_bytes: int) -> None:
    spans = []
    for number in range(chunked.count(length, chunk_bytes)):
        ask = UploadRequest(protocol=UploadProtocol.CHUNKED, act=Action.APPEND, chunk=number)
        body = min(chunk_bytes, length - number * chunk_bytes)
        spans.append(chunked.place(ask, head("PUT /chunked-upload", body=body), length, chunk_bytes))
    assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == length
    assert all(span.length == chunk_bytes for span in spans[:-1])


@pytest.mark.parametrize(
    ("chunk", "body", "refusal"),
    [
        (0, 5, errors.SIZE_MISMATCH),
        (0, 3, errors.CHUNK_MISPLACED),
        (2, 4, errors.SIZE_MISMATCH),  # the last has two bytes
        (2, 1, errors.CHUNK_MISPLACED),
        (3, 0, errors.CHUNK_MISPLACED),
        (2**63 - 1, 4, errors.CHUNK_MISPLACED),
    ],
)
def test_chunks_that_do_not_fit(chunk: int, body: int, refusal: Refusal) -> None:
    ask = UploadRequest(protocol=UploadProtocol.CHUNKED, act=Action.APPEND, chunk=chunk)
    with pytest.raises(Refused) as caught:
        chunked.place(ask, head("PUT /chunked-upload", body=body), 10, 4)
    assert caught.value.refusal is refusal


def test_a_chunk_of_unknown_length_is_for_the_caller_to_measure() -> None:
    sent = head("PUT /chunked-upload", "Transfer-Encoding: chunked")
    assert chunked.place(CHUNK, sent, 10, 4) == Span(4, 8)
