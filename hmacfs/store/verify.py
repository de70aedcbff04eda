"""Whether the stored files are what was uploaded: their content compared with the digests in the index.

Blocks.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from blake3 import blake3

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.model import Durability, MiB
from hmacfs.store import start
from hmacfs.store.condition import index_path
from hmacfs.store.index import Identity, Index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hmacfs.model import StoredFile
    from hmacfs.store.files import Tree
    from hmacfs.store.rules import Rules

PAGE_RECORDS: Final = 256
PIECE_BYTES: Final = 4 * MiB


class FileVerdict(enum.StrEnum):
    """What the comparison of one record with its file has shown."""

    SAME = "same"
    """The content has the digest that the index holds."""
    DIFFERENT = "different"
    """It has not: the file is not what was uploaded."""
    MISSING = "missing"
    """No file of this record stands at its key; `reconcile` drops such rows."""
    UNKNOWN = "unknown"
    """The index holds no digest: a file put here by hand, or one resumed by a client that told none."""
    UNREADABLE = "unreadable"
    """The file cannot be read."""


class Compared(NamedTuple):
    """One record, and what its comparison has shown."""

    record: StoredFile
    verdict: FileVerdict


def verify(path: str, rules: Rules) -> Iterator[Compared]:
    """Yield the comparison of each record of the index of the storage at `path` with its file, by key.

    Reads every file whole; nothing is changed, and a server may run meanwhile. Raises StorageError if the
    storage cannot be opened, and sqlite3.Error if the index cannot be read.
    """
    with contextlib.ExitStack() as opened:
        tree = start.open_tree(
            path,
            file_mode=rules.file_mode,
            directory_mode=rules.directory_mode,
            directories=rules.directories,
        )
        opened.callback(tree.close)
        index = opened.enter_context(contextlib.closing(Index.open(index_path(path), Durability.RELAXED)))
        after = Identity("", -1)
        while page := index.page(after, PAGE_RECORDS):
            for record in page:
                yield Compared(record, _compare(tree, record))
            after = Identity(page[-1].key, page[-1].mtime_ns)


def _compare(tree: Tree, record: StoredFile) -> FileVerdict:
    try:
        file = tree.open(record.key)
    except Refused as refused:
        return FileVerdict.MISSING if refused.refusal is errors.NOT_FOUND else FileVerdict.UNREADABLE
    with open(file.descriptor.fileno(), "rb", closefd=False) as content:
        try:
            if file.mtime_ns != record.mtime_ns:
                return FileVerdict.MISSING  # another file stands there, with a record of its own
            if file.size != record.size:
                return FileVerdict.DIFFERENT
            known: list[tuple[Any, bytes | None]] = [
                (blake3(), record.digest),
                (hashlib.sha256(), record.sha256),
            ]
            told = [(digest, right) for digest, right in known if right is not None]
            while told and (piece := content.read(PIECE_BYTES)):
                for digest, _ in told:
                    digest.update(piece)
        except OSError:
            return FileVerdict.UNREADABLE
        finally:
            file.descriptor.close()
    if not told:
        return FileVerdict.UNKNOWN
    return (
        FileVerdict.SAME if all(digest.digest() == right for digest, right in told) else FileVerdict.DIFFERENT
    )
