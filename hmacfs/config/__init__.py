"""TOML in, frozen settings out, or one report of every fault at once.

`load` for a file, `parse` for text, `embedded` for no file at all; `settings` holds the classes.
"""

from __future__ import annotations

from hmacfs.config.first_run import embedded
from hmacfs.config.loading import Loaded, load, parse
from hmacfs.config.reload import applicable, restart_needed
from hmacfs.config.report import Fault, Faulty, Notice
from hmacfs.config.settings import Settings

__all__ = [
    "Fault",
    "Faulty",
    "Loaded",
    "Notice",
    "Settings",
    "applicable",
    "embedded",
    "load",
    "parse",
    "restart_needed",
]
