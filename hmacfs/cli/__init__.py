"""The command line. A command imports what it needs when it runs, so that each starts quickly."""

from hmacfs.cli.command_line import main

__all__ = ["main"]
