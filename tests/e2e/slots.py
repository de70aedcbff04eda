"""Slots as Prosody would grant them, for tests of clients alone; and plain HTTP to any address."""

from __future__ import annotations

import secrets
import socket
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import serving
from e2e import prosody
from e2e.people import PATIENCE_S, Slot

from hmacfs import auth
from hmacfs.model import Endpoint, Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

DIALECTS = {"v1": "v", "v2": "v2", "jwt": "jwt"}


def grant(address: str, kind: str, name: str, size: int, content_type: str) -> Slot:
    """Return a slot of this kind of token for a way to hmacfs."""
    folder = "share" if kind == "jwt" else "upload"
    secret = prosody.JWT_SECRET if kind == "jwt" else prosody.HMAC_SECRET
    dialect = DIALECTS[kind]
    endpoint = Endpoint(
        prefix=f"/{folder}/", directory=folder, protocols=(dialect,), secrets=(Secret(secret.encode()),)
    )
    rel = f"{secrets.token_hex(8)}/{name}"
    signed = auth.sign(
        dialect, endpoint, auth.SlotRequest(rel, size, content_type), now=time.time(), ttl_s=300
    )
    get = f"http://{address}/{folder}/{quote(rel)}"
    put = f"{get}?{signed.query}" if signed.query else get
    return Slot(put=put, get=get, fields=dict(signed.fields))


class Wire:
    """One kept-alive connection."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host = address
        self._sock = socket.create_connection((host, int(port)), timeout=PATIENCE_S)

    def ask(
        self, method: str, url: str, fields: Sequence[tuple[str, str]], body: bytes = b""
    ) -> serving.Answer:
        """Make one request with just these fields beside Host."""
        target = "/" + url.split("/", 3)[3]
        self._sock.sendall(serving.head(method, target, {"Host": self._host, **dict(fields)}) + body)
        return serving.read_answer(self._sock, method)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def fetch(url: str) -> serving.Answer:
    """GET on a connection of its own."""
    with Wire(url.split("/", 3)[2]) as wire:
        return wire.ask("GET", url, [])
