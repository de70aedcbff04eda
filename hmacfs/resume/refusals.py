"""Refusals that need what is stored: in the words of the language that the request was written in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import UploadProtocol
from hmacfs.resume import ietf

if TYPE_CHECKING:
    from hmacfs.resume.requests import UploadLimits, UploadRequest, UploadState


def offset_wrong(ask: UploadRequest, state: UploadState) -> Refused:
    """Return the refusal of a body that belongs elsewhere, with where the upload goes on."""
    return Refused(
        errors.UPLOAD_OFFSET,
        f"the body begins at {ask.offset}, the upload goes on at {state.offset}",
        fields=(("Upload-Offset", str(state.offset)), ietf.complete(state.complete)),
        members={"expected-offset": state.offset, "provided-offset": ask.offset},
    )


def length_wrong(ask: UploadRequest, state: UploadState) -> Refused:
    """Return the refusal of another length than was said before, or of bytes beyond it.

    For tus and chunks the latter is 413, for the others everything about lengths is 400.
    """
    if ask.protocol in (UploadProtocol.IETF, UploadProtocol.RANGE) or (
        ask.length is not None and ask.length != state.length
    ):
        return Refused(errors.UPLOAD_LENGTH, f"the upload has {state.length} bytes")
    return Refused(errors.SIZE_MISMATCH, f"the upload has {state.length} bytes")


def checksum_wrong(ask: UploadRequest) -> Refused:
    """Return the refusal of a body that is not what its digest says."""
    return Refused(errors.CHECKSUM_MISMATCH if ask.protocol is UploadProtocol.TUS else errors.DIGEST_MISMATCH)


def too_large(ask: UploadRequest, limits: UploadLimits) -> Refused:
    """Return the refusal of a file larger than is taken, with how large one may be."""
    told = {
        UploadProtocol.TUS: ("Tus-Max-Size", str(limits.most)),
        UploadProtocol.IETF: ietf.limit(limits, ask.version),
        UploadProtocol.RANGE: ietf.limit(limits),
    }
    fields = (told[ask.protocol],) if ask.protocol in told else ()
    return Refused(errors.TOO_LARGE, f"at most {limits.most} bytes are taken", fields=fields)
