"""The table of bounds in docs/security.md names keys and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from hmacfs.config import keys
from hmacfs.config.settings import TABLES

ROOT: Final = Path(__file__).parents[2]
KEYS: Final = {entry.name for cls in TABLES.values() for entry in keys.entries(cls)}


def rows() -> list[tuple[str, str, str, str]]:
    """Return the table of what a client can take: resource, bound, key and test of each row."""
    table = (ROOT / "docs/security.md").read_text().partition("## What a client can take")[2]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    return [(resource, bound, key.strip("`- "), test.strip("`")) for resource, bound, key, test in cells]


def test_every_resource_has_a_row_of_its_own() -> None:
    resources = [resource for resource, *_ in rows()]
    assert len(set(resources)) == len(resources) >= 25


@pytest.mark.parametrize(("resource", "key", "test"), [(row[0], row[2], row[3]) for row in rows()])
def test_a_row_names_what_exists(resource: str, key: str, test: str) -> None:
    assert not key or key in KEYS, resource
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text()
    assert not name or re.search(rf"def {name}\b", text), test
