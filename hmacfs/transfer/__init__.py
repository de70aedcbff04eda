"""The one streaming engine: every byte of every upload and download passes through here.

`FileSink` and `receive_form` move a request's body into a part of the store, `Receiving` fetches a large
one from the socket, `Sending` moves a reply to the client. All work in turns of the loop, which `Turns`
gives them, and leave the bytes to `_core`.
"""

from hmacfs.transfer.bodies import Digest, Fence, FileSink, Link, Nothing, Part, SharedSink, Sink, Unguarded
from hmacfs.transfer.forms import FORM_HEADER_BYTES, FORM_PARTS, Form, receive_form
from hmacfs.transfer.lane import Lane
from hmacfs.transfer.optimiser import Optimiser
from hmacfs.transfer.receiving import Broken, Receiving
from hmacfs.transfer.sending import NO_FILE, ReplyTransfer, Sending, TlsSending
from hmacfs.transfer.site import Site
from hmacfs.transfer.slabs import Slabs
from hmacfs.transfer.turns import Turns

__all__ = [
    "FORM_HEADER_BYTES",
    "FORM_PARTS",
    "NO_FILE",
    "Broken",
    "Digest",
    "Fence",
    "FileSink",
    "Form",
    "Lane",
    "Link",
    "Nothing",
    "Optimiser",
    "Part",
    "Receiving",
    "ReplyTransfer",
    "Sending",
    "SharedSink",
    "Sink",
    "Site",
    "Slabs",
    "TlsSending",
    "Turns",
    "Unguarded",
    "receive_form",
]
