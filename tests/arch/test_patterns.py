"""Patterns that each Python from 3.11.0 on reads alike.

Before 3.11.5 (Debian 12 has 3.11.2) a possessive quantifier behind a group, or an atomic group, may match
what it must not (github.com/python/cpython, issue 106052). Behind one character or a set of them it is sound.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from arch import modules

PARSER: Any = importlib.import_module("re._parser")
SINGLE = {"LITERAL", "NOT_LITERAL", "IN", "ANY"}


def is_unsound(parsed: Any) -> bool:
    """Whether a parsed pattern, or a part of it, holds more than one character possessively."""
    if isinstance(parsed, tuple) and len(parsed) == 2 and str(parsed[0]) == "ATOMIC_GROUP":
        return True
    if isinstance(parsed, tuple) and len(parsed) == 2 and str(parsed[0]) == "POSSESSIVE_REPEAT":
        return [str(part[0]) in SINGLE for part in parsed[1][2]] != [True]
    parts = parsed.data if isinstance(parsed, PARSER.SubPattern) else parsed
    return isinstance(parts, (tuple, list)) and any(is_unsound(part) for part in parts)


@pytest.mark.parametrize("name", modules.IMPORTABLE)
def test_no_group_is_possessive(name: str) -> None:
    values = vars(importlib.import_module(name)).values()
    patterns = [value for value in values if isinstance(value, re.Pattern)]
    assert [found.pattern for found in patterns if is_unsound(PARSER.parse(found.pattern, found.flags))] == []


@pytest.mark.parametrize(
    ("pattern", "unsound"),
    [
        ("(?:a|bc)*+", True),
        ("x(y(?>a))", True),
        ("(?:a(?:bc){2}+|d)", True),
        (r"[()*+]*+a++\)++.?+", False),
        ("(a|b)+(?:c*+)*", False),
    ],
)
def test_such_a_group_is_found(pattern: str, *, unsound: bool) -> None:
    assert is_unsound(PARSER.parse(pattern)) is unsound
