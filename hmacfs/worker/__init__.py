"""One worker process: its sockets, its loop, its connections; told what to do by the supervisor.

Here is what the two say to each other. `process.run` is the worker itself; only its own process imports it.
"""

from hmacfs.worker.messages import Barred, Drain, Ready, Reload, WorkerConfig
from hmacfs.worker.signals import IGNORED, OF_THE_SUPERVISOR, REOPEN

__all__ = ["IGNORED", "OF_THE_SUPERVISOR", "REOPEN", "Barred", "Drain", "Ready", "Reload", "WorkerConfig"]
