"""Redaction, escaping and shortening, whatever the client sends."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.log import REDACTED, clean
from hmacfs.log.text import CAP, as_it_is, bare, signed

MAC = "4c23854ab9efb2ecf58c994d8d189ce4d4945723809cea8f37f6c5c6bd2993e1"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzbG90IjoiYSJ9.7Hl-3LkVQ_x"


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"/upload/u/a.jpg", "/upload/u/a.jpg"),
        (f"/u/a?v={MAC}".encode(), "/u/a?v=-redacted-"),
        (b"/u/a?v=short", "/u/a?v=-redacted-"),
        (b"/u/a?v2=ab&x=1&v3=cd&expires=5", "/u/a?v2=-redacted-&x=1&v3=-redacted-&expires=5"),
        (b"/u/a?token=QUJD+/w==&user=j", "/u/a?token=-redacted-&user=j"),
        (b"/u/a?%76=abc", "/u/a?%76=-redacted-"),
        (b"/u/a?V2=abc", "/u/a?V2=-redacted-"),
        (b"/u/a?x=1?v=abc", "/u/a?x=1?v=-redacted-"),
        (b"/u/a?v=ab?cd", "/u/a?v=-redacted-"),
        (b"/u/a?v", "/u/a?v"),
        (f"/{MAC}/{MAC.upper()}0".encode(), "/-redacted-/-redacted-"),
        (MAC[:63].encode(), MAC[:63]),
        (f"token {MAC}?".encode(), "token -redacted-?"),
        (f"/u/a?anything={JWT}".encode(), "/u/a?anything=-redacted-"),
        (f"Bearer%20{JWT}".encode(), "Bearer%20-redacted-"),
        (f"x{JWT}".encode(), "x-redacted-"),
        (b"Authorization: Bearer c2VjcmV0Zm9v", "Authorization: Bearer -redacted-"),
        (b"http://user:pass@host/a", "http://-redacted-@host/a"),
        (b"/u/honeyJar.png", "/u/honeyJar.png"),
        (b"/a\r\nevent=x\x00\x1b[2J\x7f\xff", "/a\\x0d\\x0aevent=x\\x00\\x1b[2J\\x7f\\xff"),
        (b"/a\\x0d", "/a\\x5cx0d"),
        ("ü\u202e", "\\xc3\\xbc\\xe2\\x80\\xae"),
        ("name\udcff", "name\\xff"),
        ("\ud800", "\\xed\\xa0\\x80"),
    ],
)
def test_what_is_printed(raw: bytes | str, want: str) -> None:
    assert clean(raw) == want


@given(raw=st.binary() | st.text(st.characters()), cap=st.integers(10, 600))
def test_the_result_is_short_printable_ascii(raw: bytes | str, cap: int) -> None:
    shown = clean(raw, cap)
    assert len(shown) <= cap
    assert shown.isascii()
    assert shown.isprintable()


@given(raw=st.binary(max_size=100))
def test_escapes_can_be_read_back(raw: bytes) -> None:
    shown = clean(raw)
    if REDACTED not in shown:
        assert shown.encode().decode("unicode_escape").encode("latin-1") == raw


@given(filler=st.lists(st.sampled_from([b"\xff", b"a", b"\\"]), min_size=500, max_size=700))
def test_an_escape_is_never_cut(filler: list[bytes]) -> None:
    shown = clean(b"".join(filler)).removesuffix("...")
    assert all(piece[:1] == "x" and len(piece) >= 3 for piece in shown.split("\\")[1:])


@given(
    before=st.binary(max_size=600),
    after=st.binary(max_size=50),
    name=st.sampled_from([b"v", b"v2", b"v3", b"token"]),
)
def test_a_token_is_never_printed(before: bytes, after: bytes, name: bytes) -> None:
    shown = clean(before + b"?" + name + b"=" + MAC.encode() + b"&" + after)
    assert MAC[8:24] not in shown
    shown = clean(before + b"/" + JWT.encode() + b"/" + after)
    assert JWT[3:20] not in shown


@given(raw=st.text('abc/.?=&%@ -_eyJ\\"é', max_size=40).map(str.encode) | st.binary(max_size=20))
def test_the_short_way_gives_what_the_long_one_does(raw: bytes) -> None:
    if shown := as_it_is(raw):
        assert shown == clean(raw)
        assert bare(shown)


@given(
    path=st.text("abc/.?=&%@ -_eyJ0", max_size=40)
    | st.sampled_from(["/" + "a" * 495, "/" + "a" * 511, f"/{MAC}"]),
    name=st.sampled_from(["v", "v2", "token", "V", "x", ""]),
    mac=st.sampled_from([MAC, MAC.upper(), MAC[1:], f"{MAC}0", f"{MAC}&a=b", ""]),
)
def test_a_signed_target_is_shown_the_same_either_way(path: str, name: str, mac: str) -> None:
    raw = f"{path}?{name}={mac}".encode()
    assert signed(raw) in {"", clean(raw)}
    assert MAC not in signed(raw)


def test_the_target_of_an_upload_takes_the_short_way() -> None:
    assert signed(f"/upload/u/a.jpg?v2={MAC}".encode()) == "/upload/u/a.jpg?v2=-redacted-"


@pytest.mark.parametrize(
    "piece",
    [
        b"a",
        b"eyJ",
        b"eyJ.",
        b"f",
        b"?",
        b"&",
        b"&v=",
        b"//",
        b"//a",
        b"Bearer ",
        b"basic%20",
        b"%20",
        b".-",
        b"@",
        b"\\",
    ],
)
def test_no_text_takes_long(piece: bytes) -> None:
    raw = (piece * 65536)[:65536]
    started = time.process_time()
    clean(raw)
    clean(b"?" + raw + b"@ eyJ")
    clean(b"&%" + raw + b"@%20eyJ")
    assert time.process_time() - started < 0.5  # a pattern that is quadratic takes many seconds


def test_the_cap_is_marked() -> None:
    assert clean("x" * 1000) == "x" * (CAP - 3) + "..."
