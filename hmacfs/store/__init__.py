"""The only room that opens, publishes, removes or lists files, and the index of what is known of them.

`Store` is the interface; nothing above it may assume that an object is a local path. Order of one
publication: file synced, index row committed, name linked, directories synced, then the answer.
"""

from __future__ import annotations

from hmacfs.store.acquaintances import Acquaintances
from hmacfs.store.facade import Known, Rules, Store
from hmacfs.store.faults import StorageError
from hmacfs.store.files import READING
from hmacfs.store.health import check
from hmacfs.store.part import Part
from hmacfs.store.upkeep import expire, list_expired
from hmacfs.store.upload import Stored

__all__ = [
    "READING",
    "Acquaintances",
    "Known",
    "Part",
    "Rules",
    "StorageError",
    "Store",
    "Stored",
    "check",
    "expire",
    "list_expired",
]
