"""No yellow line inside nogil: a C loop of `_core` must not call into Python.

Cython's annotated listing scores each line by the Python API calls made for it; a `noexcept nogil` body
has to score 0 on every line, or it is not the C loop that its signature promises.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

COMPILED = [
    Path(__file__).parents[2] / "hmacfs" / f"{name}.pyx" for name in ("_core", "_drafts", "_asked", "_hot")
]
LISTED_LINE = re.compile(
    r'<pre class="cython line score-(?P<score>\d+)"[^>]*>.*?<span class="">0*(?P<number>\d+)</span>:'
)
SIGNATURE_END = re.compile(r"\bnoexcept\s+nogil\s*:\s*(#.*)?$")


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def signature_start(lines: list[str], end: int) -> int:
    """Go up from a signature's last line to the one that opens with its cdef."""
    start = end
    while not re.match(r"\s*(cdef|cpdef|ctypedef)\b", lines[start]):
        start -= 1
    return start


def nogil_body_lines(source: str) -> set[int]:
    """Return the numbers, from 1, of the lines inside bodies of `noexcept nogil` functions."""
    lines = source.splitlines()
    inside: set[int] = set()
    for end, line in enumerate(lines):
        if not SIGNATURE_END.search(line):
            continue
        depth = indent(lines[signature_start(lines, end)])
        for at in range(end + 1, len(lines)):
            if lines[at].strip() and indent(lines[at]) <= depth:
                break
            inside.add(at + 1)
    return inside


def yellow_lines(source: str, listing: str) -> list[str]:
    """Return each line inside a nogil body that calls Python, as `number: text`."""
    scores = {int(match["number"]): int(match["score"]) for match in LISTED_LINE.finditer(listing)}
    lines = source.splitlines()
    assert len(scores) == len(lines), "the listing is not of this source"
    return [f"{at}: {lines[at - 1].strip()}" for at in sorted(nogil_body_lines(source)) if scores[at] > 0]


SAMPLE = '''# cython: language_level=3
cdef int clean(int start,
               int stop) noexcept nogil:
    """A C loop."""
    cdef int at = start

    while at < stop:
        at += 1
    return at


cdef class Holder:
    cdef int number

    cdef int held(self) noexcept nogil:  # a method
        {body}

    def shown(self):
        return str(self.number)


def loop(int stop):
    return clean(0, stop)
'''


@pytest.mark.parametrize(
    ("body", "yellow"),
    [
        ("return self.number", []),
        ("return self.number // 3 if self.number else 0", []),
        ("with gil: print(self.number)", ["16: with gil: print(self.number)"]),
    ],
)
def test_a_python_call_in_a_nogil_body_is_found(body: str, yellow: list[str], tmp_path: Path) -> None:
    source = SAMPLE.replace("{body}", body)
    path = tmp_path / "sample.pyx"
    path.write_text(source)
    directives = ["-X", "cdivision=True"]
    subprocess.run([sys.executable, "-m", "cython", "-a", *directives, path], check=True, capture_output=True)
    assert yellow_lines(source, path.with_suffix(".html").read_text()) == yellow


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_no_yellow_line_inside_nogil(path: Path) -> None:
    source = path.read_text()
    assert nogil_body_lines(source), "there is no C loop at all"
    assert yellow_lines(source, path.with_suffix(".html").read_text()) == []
