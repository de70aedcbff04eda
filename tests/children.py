"""Programs that a test starts: none outlives the block that runs it, so that no test waits for ever for one.

`subprocess.Popen` waits at the end of its own block, also for what a test that failed has left running.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[Any]:
    """Run a program with the options of `subprocess.Popen`, and lend that; kill what has not ended."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
