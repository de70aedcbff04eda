"""Which changes of the settings a running server cannot apply, and what it serves instead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hmacfs.config import keys
from hmacfs.config.settings import TABLES

if TYPE_CHECKING:
    from hmacfs.config.settings import Settings


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """Return the key paths that differ and that SIGHUP cannot apply; [] if it can apply everything."""
    return [
        f"{table}.{entry.name}"
        for table, cls in TABLES.items()
        for entry in keys.entries(cls)
        if entry.key.fixed
        and getattr(getattr(old, table), entry.field) != getattr(getattr(new, table), entry.field)
    ]


def applicable(old: Settings, new: Settings) -> Settings:
    """Return `new`, but with `old`'s value of every key that SIGHUP cannot apply.

    A worker that is replaced later must not serve from another storage than the others.
    """
    return replace(
        new,
        **{
            table: replace(
                getattr(new, table),
                **{
                    entry.field: getattr(getattr(old, table), entry.field)
                    for entry in keys.entries(cls)
                    if entry.key.fixed
                },
            )
            for table, cls in TABLES.items()
        },
    )
