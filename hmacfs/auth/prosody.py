"""Prosody's mod_http_upload_external, v and v2; ejabberd's `external_secret` is v as well.

v signs "PATH SIZE", v2 signs "PATH NUL SIZE NUL TYPE"; neither expires (a finished file does: 409).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.auth import keyring, text
from hmacfs.errors import LENGTH_REQUIRED, TOKEN_WRONG, Refused
from hmacfs.http import media
from hmacfs.model import Grant

if TYPE_CHECKING:
    from hmacfs.model import Head, Slot

_OCTETS: Final = b"application/octet-stream"

# Without the field the slot's type was left out, which Prosody signs as octet-stream, or was
# an empty string, which it signs as that.
_NO_TYPE: Final = (_OCTETS, b"")


def message_v(rel: str, size: int) -> bytes:
    """Return what v signs."""
    return f"{rel} {size}".encode()


def message_v2(rel: str, size: int, content_type: bytes) -> bytes:
    """Return what v2 (and Metronome's token) signs."""
    return b"%b\0%d\0%b" % (rel.encode(), size, content_type)


def length(head: Head) -> int:
    """Return the bytes of the body, which every form that signs a size needs; raise LENGTH_REQUIRED."""
    if (size := head.body_length) is None:
        raise Refused(LENGTH_REQUIRED)
    return size


def verify_v(head: Head, slot: Slot, token: str) -> Grant:
    """Return the grant of `?v=`; raises LENGTH_REQUIRED or TOKEN_WRONG."""
    mac = _mac(token)
    size = length(head)
    if not keyring.verifies(slot.endpoint.secrets, message_v(slot.rel, size), mac):
        raise _mismatch(head)
    return Grant(dialect="v", size=size, content_type=None)


def verify_v2(head: Head, slot: Slot, token: str, *, dialect: str = "v2") -> Grant:
    """Return the grant of `?v2=`, whose type is the one that was signed.

    Clients send more than was signed ("; charset=UTF-8"), or nothing. So the type as it came is tried, then
    without its parameters; where none came, what Prosody signs then, and what the file's name suggests.
    Raises LENGTH_REQUIRED or TOKEN_WRONG.
    """
    mac = _mac(token)
    size = length(head)
    signed = None
    for candidate in _candidates(head, slot.name):
        if keyring.verifies(slot.endpoint.secrets, message_v2(slot.rel, size, candidate), mac):
            signed = candidate
    if signed is None:
        raise _mismatch(head)
    # Latin-1 never fails, and `servable` drops what is not ASCII.
    return Grant(dialect=dialect, size=size, content_type=text.servable(signed.decode("latin-1")))


def _candidates(head: Head, name: str) -> tuple[bytes, ...]:
    """Return the types that may have been signed for what the request says of its own."""
    sent = head.fields.get(b"content-type", b"").strip(b" \t")
    if not sent:
        guessed = media.guess(name).encode()
        return *_NO_TYPE, guessed, _bare(guessed)
    if not text.is_plain_type(sent):
        return ()
    return (sent, _bare(sent)) if b";" in sent else (sent,)  # nearly all are of one kind: one MAC for them


def _bare(content_type: bytes) -> bytes:
    """Return a type without its parameters (RFC 9110 8.3.1)."""
    return content_type.partition(b";")[0].rstrip(b" \t")


def _mac(token: str) -> bytes:
    if not (mac := keyring.from_hex(token)):
        raise Refused(TOKEN_WRONG)
    return mac


def _mismatch(head: Head) -> Refused:
    """Return the refusal of a token that does not match; perhaps a body was meant, and none framed."""
    return Refused(LENGTH_REQUIRED if head.length is None else TOKEN_WRONG)
