"""Names: whoever reads one knows what it means, wherever it stands."""

from __future__ import annotations

import ast
import collections
from pathlib import Path

import hmacfs

PACKAGE = Path(hmacfs.__file__).parent


def test_a_class_name_is_defined_once() -> None:
    places = collections.defaultdict[str, list[str]](list)
    for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
