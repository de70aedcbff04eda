"""Resumable uploads: whose they are, where they go, and one way for their bytes whatever the language.

`slots` are signed PUT URLs, `collection` is an endpoint of protocol "tus", `chunks` the Go server's doors;
`engine` moves the bytes of all.
"""

from hmacfs.app.resumable.engine import Link
from hmacfs.app.resumable.entrance import Resumable

__all__ = ["Link", "Resumable"]
