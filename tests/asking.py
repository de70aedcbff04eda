"""Heads of requests as a client would send them, for tests of pure rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.http import head as heads

if TYPE_CHECKING:
    from hmacfs.model import Head

_LIMITS = heads.HeadLimits(head_bytes=1 << 20, fields=1000)


def head(line: str, *fields: str, body: int | None = None, version: str = "1.1") -> Head:
    """Return the Head of `line` ("PATCH /x") with `fields` ("Name: value") and a body of `body` bytes."""
    lines = [f"{line} HTTP/{version}", "Host: files.example.org", *fields]
    if body is not None:
        lines.append(f"Content-Length: {body}")
    return heads.parse("\r\n".join([*lines, "", ""]).encode("latin-1"), _LIMITS)
