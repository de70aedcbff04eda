"""Storage in a real directory, or on a disk that can really be full."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import storage

from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def clock() -> storage.Clock:
    return storage.Clock()


@pytest.fixture
def store(root: Path, clock: storage.Clock) -> Iterator[Store]:
    opened = Store.open(str(root), storage.rules(), clock_ns=clock)
    yield opened
    opened.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a filesystem of 8 MiB and 200 inodes."""
    if os.geteuid():
        pytest.skip("needs root, to mount a small tmpfs")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=200", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)
