"""The parent process: it keeps the workers alive, answers operators and obeys signals."""

from hmacfs.supervisor.supervisor import StartError, run

__all__ = ["StartError", "run"]
