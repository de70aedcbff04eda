"""Processes of workers that do what a test says: the supervisor's side of them is real, pipes included."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import serving

from hmacfs import config
from hmacfs.worker import Ready, WorkerConfig

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from manual_loop import ManualLoop


OPERATORS = '[metrics]\nlisten_address = "{}"'


def loaded(where: Path, *, operators: str = "", **options: Any) -> Any:
    """Return a configuration without a fault, of two workers; `operators` ask at that address."""
    text = serving.configuration(where / "store", **({"workers": 2} | options))
    assert OPERATORS.format("127.0.0.1:0") in text
    text = text.replace(OPERATORS.format("127.0.0.1:0"), OPERATORS.format(operators))
    return config.parse(text, name="test.toml", base_dir=where, environ={})


class NotedLog:
    """A log that keeps its events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def event(self, level: str, name: str, **fields: object) -> None:
        self.events.append((level, name, fields))

    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]


class FakeProcess:
    """A worker's process, which a test runs: it hears, says and ends."""

    def __init__(self, pid: int, control: socket.socket, inherited: Sequence[int]) -> None:
        self.pid = pid
        self.inherited = tuple(inherited)
        self.pipe = Connection(os.dup(control.fileno()))
        self.status: int | None = None
        self.signals: list[int] = []
        self.kills = 0
        self.unkillable = False
        """Whether it is in a call that does not come back."""

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.kills += 1
        if not self.unkillable:
            self.end(-9)

    def send_signal(self, sig: int) -> None:
        self.signals.append(sig)

    def hang_up(self) -> None:
        """Close the pipe, as the first thing of an end."""
        self.pipe.close()

    def end(self, status: int) -> None:
        """End, and be ready to be reaped."""
        self.status = status
        self.hang_up()

    def heard(self) -> list[Any]:
        """Return what it was told since the last time."""
        messages = []
        while not self.pipe.closed and self.pipe.poll():
            messages.append(self.pipe.recv())
        return messages

    def say(self, message: object) -> None:
        self.pipe.send(message)


class Processes:
    """All that were started, and what starting the next ones meets."""

    def __init__(self, loop: ManualLoop) -> None:
        self.loop = loop
        self.all: list[FakeProcess] = []
        self.failures: list[OSError] = []

    def spawn(self, control: socket.socket, inherited: Sequence[int]) -> FakeProcess:
        if self.failures:
            raise self.failures.pop(0)
        self.all.append(FakeProcess(100 + len(self.all), control, inherited))
        return self.all[-1]

    @property
    def alive(self) -> list[FakeProcess]:
        return [one for one in self.all if one.status is None]

    def begin(self, *, ready: bool = True) -> list[WorkerConfig]:
        """Have each that is new read what it begins with, and serve; return that of each."""
        boots = []
        for one in self.alive:
            for message in one.heard():
                if isinstance(message, WorkerConfig):
                    boots.append(message)
                    if ready:
                        one.say(Ready(message.version))
        self.loop.turn(3)
        return boots

    def close(self) -> None:
        for one in self.all:
            one.hang_up()
        self.loop.turn(3)
