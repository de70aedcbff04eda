"""A stand-in server for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from client.standin import Standin

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin() as server:
        yield server
