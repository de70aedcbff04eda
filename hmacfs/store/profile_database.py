"""What is known of clients, kept in a file of its own and shared by all workers: SQLite in WAL mode.

Knows a profile as text. Nothing here is worth a sync, or an upload's delay: what is lost is learned again,
and a file that is damaged or of another release is begun anew. Belongs to one thread at a time, never to the
event loop's. Raises sqlite3.Error.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hmacfs.store.keys import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAME: Final = "clients.db"
BUSY_TIMEOUT_S: Final = 1.0
# Raised with whatever changes the table, or what a profile's text means.
VERSION: Final = 1

_TABLE: Final = (
    "CREATE TABLE client (key BLOB PRIMARY KEY, version INTEGER, seen REAL, profile TEXT) WITHOUT ROWID",
    "CREATE UNIQUE INDEX client_version ON client (version)",
    "CREATE INDEX client_seen ON client (seen)",
)
_LAST: Final = "SELECT coalesce(max(version), 0) FROM client"
_FIND: Final = "SELECT profile FROM client WHERE key = ?"
_KEEP: Final = "INSERT OR REPLACE INTO client (key, version, seen, profile) VALUES (?, ?, ?, ?)"
_SINCE: Final = "SELECT version, key, profile FROM client WHERE version > ? ORDER BY version DESC LIMIT ?"
# But for the last one, so that versions never begin anew in a file.
_FORGET: Final = "DELETE FROM client WHERE seen < ? AND version < ?"
_CROP: Final = """
    DELETE FROM client
    WHERE version <= (SELECT version FROM client ORDER BY version DESC LIMIT 1 OFFSET ?)
"""


class News(NamedTuple):
    """What others and we have written lately."""

    rows: list[tuple[bytes, str]]
    """Keys and profiles, those written last first."""
    version: int
    """What to ask for more with."""


class ProfileDatabase:
    """One worker's connection to the file; opened when it is first needed."""

    def __init__(self, storage: str, most: int) -> None:
        """Keep at most `most` clients in the private directory of `storage`."""
        self._path = Path(storage, PRIVATE, NAME)
        self._most = most
        self._connection: sqlite3.Connection | None = None
        self._doubtful = False  # whether the file may be damaged

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def exchange(
        self,
        keys: Iterable[bytes],
        renewed: Callable[[bytes, str | None], str],
        *,
        since: int,
        now: float,
        forget_before: float,
    ) -> News:
        """Renew the profiles of `keys` and give all that were written after version `since`.

        `renewed` gives what is to be written, of the key and of what stands there. Those not seen after
        `forget_before` (wall clock, as `now`) go.
        """
        try:
            connection = self._connection or self._open()
            # Versions grow in the order of commits, since one writes at a time: no reader misses any.
            connection.execute("BEGIN IMMEDIATE")
            try:
                (version,) = connection.execute(_LAST).fetchone()
                for key in keys:
                    version += 1
                    row = connection.execute(_FIND, (key,)).fetchone()
                    text = renewed(key, None if row is None else row[0])
                    connection.execute(_KEEP, (key, version, now, text))
                connection.execute(_FORGET, (forget_before, version))
                connection.execute(_CROP, (self._most,))
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if version < since:  # another file than the last time
                since = 0
            found = connection.execute(_SINCE, (since, self._most)).fetchall()
        except sqlite3.DatabaseError as error:
            self._doubtful = _is_damage(error)
            self.close()
            raise
        return News([(key, text) for _, key, text in found], max([since, *(row[0] for row in found)]))

    def _open(self) -> sqlite3.Connection:
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            connection = self._connect()
        self._doubtful = False
        self._connection = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        """Open the file and make its table, if it has none of this release. Raises sqlite3.Error."""
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,  # transactions begin and end here, in sight
            check_same_thread=False,  # by one thread after the other, never by two
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            # Another worker may have begun the file anew meanwhile, and that one must stay.
            if self._doubtful and connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("damaged")  # noqa: TRY301 - as SQLite itself does
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
                connection.execute("DROP TABLE IF EXISTS client")
                for statement in _TABLE:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault: SQLite says the same of nothing that passes."""
    return type(error) is sqlite3.DatabaseError
