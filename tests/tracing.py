"""strace on a running server: what one request does, and what becomes of it if one call fails."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import children

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERED = re.compile(r"(?:(\d+) +)?(.*)")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
RESULT = re.compile(r"\) += ")  # strace aligns them
CALL = re.compile(r"(\w+)\(.*")


class Call(NamedTuple):
    """One finished system call."""

    thread: int
    name: str
    text: str
    """Name, arguments and result; descriptors are followed by <what they are open on>."""
    begun: int
    """Line of the log at which it began, comparable with any other call's."""
    ended: int
    """Line of the log at which it ended."""


@dataclass
class Trace:
    """The log of one strace; complete once its `attached` has ended."""

    path: Path

    def calls(self) -> list[Call]:
        """Return the calls in the order of their ends."""
        unfinished: dict[str, tuple[int, str]] = {}
        found = []
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines):
            # strace names the thread only if there may be several.
            numbered = NUMBERED.fullmatch(line)
            assert numbered is not None
            thread, text = numbered.groups(default="0")
            begun = number
            if text.endswith("<unfinished ...>"):
                start = text.removesuffix("<unfinished ...>").rstrip()
                unfinished[thread] = number, f"{start} " if start.endswith(",") else start
                continue
            if resumed := RESUMED.fullmatch(text):
                begun, start = unfinished.pop(thread, (number, ""))
                text = start + resumed[1]
            if call := CALL.fullmatch(text):
                text = RESULT.sub(") = ", text)
                found.append(Call(int(thread), call[1], text, begun, number))
        return found

    def injected(self) -> list[Call]:
        """Return the calls that strace made fail."""
        return [call for call in self.calls() if call.text.endswith("(INJECTED)")]


@contextlib.contextmanager
def attached(strace: str, log: Path, *options: str, process: int = 0, thread: int = 0) -> Iterator[Trace]:
    """Trace a process with all its threads, or one thread of it, as long as the context lasts."""
    whom = ["-f", "-p", str(process)] if process else ["-p", str(thread)]
    command = [strace, "-y", "-s", "64", "-o", str(log), *whom, *options]
    with children.running(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert "attached" in (first := tracer.stderr.readline()), first
        try:
            yield Trace(log)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
