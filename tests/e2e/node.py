"""tus-js-client, unmodified, in Node."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.resumable import METADATA

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.resumable import Ticket

# A client of people would wait for seconds.
RETRY_MS = [20] * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Runs uploads."""

    program: str
    script: Path

    def run(self, ticket: Ticket, path: Path | None, *, stdin: bytes = b"", **more: Any) -> dict[str, Any]:
        """Run an upload to its end, which must be a good one; give the last that it tells."""
        command = self.command(ticket, path, **more)
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return last

    def command(
        self,
        ticket: Ticket,
        path: Path | None,
        *,
        storage: Path | None = None,
        terminates: bool = False,
        **options: Any,
    ) -> list[str]:
        """Return the command that uploads `path`, or standard input.

        `storage` is where it notes its uploads and looks for one that was begun; one that `terminates` is
        taken back as soon as some of it was sent; `options` are further ones of the client.
        """
        told = {
            "path": path and str(path),
            "storage": storage and str(storage),
            "terminates": terminates,
            "options": {
                "endpoint": ticket.endpoint,
                "headers": ticket.fields,
                "metadata": METADATA,
                "retryDelays": RETRY_MS,
                **options,
            },
        }
        return [self.program, str(self.script), json.dumps(told)]
