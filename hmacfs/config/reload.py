"""Which changes of the settings a running server cannot apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmacfs.config import keys
from hmacfs.config.settings import TABLES

if TYPE_CHECKING:
    from hmacfs.config.settings import Settings


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """Give the key paths that differ and that SIGHUP cannot apply; [] if it can apply everything."""
    return [
        f"{table}.{entry.name}"
        for table, cls in TABLES.items()
        for entry in keys.entries(cls)
        if entry.key.fixed
        and getattr(getattr(old, table), entry.field) != getattr(getattr(new, table), entry.field)
    ]
