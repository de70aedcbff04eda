"""Metronome's http_upload_external: v2 under the name `token`, and a DELETE that never expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.auth import keyring, prosody
from hmacfs.errors import TOKEN_WRONG, Refused
from hmacfs.model import Secret

if TYPE_CHECKING:
    from hmacfs.model import Grant, Head, Slot


def message_delete(rel: str, delete_secret: Secret) -> bytes:
    """Return what the token of a DELETE signs: "PATH NUL DELETE_SECRET"."""
    return b"%b\0%b" % (rel.encode(), delete_secret.reveal())


def verify_put(head: Head, slot: Slot, token: str) -> Grant:
    """Return the grant of `?token=` on a PUT; raises LENGTH_REQUIRED or TOKEN_WRONG."""
    return prosody.verify_v2(head, slot, token, dialect="token")


def verify_delete(slot: Slot, delete_secret: Secret, token: str) -> None:
    """Return if `?token=` permits to delete the file; raises TOKEN_WRONG."""
    secrets, mac = slot.endpoint.secrets, keyring.from_hex(token)
    if keyring.verifies(secrets, message_delete(slot.rel, delete_secret), mac):
        return
    if (meant := delete_secret.lookalike) is not None:
        meant.matched |= keyring.verifies(secrets, message_delete(slot.rel, Secret(meant.value)), mac)
    raise Refused(TOKEN_WRONG)
