"""Metronome's http_upload_external: v2 under the name `token`, and a DELETE that never expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.auth import keyring, prosody
from hmacfs.errors import TOKEN_WRONG, Refused

if TYPE_CHECKING:
    from hmacfs.model import Grant, Head, Secret, Slot


def message_delete(rel: str, delete_secret: Secret) -> bytes:
    """Give what the token of a DELETE signs: "PATH NUL DELETE_SECRET"."""
    return b"%b\0%b" % (rel.encode(), delete_secret.reveal())


def verify_put(head: Head, slot: Slot, token: str) -> Grant:
    """Give the grant of `?token=` on a PUT; raises LENGTH_REQUIRED or TOKEN_WRONG."""
    return prosody.verify_v2(head, slot, token, dialect="token")


def verify_delete(slot: Slot, delete_secret: Secret, token: str) -> None:
    """Return if `?token=` permits to delete the file; raises TOKEN_WRONG."""
    message = message_delete(slot.rel, delete_secret)
    if not keyring.verifies(slot.endpoint.secrets, message, keyring.from_hex(token)):
        raise Refused(TOKEN_WRONG)
