"""Targets taken apart, the Host grammar and the one decoding of a path."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.errors import BAD_PATH, BAD_TARGET, Refusal, Refused
from hmacfs.http import target


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"/", "/"),
        (b"/a", "/a"),
        (b"/a/", "/a/"),
        (b"/a+b", "/a+b"),
        (b"/a%2Bb", "/a+b"),
        (b"/%41%7e%7E", "/A~~"),
        (b"/tr%c3%a8s%20cool", "/très cool"),
        (b"/%f0%9f%98%80", "/😀"),
        (b"/%252F", "/%2F"),  # decoded once
        (b"/%25zz", "/%zz"),
        (b"/...", "/..."),
        (b"/.a/..b/c..", "/.a/..b/c.."),
        (b"/" + b"a" * 255, "/" + "a" * 255),
        (b"/" + b"%e2%82%ac" * 85, "/" + "€" * 85),
        (b"/a" * 300, "/a" * 300),
        (b"/" + b"a" * 8000, "/" + "a" * 8000),  # how it is named on disk is for others to say
    ],
)
def test_a_path_is_decoded_once(raw: bytes, want: str) -> None:
    assert target.decode_path(raw) == want


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b"", BAD_PATH),
        (b"a", BAD_PATH),
        (b"//", BAD_PATH),
        (b"//a", BAD_PATH),
        (b"/a//b", BAD_PATH),
        (b"/a//", BAD_PATH),
        (b"/.", BAD_PATH),
        (b"/..", BAD_PATH),
        (b"/./", BAD_PATH),
        (b"/a/../b", BAD_PATH),
        (b"/a/%2e%2E/b", BAD_PATH),
        (b"/a/%2e", BAD_PATH),
        (b"/a%2fb", BAD_PATH),
        (b"/a%2Fb", BAD_PATH),
        (b"/a%5cb", BAD_PATH),
        (b"/a\\b", BAD_PATH),
        (b"/a%00", BAD_PATH),
        (b"/a%1f", BAD_PATH),
        (b"/a%0Ab", BAD_PATH),
        (b"/a%7f", BAD_PATH),
        (b"/a\x00", BAD_PATH),
        (b"/a%", BAD_PATH),
        (b"/a%4", BAD_PATH),
        (b"/a%4/", BAD_PATH),
        (b"/a%zz", BAD_PATH),
        (b"/a% 1", BAD_PATH),
        (b"/%c0%af", BAD_PATH),  # overlong "/"
        (b"/%e0%80%af", BAD_PATH),
        (b"/%c0%80", BAD_PATH),  # overlong NUL
        (b"/%ed%a0%80", BAD_PATH),  # a surrogate
        (b"/%f4%90%80%80", BAD_PATH),  # past U+10FFFF
        (b"/%e2%82", BAD_PATH),
        (b"/%ff", BAD_PATH),
    ],
)
def test_a_path_that_could_mean_another_is_refused(raw: bytes, refusal: Refusal) -> None:
    with pytest.raises(Refused) as caught:
        target.decode_path(raw)
    assert caught.value.refusal == refusal


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"/a\\b", "backslash"),
        (b"/a%5Cb", "backslash"),
        (b"/a%2Fb", "encoded slash"),
        (b"/a//b", "empty segment"),
        (b"/a/./b", "dot segment"),
        (b"/a/%2e%2e", "dot segment"),
        (b"/a%0A", "control character"),
        (b"/a%zz", "percent sign"),
        (b"/%ff", "UTF-8"),
    ],
)
def test_a_refusal_names_what_is_wrong(raw: bytes, named: str) -> None:
    with pytest.raises(Refused) as caught:
        target.decode_path(raw)
    assert named in caught.value.detail


@given(raw=st.text(st.sampled_from("/.%2eEfF5cC0a\\\x00é"), max_size=20))
def test_no_decoded_path_climbs(raw: str) -> None:
    try:
        path = target.decode_path(b"/" + raw.encode())
    except Refused:
        return
    assert path.startswith("/")
    assert not {".", ".."} & set(path.split("/"))
    assert "" not in path.split("/")[1:-1]
    assert not any(char in path for char in "\\\x00\x7f")


@given(segments=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=4))
def test_what_a_client_encodes_is_read_back(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    sound = all(
        segment not in {".", ".."} and not any(ord(char) < 0x20 or char in "/\\\x7f" for char in segment)
        for segment in segments
    )
    try:
        raw = quote(path, safe="/").encode("ascii")
        got = target.decode_path(raw)
    except (Refused, UnicodeEncodeError):
        assert not sound
    else:
        assert got == path


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"/a", (None, b"/a", b"")),
        (b"/a?", (None, b"/a", b"")),
        (b"/a?b?c", (None, b"/a", b"b?c")),
        (b"//a", (None, b"//a", b"")),
        (b"http://h", (b"h", b"/", b"")),
        (b"http://h?q", (b"h", b"/", b"q")),
        (b"HTTPS://h:443/a?q?r", (b"h:443", b"/a", b"q?r")),
        (b"http://[::1]:8080/a", (b"[::1]:8080", b"/a", b"")),
        (b"*", (None, b"*", b"")),
    ],
)
def test_a_target_is_taken_apart(raw: bytes, want: tuple[bytes | None, bytes, bytes]) -> None:
    assert target.split(raw, is_options=True) == want


@pytest.mark.parametrize(
    "raw",
    [
        b"*",
        b"a",
        b"?a",
        b"/a#b",
        b"/a%",
        b"/a?%4",
        b"http:///a",
        b"http://u@h/a",
        b"http://u:p@h/a",
        b"http://h:99999/a",
        b"ftp://h/a",
        b"http:/h/a",
        b"h:443",
    ],
)
def test_a_target_of_no_form_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        target.split(raw, is_options=False)
    assert caught.value.refusal == BAD_TARGET


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"a", True),
        (b"a.b-c_d~e", True),
        (b"a:", True),
        (b"a:0", True),
        (b"a:65535", True),
        (b"a:" + b"0" * 6000 + b"80", True),
        (b"127.0.0.1:80", True),
        (b"[::]", True),
        (b"[::ffff:1.2.3.4]:1", True),
        (b"ex%C3%A4mple", True),
        (b"", False),
        (b":80", False),
        (b"a:65536", False),
        (b"a:" + b"9" * 6000, False),
        (b"a:b", False),
        (b"a:1:2", False),
        (b"a b", False),
        (b"a/b", False),
        (b"u@a", False),
        (b"%zz", False),
        (b"\xe4", False),
        (b"[]", False),
        (b"[::1", False),
        (b"[::1]a", False),
        (b"[1.2.3.4]", False),
        (b"[v1.a]", False),
        (b"[fe80::1%25eth0]", False),
        (b"a\n", False),
    ],
)
def test_a_host_follows_the_grammar(raw: bytes, want: bool) -> None:  # noqa: FBT001 - a table's column
    assert target.is_authority(raw) is want
