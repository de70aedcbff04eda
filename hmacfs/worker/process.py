"""The process of a worker: its signals, its first message, its loop and its exit status."""

from __future__ import annotations

import contextlib
import signal

import uvloop

from hmacfs import _core, log
from hmacfs.policy import hot_limits
from hmacfs.store import StorageError
from hmacfs.worker import build
from hmacfs.worker.messages import WorkerConfig
from hmacfs.worker.signals import IGNORED, OF_THE_SUPERVISOR, REOPEN
from hmacfs.worker.supervisor_pipe import SupervisorPipe
from hmacfs.worker.worker import Worker


def run(control_fd: int) -> int:
    """Be a worker until told to end; return the exit status."""
    # The terminal's Ctrl-C and a SIGHUP to the group are for the supervisor, which will tell us. It has
    # started us with them held back, so that none could end us before now.
    for number in OF_THE_SUPERVISOR | IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, {REOPEN})
    with contextlib.closing(SupervisorPipe(control_fd)) as pipe:
        boot = pipe.receive()
        # Anything else: the supervisor ended while this one began.
        return _serve(pipe, boot) if isinstance(boot, WorkerConfig) else 0


def _serve(pipe: SupervisorPipe, boot: WorkerConfig) -> int:
    _core.set_malloc_trim(hot_limits.FREED_BYTES)
    loop = uvloop.new_event_loop()
    try:
        worker = Worker(loop, pipe, boot, build.build(loop, boot, pipe.send))
        loop.run_until_complete(worker.serve())
    except StorageError as error:  # it was sound when the server started: the supervisor tries again
        log.open_log(boot.settings.logging, fall_back=True).event("error", "storage-lost", error=str(error))
        return 1
    finally:
        loop.close()
    return 0
