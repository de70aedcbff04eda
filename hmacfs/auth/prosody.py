"""Prosody's mod_http_upload_external, v and v2; ejabberd's `external_secret` is v as well.

v signs "PATH SIZE", v2 signs "PATH NUL SIZE NUL TYPE"; neither expires (a finished file does: 409).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.auth import keyring, text
from hmacfs.errors import LENGTH_REQUIRED, TOKEN_WRONG, Refused
from hmacfs.model import Grant

if TYPE_CHECKING:
    from hmacfs.model import Head, Slot

_OCTETS: Final = b"application/octet-stream"

# Without the field the slot's type was left out, which Prosody signs as octet-stream, or was
# an empty string, which it signs as that.
_NO_TYPE: Final = (_OCTETS, b"")


def message_v(rel: str, size: int) -> bytes:
    """Give what v signs."""
    return f"{rel} {size}".encode()


def message_v2(rel: str, size: int, content_type: bytes) -> bytes:
    """Give what v2 (and Metronome's token) signs."""
    return b"%b\0%d\0%b" % (rel.encode(), size, content_type)


def length(head: Head) -> int:
    """Give the Content-Length, which every form that signs a size needs; raises LENGTH_REQUIRED."""
    if head.length is None or head.chunked:
        raise Refused(LENGTH_REQUIRED)
    return head.length


def verify_v(head: Head, slot: Slot, token: str) -> Grant:
    """Give the grant of `?v=`; raises LENGTH_REQUIRED or TOKEN_WRONG."""
    size = length(head)
    if not keyring.verifies(slot.endpoint.secrets, message_v(slot.rel, size), keyring.from_hex(token)):
        raise Refused(TOKEN_WRONG)
    return Grant(dialect="v", size=size, content_type=None)


def verify_v2(head: Head, slot: Slot, token: str, *, dialect: str = "v2") -> Grant:
    """Give the grant of `?v2=` for the Content-Type just as it came: clients send parameters too.

    Raises LENGTH_REQUIRED or TOKEN_WRONG.
    """
    size = length(head)
    mac = keyring.from_hex(token)
    secrets = slot.endpoint.secrets
    given = head.fields.get(b"content-type", b"").strip(b" \t")
    signed = None
    if text.is_plain_type(given):
        for candidate in (given,) if given else _NO_TYPE:
            if keyring.verifies(secrets, message_v2(slot.rel, size, candidate), mac):
                signed = candidate
    if signed is None:
        raise Refused(TOKEN_WRONG)
    # Latin-1 never fails, and `servable` drops what is not ASCII.
    return Grant(dialect=dialect, size=size, content_type=text.servable(signed.decode("latin-1")))
