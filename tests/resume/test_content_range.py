"""PUT with Content-Range."""

from __future__ import annotations

import pytest
from asking import head

from hmacfs import errors, resume
from hmacfs.errors import Refusal, Refused
from hmacfs.resume import Action, UploadLimits, UploadProtocol, UploadState, ranges

LIMITS = UploadLimits(most=1000, chunk=100, lives_s=60.0)


@pytest.mark.parametrize(
    ("value", "body", "want"),
    [
        ("bytes 0-9/10", 10, (Action.APPEND, 0, 10)),
        ("bytes 5-9/10", 5, (Action.APPEND, 5, 10)),
        ("BYTES 5-5/10", 1, (Action.APPEND, 5, 10)),
        ("bytes 0-0/9223372036854775807", 1, (Action.APPEND, 0, 2**63 - 1)),
        ("bytes */10", 0, (Action.STATUS, 0, 10)),
        ("bytes */10", None, (Action.STATUS, 0, 10)),
        ("bytes */0", 0, (Action.STATUS, 0, 0)),
    ],
)
def test_parts(value: str, body: int | None, want: tuple[Action, int, int]) -> None:
    asked = ranges.read(head("PUT /u/a/b", f"Content-Range: {value}", body=body))
    assert (asked.act, asked.offset, asked.length) == want
    assert asked.protocol is UploadProtocol.RANGE


@pytest.mark.parametrize(
    ("value", "body", "refusal"),
    [
        ("bytes 0-9/10", 9, errors.RANGE_ON_PUT),
        ("bytes 0-9/10", 11, errors.RANGE_ON_PUT),
        ("bytes 0-9/10", None, errors.LENGTH_REQUIRED),
        ("bytes 1-10/10", 10, errors.RANGE_ON_PUT),
        ("bytes 5-4/10", 0, errors.RANGE_ON_PUT),
        ("bytes 0-9/*", 10, errors.RANGE_ON_PUT),
        ("bytes */10", 5, errors.RANGE_ON_PUT),
        ("bytes */*", 0, errors.RANGE_ON_PUT),
        ("bytes=0-9/10", 10, errors.RANGE_ON_PUT),
        ("bytes 0-9/10 ", 10, None),  # white space around a value is not of it
        ("lines 0-9/10", 10, errors.RANGE_ON_PUT),
        ("", 10, errors.RANGE_ON_PUT),
        ("bytes 0-9/9223372036854775808", 10, errors.TOO_LARGE),
        (f"bytes {'9' * 5000}-{'9' * 5000}/{'9' * 5000}", 10, errors.TOO_LARGE),
    ],
)
def test_parts_that_are_refused(value: str, body: int | None, refusal: Refusal | None) -> None:
    asked = head("PUT /u/a/b", f"Content-Range: {value}", body=body)
    if refusal is None:
        assert ranges.read(asked).length == 10
    else:
        with pytest.raises(Refused) as caught:
            ranges.read(asked)
        assert caught.value.refusal is refusal


def test_answers() -> None:
    asked = ranges.read(head("PUT /u/a/b", "Content-Range: bytes 0-4/10", body=5))
    reply = ranges.appended(asked, UploadState(offset=5, length=10, complete=False, expires=0.0), LIMITS)
    assert reply.status == 204
    assert {("Upload-Offset", "5"), ("Upload-Complete", "?0")} <= set(reply.fields)
    other = UploadState(offset=7, length=11, complete=False, expires=0.0)
    assert resume.offset_wrong(asked, other).refusal.status == 409
    assert resume.length_wrong(asked, other).refusal.status == 400
    assert resume.interim(asked, "/u/a/b", 5, LIMITS) is None
