"""`python -m hmacfs` is the command line; with "worker" and a descriptor it is one worker process."""

from __future__ import annotations

import sys

from hmacfs import cli, worker

WORKER_ARGUMENTS = 3

if __name__ == "__main__":
    if len(sys.argv) == WORKER_ARGUMENTS and sys.argv[1] == "worker":
        sys.exit(worker.run(int(sys.argv[2])))
    sys.exit(cli.main())
