"""Token, keys and time in; a Grant or a refusal out. No I/O, no clock, no log.

One module per family of dialects; `grants` chooses among them, `signing` makes what they verify.
"""

from __future__ import annotations

from hmacfs.auth.grants import DIALECTS, delete, form, upload
from hmacfs.auth.signing import Signed, sign

__all__ = ["DIALECTS", "Signed", "delete", "form", "sign", "upload"]
