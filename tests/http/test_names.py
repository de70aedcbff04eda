"""Names longer than a file system's: one place on disk each, found again by the URL alone."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hmacfs.http import media, names

SEGMENTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=400),
    st.integers(250, 300).map(lambda size: "a" * size),
    st.integers(120, 900).map(lambda size: "ж" * size + ".pdf"),
    st.text("0123456789abcdef", min_size=60, max_size=66).map(lambda digits: f"a~{digits}.pdf"),
)


@pytest.mark.parametrize(
    "path", ["", "a", "slot/a.txt", "a" * 255, "ж" * 127, f"{'a' * 200}/{'b' * 200}", f"a~{'0' * 63}.pdf"]
)
def test_what_fits_keeps_its_name(path: str) -> None:
    assert names.on_disk(path) == path


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("ж" * 130 + ".pdf", ".pdf"),
        ("a" * 256, ""),
        ("a" * 300 + ".tar.gz", ".gz"),
        ("a." + "b" * 300, ""),
        ("." + "b" * 300, ""),
        ("a" * 300 + ".", ""),
        ("😀" * 100 + ".документ", ".документ"),
    ],
)
def test_what_does_not_fit_is_cut_and_keeps_its_ending(name: str, ending: str) -> None:
    short = names.on_disk(name)
    assert len(short.encode()) <= names.SEGMENT_BYTES
    assert re.fullmatch(rf".*~[0-9a-f]{{64}}{re.escape(ending)}", short, re.DOTALL)
    assert name.startswith(short.partition("~")[0])
    assert names.on_disk(f"slot/{name}") == f"slot/{short}"
    assert names.on_disk(f"{name}/a") == f"{short}/a"


@given(SEGMENTS, SEGMENTS)
@example("ж" * 130, "ж" * 131)
def test_no_two_names_share_a_place(one: str, other: str) -> None:
    for first, second in (
        (one, other),
        (one, names.on_disk(one)),
        (names.on_disk(one), names.on_disk(other)),
    ):
        assert (names.on_disk(first) == names.on_disk(second)) == (first == second)
    assert len(names.on_disk(one).encode()) <= names.SEGMENT_BYTES


@pytest.mark.parametrize("name", ["ж" * 130 + ".pdf", "a" * 1000, "ж" * 1300 + ".pdf"])
def test_the_whole_name_goes_with_the_file(name: str) -> None:
    field = media.disposition(name, "application/pdf")
    assert unquote(field.partition("filename*=UTF-8''")[2]) == name
    plain = re.search('filename="([^"]*)"', field)
    assert plain is not None
    assert len(plain[1]) <= names.SEGMENT_BYTES


def test_a_field_has_a_bound() -> None:
    """Of a name whose characters stand in a URL as they are, and in a field must not."""
    field = media.disposition("(" * 8000 + ".pdf", "application/pdf")
    assert len(field) < names.ENCODED_MOST
    assert field.endswith(".pdf")
