"""What every command begins with: its configuration, and a way to say what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hmacfs.config import Loaded


def say(words: str) -> None:
    """Write a line for the operator."""
    print(words, file=sys.stderr)


def load(file: str | None) -> Loaded | None:
    """Return the settings of `file`, or the embedded default; None after saying what is wrong."""
    from hmacfs import config

    try:
        if file is None:
            return config.Loaded(settings=config.embedded(Path.cwd()), notices=())
        return config.load(file)
    except config.Faulty as faulty:
        for fault in faulty.faults:
            say(str(fault))
        return None
