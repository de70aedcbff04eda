"""Ctrl-C, as long as a command has no answer of its own to it: a quiet end.

Not by KeyboardInterrupt: that may be raised in the middle of an import, where some code takes it for the
failure of the import.
"""

from __future__ import annotations

import os
import signal
from typing import Final

INTERRUPTED: Final = 130
"""Exit status, as shells tell of who is ended by SIGINT: 128 and its number."""


def end_quietly() -> None:
    """Let Ctrl-C end the process from now on; where it is ignored, as in the background, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def become_exceptions() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, if `end_quietly` has changed that."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)
