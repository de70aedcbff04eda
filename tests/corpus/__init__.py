"""What arrives on the wire and what must come of it: a row per request, for every front there is.

A test of the parser alone renders a row with any names; one of a live server fills in a host, a file that
exists and the place of an upload without a token, sends the row, then `CANARY` on the same connection.
"""

from __future__ import annotations

from corpus import bodies, heads, lines, sound
from corpus.row import CANARY, Row

__all__ = ["CANARY", "ROWS", "Row"]

ROWS: tuple[Row, ...] = (*lines.ROWS, *heads.ROWS, *bodies.ROWS, *sound.ROWS)
