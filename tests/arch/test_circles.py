"""No module imports in a circle, for types alone neither: what is below can be read without what is above."""

from __future__ import annotations

import graphlib
from collections import defaultdict

import grimp
import pytest

GRAPH = grimp.build_graph("hmacfs", cache_dir=None)
# `context`, `exchange`, `observer` and `protocol` go in a circle, until the connection is in four.
BEING_SPLIT = "hmacfs.connection"


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle; none if there is none."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def imports_of(module: str) -> set[str]:
    return {name for name in GRAPH.find_modules_directly_imported_by(module) if name.startswith("hmacfs.")}


def test_no_modules_go_in_a_circle() -> None:
    imports = {module: imports_of(module) for module in GRAPH.modules if not module.startswith(BEING_SPLIT)}
    assert circle(imports) == []


@pytest.mark.parametrize(
    "room", sorted({module for module in GRAPH.modules if GRAPH.find_children(module)} - {BEING_SPLIT})
)
def test_no_parts_of_a_room_go_in_a_circle(room: str) -> None:
    """A package in a room counts as one, and so do the rooms."""
    depth = room.count(".") + 2
    imports = defaultdict[str, set[str]](set)
    for module in GRAPH.modules:
        if module.startswith(f"{room}."):
            part = ".".join(module.split(".")[:depth])
            others = {".".join(name.split(".")[:depth]) for name in imports_of(module)}
            imports[part] |= {name for name in others if name.startswith(f"{room}.")} - {part}
    assert circle(imports) == []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
