"""What the fault tests share: the right to mount, how many rounds to run, a line for the figures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import shims

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FULL = os.environ.get("HMACFS_FULL") == "1"


@pytest.fixture(scope="session")
def administrator() -> None:
    """Be root, or skip the test, which mounts disks of its own."""
    if os.geteuid():
        pytest.skip("needs root, to mount disks")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line that the terminal shows although output is captured: a figure to be quoted."""
    terminal = request.config.get_terminal_writer()
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None

    def show(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.line()
            terminal.line(f"{request.node.name}: {line}")

    return show


@pytest.fixture
def rounds() -> Callable[[int, int], int]:
    """Return how many rounds to run: the first number, or the second if HMACFS_FULL=1 asks for all."""
    return lambda few, many: many if FULL else few


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Path:
    """Return the library that makes a server's disk slow, or fail (`shims/faulty.c`)."""
    return shims.compiled(program("gcc"), "faulty", tmp_path_factory.mktemp("shims"))


@pytest.fixture(scope="session")
def trap(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Path:
    """Return the library that finds uses of closed numbers (`shims/trap.c`)."""
    return shims.compiled(program("gcc"), "trap", tmp_path_factory.mktemp("shims"))
