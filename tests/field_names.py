"""The names of all request fields on which the server decides anything, derived from its code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import hmacfs

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_NAMES = frozenset({"close", "keep-alive", "filename"})
"""Options of Connection, and a parameter."""
ROOMS = ("app", "auth", "connection", "http", "resume")
_NAME = re.compile(rb"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def looked_up() -> frozenset[str]:
    """Return each name that some code asks fields for: `.get(b"x")`, `[b"x"]`, `b"x" in`."""
    root = Path(hmacfs.__file__).parent
    found = set()
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            found |= set(_names(ast.parse(path.read_text())))
    return frozenset(found) - NO_NAMES


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        asked: ast.expr | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            asked = node.args[0] if node.args else None
        elif isinstance(node, ast.Subscript):
            asked = node.slice
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            asked = node.left
        if (
            isinstance(asked, ast.Constant)
            and isinstance(asked.value, bytes)
            and _NAME.fullmatch(asked.value)
        ):
            yield asked.value.decode()
