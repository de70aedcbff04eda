"""The only room that opens, publishes, removes or lists files, and the index of what is known of them.

`Store` is the interface; nothing above it may assume that an object is a local path. Order of one
publication: file synced, index row committed, name linked, directories synced, then the answer.
"""

from __future__ import annotations

from hmacfs.store.faults import StorageError
from hmacfs.store.files import READING
from hmacfs.store.health import Health, HealthCheck
from hmacfs.store.metadata_cache import FileMetadata
from hmacfs.store.part import Part
from hmacfs.store.profile_database import ProfileDatabase
from hmacfs.store.reconcile import printable
from hmacfs.store.rules import Rules
from hmacfs.store.store import Store, StoreObserver
from hmacfs.store.upkeep import expire, list_expired
from hmacfs.store.verify import FileVerdict, verify

__all__ = [
    "READING",
    "FileMetadata",
    "FileVerdict",
    "Health",
    "HealthCheck",
    "Part",
    "ProfileDatabase",
    "Rules",
    "StorageError",
    "Store",
    "StoreObserver",
    "expire",
    "list_expired",
    "printable",
    "verify",
]
