"""`hmacfs` and `python -m hmacfs` are the command line; with "worker" and a descriptor it is one worker."""

from __future__ import annotations

import sys

from hmacfs import interrupts

WORKER_ARGUMENTS = 3


def main() -> int:
    """Do what the arguments of the process say; give the exit status."""
    interrupts.end_quietly()
    # Each imports what the other has no use for: a command starts in a fifth of the time.
    if len(sys.argv) == WORKER_ARGUMENTS and sys.argv[1] == "worker":
        return _worker(int(sys.argv[2]))
    from hmacfs import cli

    return cli.main()


def _worker(control_fd: int) -> int:
    import signal

    # The terminal's Ctrl-C and a SIGHUP to the group are for the supervisor, also while we import.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from hmacfs.worker import process

    return process.run(control_fd)


if __name__ == "__main__":
    sys.exit(main())
