"""The one streaming engine: every byte of every upload and download passes through here.

`FileSink` and `receive_form` move a request's body into a part of the store, `BodyTransfer` fetches a large
one from the socket, `PlainReplyTransfer` moves a reply to the client. All work in turns of the loop, which
`Scheduler` gives them, and leave the bytes to `_core`.
"""

from hmacfs.transfer.buffer_tuner import BufferTuner
from hmacfs.transfer.disk_threads import DiskThreads
from hmacfs.transfer.forms import FORM_HEADER_BYTES, FORM_PARTS, FormParser, receive_form
from hmacfs.transfer.optimiser import Optimiser
from hmacfs.transfer.receiving import BodyTransfer, Broken, IncomingBody
from hmacfs.transfer.scheduler import Scheduler
from hmacfs.transfer.sending import (
    NO_FILE,
    EncryptedStream,
    PlainReplyTransfer,
    RenderedReply,
    ReplyTransfer,
    TlsReplyTransfer,
)
from hmacfs.transfer.sinks import (
    BodySink,
    BodySource,
    Digest,
    FileSink,
    Nothing,
    ReservedFile,
    SharedSink,
    Unguarded,
    WriteGuard,
)
from hmacfs.transfer.slabs import Slabs

__all__ = [
    "FORM_HEADER_BYTES",
    "FORM_PARTS",
    "NO_FILE",
    "BodySink",
    "BodySource",
    "BodyTransfer",
    "Broken",
    "BufferTuner",
    "Digest",
    "DiskThreads",
    "EncryptedStream",
    "FileSink",
    "FormParser",
    "IncomingBody",
    "Nothing",
    "Optimiser",
    "PlainReplyTransfer",
    "RenderedReply",
    "ReplyTransfer",
    "ReservedFile",
    "Scheduler",
    "SharedSink",
    "Slabs",
    "TlsReplyTransfer",
    "Unguarded",
    "WriteGuard",
    "receive_form",
]
