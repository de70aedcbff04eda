"""The signals that a worker ignores, leaves to the supervisor, or obeys."""

from __future__ import annotations

import signal
from typing import Final

# What ends a process that does not expect it, and is sent to a whole group or by mistake.
IGNORED: Final = frozenset(
    {
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGIO,
        signal.SIGPWR,
        signal.SIGSTKFLT,
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    }
)
# Those that the supervisor hears; it tells the workers itself.
OF_THE_SUPERVISOR: Final = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
REOPEN: Final = signal.SIGUSR1
"""Has the log opened anew, as nginx does; held back in a worker until it has a log."""
