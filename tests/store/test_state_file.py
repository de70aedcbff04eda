"""Memos: read as written, whole or as before, and never more than a convenience."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hmacfs.store import state_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "some.json"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_the_last_memo_is_read(directory: int) -> None:
    assert state_file.read(directory, NAME) == b""
    for written in (b"first and longer", b"second"):
        state_file.write(directory, NAME, written)
        assert state_file.read(directory, NAME) == written
    assert os.listdir(directory) == [NAME]


def test_one_that_cannot_be_written_leaves_the_one_before(directory: int) -> None:
    state_file.write(directory, NAME, b"before")
    os.mkdir(f"{NAME}.new", dir_fd=directory)
    with pytest.raises(IsADirectoryError):
        state_file.write(directory, NAME, b"after")
    assert state_file.read(directory, NAME) == b"before"


def test_what_is_no_plain_file_is_no_memo(directory: int) -> None:
    os.symlink("/etc/hostname", NAME, dir_fd=directory)
    assert state_file.read(directory, NAME) == b""
