"""Patterns that each Python from 3.11.0 on reads alike.

Before 3.11.5 (Debian 12 has 3.11.2) a possessive quantifier behind a group, or an atomic group, may match what
it must not (https://github.com/python/cpython/issues/106052). Behind one character or a set it is sound.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import hmacfs

PACKAGE = Path(hmacfs.__file__).parent
UNSOUND = re.compile(r"(?<!\\)\)(?:[*+?]|\{\d+(?:,\d*)?\})\+|\(\?>")


def unsound(source: str) -> list[str]:
    """Return the string constants that hold such a pattern."""
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    texts = (value.decode("latin-1") if isinstance(value, bytes) else value for value in constants)
    return [text for text in texts if isinstance(text, str) and UNSOUND.search(text)]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_group_is_possessive(path: Path) -> None:
    assert unsound(path.read_text(encoding="utf-8")) == []


def test_such_a_group_is_found() -> None:
    assert unsound(r"a = r'(?:a|b)*+'; b = br'(?>a)'; c = f'(?:{a}){{2}}+'; d = r'\)++[*]+'") == [
        "(?:a|b)*+",
        "(?>a)",
        "){2}+",
    ]
