"""`hmacfs serve` with little patience for workers that do not move; the rest of the command is ignored."""

from __future__ import annotations

import sys

from hmacfs import config, supervisor

STUCK_S = 8.0  # a start takes less, also on a machine with other work

if __name__ == "__main__":
    file = sys.argv[-1]
    sys.exit(supervisor.run(config.load(file), lambda: config.load(file), stuck_s=STUCK_S))
