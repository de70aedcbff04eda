"""Token, keys and time in; a Grant or a refusal out. No I/O, no clock, no log.

One module per family of dialects; `grants` chooses among them, `signing` makes what they verify.
"""

from __future__ import annotations

from hmacfs.auth.grants import delete, form, slot_dialects, upload
from hmacfs.auth.passes import Pass, fingerprint
from hmacfs.auth.passes import sign as sign_pass
from hmacfs.auth.passes import verify as uploader
from hmacfs.auth.signing import Signed, sign
from hmacfs.auth.slot_request import SlotRequest
from hmacfs.model import DIALECTS, TUS

__all__ = [
    "DIALECTS",
    "TUS",
    "Pass",
    "Signed",
    "SlotRequest",
    "delete",
    "fingerprint",
    "form",
    "sign",
    "sign_pass",
    "slot_dialects",
    "upload",
    "uploader",
]
