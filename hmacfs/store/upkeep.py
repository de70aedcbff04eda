"""Expiry from outside a worker: what `hmacfs expire` does, with or without a server running."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from hmacfs.store import start, sweep
from hmacfs.store.condition import index_path
from hmacfs.store.index import Index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hmacfs.model import StoredFile
    from hmacfs.store.rules import Rules
    from hmacfs.store.sweep import Swept


def list_expired(path: str, rules: Rules, now: float) -> Iterator[StoredFile]:
    """Return the records of the files that must be gone at `now` (wall clock). Raises StorageError."""
    with contextlib.closing(Index.open(index_path(path), rules.durability)) as index:
        for batch in sweep.find_expired(index, now=now, ttl_s=rules.file_ttl_s):
            yield from batch


def expire(path: str, rules: Rules, now: float) -> Swept | None:
    """Remove them; None if a server is at it already. Raises StorageError."""
    tree = start.open_tree(
        path,
        file_mode=rules.file_mode,
        directory_mode=rules.directory_mode,
        directories=rules.directories,
    )
    with (
        contextlib.closing(tree),
        contextlib.closing(Index.open(index_path(path), rules.durability)) as index,
    ):
        due = sweep.Due(now, rules.file_ttl_s, rules.directories)
        return sweep.sweep(tree, index, due, threading.Event())
