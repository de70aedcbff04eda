"""Resumable uploads as pure rules: a request and what is stored in, what to do and what to say out.

Four languages (`UploadProtocol`) ask for the same four things (`Action`): begin an upload, append to it, tell
how far it has come, cancel it. No sockets, no files, no clock.

`detect` names the language of a request, and `LANGUAGES` has the module that reads and answers it. None of
its answers has the fields of `common_fields`, which belong to refusals too: one place adds them to all.
"""

from hmacfs.model import UploadProtocol
from hmacfs.resume.dispatch import LANGUAGES, common_fields, detect, options
from hmacfs.resume.ietf import interim, limit
from hmacfs.resume.refusals import checksum_wrong, length_wrong, offset_wrong, too_large
from hmacfs.resume.requests import Action, UploadLimits, UploadRequest, UploadState

__all__ = [
    "LANGUAGES",
    "Action",
    "UploadLimits",
    "UploadProtocol",
    "UploadRequest",
    "UploadState",
    "checksum_wrong",
    "common_fields",
    "detect",
    "interim",
    "length_wrong",
    "limit",
    "offset_wrong",
    "options",
    "too_large",
]
