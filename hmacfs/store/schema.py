"""The index's tables, and how an older index becomes one of today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hmacfs.store.faults import StorageError

if TYPE_CHECKING:
    import sqlite3

# Each entry takes the index from the version that is its position to the next one. Never edit
# one that has been released; add another.
MIGRATIONS: Final = (
    (
        # Key and mtime name one upload: they survive a copy, a restore and a move of the tree.
        """
        CREATE TABLE file (
            key TEXT NOT NULL,
            mtime_ns INTEGER NOT NULL,
            size INTEGER NOT NULL,
            content_type TEXT,
            owner TEXT NOT NULL,
            digest BLOB,
            created REAL NOT NULL,
            expires REAL,
            PRIMARY KEY (key, mtime_ns)
        ) WITHOUT ROWID
        """,
        # The sweeper reads these two in order and never walks the tree.
        "CREATE INDEX file_expires ON file (expires) WHERE expires IS NOT NULL",
        "CREATE INDEX file_created ON file (created) WHERE expires IS NULL",
    ),
    ("ALTER TABLE file ADD COLUMN sha256 BLOB",),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date in one transaction.

    Raises StorageError if a newer hmacfs has been here, sqlite3.Error if the index cannot be written.
    """
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # again: another worker may have been quicker
        if version > len(MIGRATIONS):
            raise StorageError(
                f"the index is of version {version}, and this hmacfs knows versions up to "
                f"{len(MIGRATIONS)}: install the hmacfs that made it, or a newer one"
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
