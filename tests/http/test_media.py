"""Media types and Content-Disposition."""

from __future__ import annotations

import email.message
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import media


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.JPG", "image/jpeg"),
        ("a.b.webm", "video/webm"),
        ("voice.opus", "audio/ogg"),
        ("voice.m4a", "audio/mp4"),
        ("a.heic", "image/heic"),
        ("a.jxl", "image/jxl"),
        ("a.7z", "application/x-7z-compressed"),
        ("a.apk", "application/vnd.android.package-archive"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ("a", media.DEFAULT_TYPE),
        ("a.", media.DEFAULT_TYPE),
        ("jpg", media.DEFAULT_TYPE),
        (".jpg", media.DEFAULT_TYPE),
        ("", media.DEFAULT_TYPE),
        ("a.unheard-of", media.DEFAULT_TYPE),
        ("a.jpg ", media.DEFAULT_TYPE),
    ],
)
def test_guess_by_ending(name: str, want: str) -> None:
    assert media.guess(name) == want


def test_the_table_holds_media_types_only() -> None:
    for ending, content_type in media._TYPES.items():
        assert ending == ending.lower()
        assert media.safe_type(content_type, "x") == content_type
    assert len(media._TYPES) >= 80


@pytest.mark.parametrize(
    ("content_type", "want"),
    [
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("audio/ogg; codecs=opus", True),
        ("video/mp4", True),
        ("text/plain", True),
        ("Text/Plain; charset=iso-8859-1", True),
        ("image/svg+xml", False),
        ("image/SVG+xml; a=b", False),
        ("image/svg", False),
        ("image/x-svg", False),
        ("image/x+xml", False),  # any +xml is markup to a browser
        ("video/xml", False),
        ("text/html", False),
        ("text/plainer", False),
        ("text/css", False),
        ("application/pdf", False),
        ("application/octet-stream", False),
        ("multipart/x-mixed-replace", False),
        ("image/png, text/html", False),
        ("image/", False),
        ("image", False),
        ("", False),
    ],
)
def test_inline_is_for_what_cannot_run(content_type: str, want: object) -> None:
    assert media.inline(content_type) is want


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "text/plain",
        "text/plain;charset=utf-8",
        'text/plain ; charset="utf-8"; x="a\\"b;c"',
        "application/vnd.a.b+json;",
        "x/" + "y" * 253,
    ],
)
def test_a_signed_type_is_served_as_signed(content_type: str) -> None:
    assert media.safe_type(content_type, "a.mp3") == content_type


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "jpeg",
        "image/",
        "/jpeg",
        "image/jpeg\r\nX: y",
        "image/jpeg\n",
        "image/jpeg; a=\tb",
        'image/jpeg; a="\t"',
        "image/jpeg; a",
        'image/jpeg; a="b',
        "im age/jpeg",
        "image/jpeg, text/html",
        "image/jp\u00e9g",
        "x/" + "y" * 254,
        "x/y" + " ;" * 120 + "!",
    ],
)
def test_what_is_no_type_is_guessed(content_type: str | None) -> None:
    assert media.safe_type(content_type, "a.mp3") == "audio/mpeg"


def test_disposition_of_a_plain_name() -> None:
    assert (
        media.disposition("a b.png", "image/png")
        == "inline; filename=\"a b.png\"; filename*=UTF-8''a%20b.png"
    )


def test_disposition_of_a_name_from_elsewhere() -> None:
    assert (
        media.disposition('na\u00efve "100%".html', "text/html")
        == "attachment; filename=\"na_ve _100__.html\"; filename*=UTF-8''na%C3%AFve%20%22100%25%22.html"
    )


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64))
def test_disposition_gives_the_name_back(name: str) -> None:
    value = media.disposition(name, "application/pdf")
    assert value.isascii()
    assert value.isprintable()
    how, plain, extended = value.split("; ", 1)[0], *value.split("; ", 1)[1].rsplit("; ", 1)
    assert how == "attachment"
    assert plain.startswith('filename="')
    assert not set(plain.removeprefix('filename="').removesuffix('"')) & set('"\\%;')
    assert urllib.parse.unquote(extended.removeprefix("filename*=UTF-8''"), errors="strict") == name
    message = email.message.Message()
    message["Content-Disposition"] = f"{how}; {extended}"
    assert message.get_filename() == name.strip()  # as the email package has it


@given(name=st.text(max_size=64))
def test_no_name_breaks_the_disposition(name: str) -> None:
    value = media.disposition(name, "image/png")
    assert value.isascii()
    assert value.isprintable()


@given(content_type=st.text(max_size=300) | st.text('ab/;= "\\\t', max_size=300))
def test_any_type_becomes_a_safe_one(content_type: str) -> None:
    value = media.safe_type(content_type, "x")
    assert value.isascii()
    assert value.isprintable()
    assert "/" in value
