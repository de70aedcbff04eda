"""A stand-in server for each test, a real one for each module, and the command line without a process."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import resuming
import serving
from client.standin import Standin

from hmacfs import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin() as server:
        yield server


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Server]:
    with serving.running(tmp_path_factory.mktemp("real"), rest=resuming.ENDPOINTS) as server:
        yield server


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def hmacfs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    def run(*arguments: str, cwd: Path = tmp_path) -> Done:
        with contextlib.chdir(cwd):
            try:
                status: object = cli.main(arguments)
            except SystemExit as end:  # of argparse
                status = end.code
        return Done(status, *capfd.readouterr())

    return run
