"""Every module of hmacfs, for the tests that look at all of them."""

from __future__ import annotations

import pkgutil

import hmacfs

EVERY = [module.name for module in pkgutil.walk_packages(hmacfs.__path__, "hmacfs.")]
# `__main__` runs the server when it is imported as the program; there is nothing in it to look at.
IMPORTABLE = [name for name in EVERY if not name.endswith(".__main__")]
