"""What becomes of each key of the Go hmac-file-server's configuration, whichever of its files names it.

Variants of spelling (metricsenabled and metrics_enabled) are one key here. `adopt` acts on it.
"""

from __future__ import annotations

from typing import Final

from hmacfs.config.fates import ConfigForm, Fate, KeyFate, ignored
from hmacfs.config.settings import TABLES
from hmacfs.config.struct_keys import STRUCT
from hmacfs.config.template_keys import TEMPLATE

ROWS: Final[dict[str, dict[str, KeyFate]]] = {
    table: {**STRUCT.get(table, {}), **TEMPLATE.get(table, {})} for table in {**STRUCT, **TEMPLATE}
}
"""Every key of the Go server, by table. A table in a table is named with a dot."""

OWN: Final = frozenset({"performance", "streaming"})
"""Tables that the seed of this server has as well, so that they tell nothing about where files lie."""

_UNKNOWN: Final = ignored("it says nothing about the server")

FOREIGN: Final[dict[str, KeyFate]] = {
    table: next((row for row in rows.values() if row.fate is not Fate.HONOURED), _UNKNOWN)._replace(
        form=ConfigForm.OWN
    )
    for table, rows in ROWS.items()
    if table not in TABLES
}
"""What to say of further keys in tables that only the Go server has: its templates are full of them."""
