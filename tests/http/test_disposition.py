"""The name that a client gives its file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import disposition, media


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"", ""),
        (b"attachment", ""),
        (b"attachment; filename=a.txt", "a.txt"),
        (b'attachment; filename="a b.txt"', "a b.txt"),
        (b'attachment;filename = "a"', "a"),
        (b'form-data; name="x"; FileName="a"', "a"),
        (rb'attachment; filename="a\"b\\c"', r'a"b\c'),
        (b'attachment; filename="a;b"; x=y', "a;b"),
        ('attachment; filename="é"'.encode(), "é"),
        (b'attachment; filename="\xe9"', "é"),
        (b"attachment; filename=a; filename=b", "a"),
        (b"attachment; filename*=UTF-8''%C3%A9", "é"),
        (b"attachment; filename*=utf-8'en'%c3%a9; filename=e", "é"),
        (b"attachment; filename=e; filename*=iso-8859-1''%E9", "é"),
        (b"attachment; filename*=UTF-8''%ff; filename=e", "e"),
        (b"attachment; filename*=punycode''abc; filename=e", "e"),
        (b"attachment; filename*=idna''abc", ""),
        (b"attachment; filename*=utf-16''abc", ""),
        (b"attachment; filename*=UTF-8''", ""),
        (b"attachment; filename*0=a; filename*1=b", ""),
        (b'attachment; filename="a', ""),
        (b"attachment; ; ;filename=a", "a"),
        (b"; filename=a", ""),
        (b'a; filename="' + b";" * 15000, ""),
        (b"a" + b";" * 15000 + b"filename=a", "a"),
        (b"a; " + b'"' * 15000, ""),
        (b"a" + b";x=y" * 40 + b";filename=a", "a"),
    ],
)
def test_a_name(value: bytes, name: str) -> None:
    assert disposition.filename(value) == name


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_our_own_are_read(name: str) -> None:
    assert disposition.filename(media.disposition(name, "image/png").encode()) == name


@given(st.binary())
def test_anything_is_read(value: bytes) -> None:
    assert isinstance(disposition.filename(value), str)
