"""What clients of resumable uploads need to know of the site, and what came of an upload."""

from __future__ import annotations

import secrets
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt

if TYPE_CHECKING:
    from cutting import Relay

SECRET = secrets.token_hex(32)
MiB = 1024 * 1024
SIZE = 4 * MiB + 321
"""Bytes of an upload: more than any buffer on its way, and no round number."""
NAME = "très cool film.mp4"
TYPE = "video/mp4"
METADATA = {"filename": NAME, "filetype": TYPE}
"""What clients of tus tell of a file."""
TTL_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leave to upload, through a relay."""

    endpoint: str
    """URL of a collection of uploads, or of a slot."""
    fields: dict[str, str]
    """What each request says of who asks."""


def ticket(relay: Relay) -> Ticket:
    """Write a ticket for the collection, as a web site beside hmacfs would."""
    token = jwt.encode({"sub": "alice@chat.test", "exp": int(time.time()) + TTL_S}, SECRET, "HS256")
    return Ticket(endpoint=f"http://{relay.address}/files/", fields={"Authorization": f"Bearer {token}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file as its readers get it."""

    url: str
    """After redirects."""
    content_type: str
    body: bytes


def read(url: str) -> Kept:
    """Download as anybody would, who has no ticket."""
    with urllib.request.urlopen(url) as answer:
        return Kept(url=answer.url, content_type=answer.headers["Content-Type"], body=answer.read())
