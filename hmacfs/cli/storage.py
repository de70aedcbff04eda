"""The commands that work on the stored files: expire, verify."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hmacfs.cli import loading

if TYPE_CHECKING:
    import argparse
    from collections import Counter


def expire(options: argparse.Namespace) -> int:
    """Remove files whose time is over, or list them; return the exit status."""
    from hmacfs import store

    loaded = loading.load(options.config)
    if loaded is None:
        return 1
    server = loaded.settings.server
    try:
        if options.dry_run:
            count = 0
            for record in store.list_expired(
                server.storage_path, store.Rules.of(loaded.settings), time.time()
            ):
                count += 1
                print(f"{record.size}\t{store.printable(record.key)}")
            print(f"{count} files would be removed")
        else:
            swept = store.expire(server.storage_path, store.Rules.of(loaded.settings), time.time())
            print("the server is at it already" if swept is None else f"{swept.removed} files removed")
    except store.StorageError as error:
        loading.say(f"hmacfs: {error}")
        return 1
    return 0


def verify(options: argparse.Namespace) -> int:
    """Compare the stored files with their digests; return the exit status."""
    import sqlite3
    from collections import Counter

    from rich.console import Console
    from rich.progress import Progress

    from hmacfs import store

    loaded = loading.load(options.config)
    if loaded is None:
        return 1
    path = loaded.settings.server.storage_path
    found: Counter[store.FileVerdict] = Counter()
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("comparing", total=None)
            for record, verdict in store.verify(path, store.Rules.of(loaded.settings)):
                found[verdict] += 1
                progress.update(task, description=f"{found.total()} files compared")
                if verdict in {store.FileVerdict.DIFFERENT, store.FileVerdict.UNREADABLE}:
                    print(f"{verdict}\t{store.printable(record.key)}")
    except (store.StorageError, sqlite3.Error) as error:
        loading.say(f"hmacfs: {error}")
        return 1
    loading.say(", ".join(f"{found[verdict]} {verdict}" for verdict in store.FileVerdict))
    return 1 if found[store.FileVerdict.DIFFERENT] or found[store.FileVerdict.UNREADABLE] else 0
