"""Upload-Metadata: keys and Base64 values."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.resume import metadata

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1)


def test_the_protocols_example() -> None:
    read = metadata.read("filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential")
    assert read == {"filename": b"world_domination_plan.pdf", "is_confidential": b""}


@given(
    pairs=st.dictionaries(KEYS, st.binary(max_size=30), min_size=1, max_size=5),
    gap=st.sampled_from(["", " "]),
)
def test_it_reads_as_it_was_made(pairs: dict[str, bytes], gap: str) -> None:
    made = f",{gap}".join(f"{key} {base64.b64encode(value).decode()}" for key, value in pairs.items())
    assert metadata.read(made) == pairs
    assert metadata.sent(made.encode()) == made


@pytest.mark.parametrize("value", [None, b""])
def test_nothing_sent(value: bytes | None) -> None:
    assert metadata.sent(value) is None


@pytest.mark.parametrize(
    "value",
    [
        b",",
        b"a YQ==,",
        b"a YQ==,a Yg==",
        b"a,a",
        b"a Y",
        b"a YQ",
        b"a Y!==",
        b"a YQ== YQ==",
        b"a  YQ==",
        b"\xe9 YQ==",
    ],
)
def test_what_is_malformed_is_refused(value: bytes) -> None:
    with pytest.raises(Refused) as caught:
        metadata.sent(value)
    assert caught.value.refusal is errors.UPLOAD_METADATA


@given(value=st.binary(max_size=40))
def test_any_bytes_are_metadata_or_refused(value: bytes) -> None:
    text = None
    with contextlib.suppress(Refused):
        text = metadata.sent(value)
    assert text is None or (text.isascii() and text.isprintable())
