from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.config import locate

if TYPE_CHECKING:
    from hmacfs.config.report import KeyPath

DOCUMENT = """\
# a comment with = and [brackets]
top = 1
[server]
a.b = 2
'quoted \"key\"' = '''
[not.a.table]
x = 1
'''
list = [ # comment
  "one", [1,
  2], { in = "line", more = [true] },
]
date = 1979-05-27 07:32:00
[[endpoint]]
prefix = "/a/"
[endpoint.deep]
x = 1
[[endpoint]]
prefix = "/b/"
[ spaced . "name" ]
'' = 0
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("server",), 3),
        (("server", "a"), 4),
        (("server", "a", "b"), 4),
        (("server", 'quoted "key"'), 5),
        (("server", "list"), 9),
        (("server", "list", 0), 10),
        (("server", "list", 1, 0), 10),
        (("server", "list", 1, 1), 11),
        (("server", "list", 2, "in"), 11),
        (("server", "list", 2, "more", 0), 11),
        (("server", "date"), 13),
        (("endpoint",), 14),
        (("endpoint", 0), 14),
        (("endpoint", 0, "prefix"), 15),
        (("endpoint", 0, "deep", "x"), 17),
        (("endpoint", 1), 18),
        (("endpoint", 1, "prefix"), 19),
        (("spaced", "name"), 20),
        (("spaced", "name", ""), 21),
    ],
)
def test_each_key_has_its_line(path: KeyPath, line: int) -> None:
    tomli.loads(DOCUMENT)
    assert locate.lines(DOCUMENT)[path] == line
    assert locate.lines(DOCUMENT.replace("\n", "\r\n"))[path] == line


@pytest.mark.parametrize(
    "string",
    [
        '"""a\nb"""',
        '"""a""b"""',
        '"""x"""""',
        "'''a\n'b'''''",
        '"""\\"""\n"""',
        '"]}#"',
        "'\\'",
        '""',
        "''",
        '""""""',
        '"\\\\"',
    ],
)
def test_strings_end_where_tomli_ends_them(string: str) -> None:
    text = f"a = {string}\nb = [{string}, {string}]\nc = 1\n"
    tomli.loads(text)
    found = locate.lines(text)
    assert set(found) == {("a",), ("b",), ("b", 0), ("b", 1), ("c",)}
    assert found[("c",)] == text.count("\n")


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every key path of a document."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= paths(inner, (*path, index))
    return found


def inline(value: Any) -> str:
    """Write a value on one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inline(key)} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8)
VALUES = st.recursive(
    WORDS | st.integers(-9, 9) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, VALUES, max_size=6), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_every_key_of_a_generated_document_is_found(document: dict[str, Any], gaps: list[int]) -> None:
    text = ""
    lines = {}
    for (key, value), gap in zip(document.items(), gaps, strict=False):
        text += "# = [\n" * gap
        lines[key] = text.count("\n") + 1
        text += f"{inline(key)} = {inline(value)}\n"
    assert tomli.loads(text) == document
    found = locate.lines(text)
    assert set(found) == paths(document)
    assert all(line == lines[str(path[0])] for path, line in found.items())
