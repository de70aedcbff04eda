"""`hmacfs serve` with little patience for workers that do not move; the rest of the command is ignored."""

from __future__ import annotations

import sys

from hmacfs import config, supervisor

STUCK_S = 4.0  # of a loop that turns; a start may take three times as long

if __name__ == "__main__":
    file = sys.argv[-1]
    sys.exit(supervisor.run(config.load(file), lambda: config.load(file), stuck_s=STUCK_S))
