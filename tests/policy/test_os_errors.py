from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from hmacfs import errors
from hmacfs.model import Dependency
from hmacfs.policy import breaker, os_errors

if TYPE_CHECKING:
    from hmacfs.errors import Refusal

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOLCK}
PASSING = {errno.EAGAIN, errno.EBUSY, errno.EINTR}
NAMED = {errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@pytest.mark.parametrize(
    ("number", "reading", "writing"),
    [
        (errno.ENOENT, errors.NOT_FOUND, errors.STORAGE_FAILED),
        (errno.ENOTDIR, errors.NOT_FOUND, errors.EXISTS),
        (errno.EEXIST, errors.STORAGE_FAILED, errors.EXISTS),
        (errno.EACCES, errors.NOT_FOUND, errors.STORAGE_FAILED),
        (errno.ELOOP, errors.NOT_FOUND, errors.NOT_FOUND),
        (errno.EXDEV, errors.NOT_FOUND, errors.STORAGE_FAILED),
        (errno.ENAMETOOLONG, errors.NAME_TOO_LONG, errors.NAME_TOO_LONG),
        (errno.ENOSPC, errors.STORAGE_FAILED, errors.DISK_FULL),
        (errno.EDQUOT, errors.STORAGE_FAILED, errors.DISK_FULL),
        (errno.EFBIG, errors.STORAGE_FAILED, errors.DISK_FULL),
        (errno.EMFILE, errors.BUSY, errors.BUSY),
        (errno.ENFILE, errors.BUSY, errors.BUSY),
        (errno.ENOMEM, errors.BUSY, errors.BUSY),
        (errno.EIO, errors.STORAGE_FAILED, errors.STORAGE_FAILED),
        (errno.EROFS, errors.STORAGE_FAILED, errors.STORAGE_FAILED),
        (errno.EBADF, errors.STORAGE_FAILED, errors.STORAGE_FAILED),
    ],
)
def test_what_the_system_says_becomes_a_refusal(number: int, reading: Refusal, writing: Refusal) -> None:
    error = OSError(number, "words", "/srv/secret/place")
    assert os_errors.reading(error).refusal is reading
    assert os_errors.writing(error).refusal is writing
    assert "secret" not in os_errors.reading(error).detail + os_errors.writing(error).detail


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.EROFS, errno.EUCLEAN, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT]
)
def test_what_says_that_the_storage_is_broken(number: int) -> None:
    assert os_errors.writing(OSError(number, "")).broken is Dependency.STORAGE
    assert os_errors.reading(OSError(number, "")).broken is None


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.ENAMETOOLONG, errno.EMFILE, errno.EBUSY]
)
def test_what_says_nothing_of_the_storage(number: int) -> None:
    assert os_errors.writing(OSError(number, "")).broken is None


def test_an_error_without_a_number_is_a_failure() -> None:
    assert os_errors.writing(OSError("words")).refusal is errors.STORAGE_FAILED


@pytest.mark.parametrize("number", sorted(errno.errorcode), ids=errno.errorcode.__getitem__)
def test_each_number_has_one_refusal(number: int) -> None:
    """What was used up is worth another try, and says when; no fault of the disk is the client's."""
    refused = os_errors.writing(OSError(number, "words"))
    status = refused.refusal.status
    assert (status == 503) == (number in EXHAUSTED | PASSING)
    assert (status == 507) == (number in FULL)
    assert (400 <= status < 500) == (number in NAMED)
    assert (status == 500) == (number not in EXHAUSTED | PASSING | FULL | NAMED)
    assert ("Retry-After" in dict(refused.fields)) == (status == 503)
    assert (refused.broken is None) == (number not in breaker.STORAGE_FAULTS)
    seen = os_errors.reading(OSError(number, "words"))
    assert (seen.refusal.status == 503) == (number in EXHAUSTED | {errno.EAGAIN})
    assert seen.broken is None
