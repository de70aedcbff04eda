"""`python -m hmacfs` is the command line; with "worker" and a descriptor it is one worker process."""

from __future__ import annotations

import sys

WORKER_ARGUMENTS = 3

if __name__ == "__main__":
    # Each imports what the other has no use for: a command starts in a fifth of the time.
    if len(sys.argv) == WORKER_ARGUMENTS and sys.argv[1] == "worker":
        from hmacfs import worker

        sys.exit(worker.run(int(sys.argv[2])))
    else:
        from hmacfs import cli

        sys.exit(cli.main())
