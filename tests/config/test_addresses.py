from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.config import addresses
from hmacfs.config.addresses import Tcp, Unix


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Tcp("127.0.0.1", 8080)),
        (":0", Tcp("", 0)),
        ("[::1]:65535", Tcp("::1", 65_535)),
        ("[fe80::1%eth0]:80", Tcp("fe80::1%eth0", 80)),
        ("files.example-1.org:80", Tcp("files.example-1.org", 80)),
        ("unix:/run/hmacfs/a b.sock", Unix("/run/hmacfs/a b.sock")),
    ],
)
def test_addresses(text: str, address: addresses.Address) -> None:
    assert addresses.parse(text) == address


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "host:port"),
        ("8080", '":8080"'),
        ("/run/x.sock", '"unix:/run/x.sock"'),
        ("::1:8080", "brackets"),
        ("[::1]", "brackets"),
        ("[1.2.3.4]:80", "IPv6"),
        ("[::g]:80", "IPv6"),
        ("1.2.3:80", "IPv4"),
        ("-a:80", "host name"),
        ("a_.b:80", "host name"),
        ("a:99999", "65535"),
        ("a:٨٠", "host:port"),
        ("a:+80", "host:port"),
        ("unix:", "absolute"),
        ("unix:/", "absolute"),
        ("unix:/" + "x" * 107, "107"),
        ("unix:/a\0b", "printable"),
        ("http://a:80", "brackets"),
    ],
)
def test_what_is_no_address(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        addresses.parse(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "localhost:80", True),
        ("127.0.0.1:80", ":80", True),
        ("0.0.0.0:80", "10.0.0.1:80", True),
        ("[::]:80", "10.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "10.0.0.1:80", False),
        (":0", ":0", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", ":80", False),
    ],
)
def test_overlap(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a table
    assert addresses.overlap(addresses.parse(one), addresses.parse(other)) is same
    assert addresses.overlap(addresses.parse(other), addresses.parse(one)) is same


@given(st.text() | st.from_regex(r"[\[\]:./a-z0-9%-]{1,20}:[0-9]{1,6}"))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        addresses.parse(text)
    except ValueError:
        return
