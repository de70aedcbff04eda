"""Tables and properties of the PROXY protocol's header; `proxy-protocol.txt` names the cases."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import proxy
from hmacfs.http.proxy import Header, Malformed

if TYPE_CHECKING:
    import ipaddress

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([203, 0, 113, 7, 192, 0, 2, 1]) + struct.pack("!HH", 50000, 443)
SIX = bytes.fromhex("20010db8000000000000000000000007" * 2) + struct.pack("!HH", 50000, 443)
PATHS = b"/run/client.sock".ljust(108, b"\0") + b"/run/server.sock".ljust(108, b"\0")
TLVS = b"\x01\x00\x02h2" + b"\x04\x00\x03\0\0\0"  # PP2_TYPE_ALPN, PP2_TYPE_NOOP


def v2(family: int, rest: bytes, *, kind: int = 0x21, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", kind, family, len(rest) if length is None else length) + rest


GOOD = {
    "v1 TCP4": (b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 443\r\n", "203.0.113.7:50000"),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::7 2001:DB8::1 50000 443\r\n", "[2001:db8::7]:50000"),
    "v1 TCP6, mapped": (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 0 65535\r\n", "203.0.113.7:0"),
    "v1 longest TCP6": (
        b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
        "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
    ),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", ""),
    "v1 UNKNOWN with whatever, 107 bytes": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", ""),
    "v2 TCP4": (v2(0x11, FOUR), "203.0.113.7:50000"),
    "v2 UDP4": (v2(0x12, FOUR), "203.0.113.7:50000"),
    "v2 TCP6": (v2(0x21, SIX), "[2001:db8::7]:50000"),
    "v2 UNIX": (v2(0x31, PATHS), "unix"),
    "v2 UNSPEC": (v2(0x00, b""), ""),
    "v2 UNSPEC with bytes": (v2(0x00, b"whatever"), ""),
    "v2 LOCAL": (v2(0x00, b"", kind=0x20), ""),
    "v2 LOCAL: the family is ignored": (v2(0xFF, b"xyz", kind=0x20), ""),
    "v2 with TLVs": (v2(0x11, FOUR + TLVS), "203.0.113.7:50000"),
    "v2 of the longest": (v2(0x21, SIX.ljust(proxy.MOST_BYTES - 16, b"\0")), "[2001:db8::7]:50000"),
}

BAD = {
    "a request": b"GET / HTTP/1.1\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00",
    "lower case": b"proxy TCP4 203.0.113.7 192.0.2.1 50000 443\r\n",
    "v1 of another family": b"PROXY UDP4 203.0.113.7 192.0.2.1 50000 443\r\n",
    "v1 with two spaces": b"PROXY TCP4  203.0.113.7 192.0.2.1 50000 443\r\n",
    "v1 with a space at the end": b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 443 \r\n",
    "v1 without ports": b"PROXY TCP4 203.0.113.7 192.0.2.1\r\n",
    "v1 port too large": b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
    "v1 other port too large": b"PROXY TCP4 203.0.113.7 192.0.2.1 443 65536\r\n",
    "v1 port with a zero before it": b"PROXY TCP4 203.0.113.7 192.0.2.1 050 443\r\n",
    "v1 port negative": b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 443\r\n",
    "v1 address with a zero before it": b"PROXY TCP4 203.0.113.07 192.0.2.1 50000 443\r\n",
    "v1 IPv6 as TCP4": b"PROXY TCP4 ::1 ::1 50000 443\r\n",
    "v1 IPv4 as TCP6": b"PROXY TCP6 203.0.113.7 192.0.2.1 50000 443\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 ::1 50000 443\r\n",
    "v1 name": b"PROXY TCP4 localhost 192.0.2.1 50000 443\r\n",
    "v1 not ASCII": b"PROXY TCP4 203.0.113.\xd9\xa7 192.0.2.1 50000 443\r\n",
    "v1 UNKNOWN run into another word": b"PROXY UNKNOWNS\r\n",
    "v1 nothing": b"PROXY \r\n",
    "v1 line end without CR": b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 443\n\r\n",
    "v1 of 108 bytes": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "v1 without an end": b"PROXY UNKNOWN " + b"f" * 93,
    "v2 signature, changed": b"\r\n\r\n\0\r\nQUIT\r",
    "v2 version 1": v2(0x11, FOUR, kind=0x11),
    "v2 command 2": v2(0x11, FOUR, kind=0x22),
    "v2 family 4": v2(0x41, PATHS),
    "v2 transport 3": v2(0x13, FOUR),
    "v2 TCP4, addresses short": v2(0x11, FOUR[:-1]),
    "v2 TCP6, addresses of TCP4": v2(0x21, FOUR),
    "v2 UNIX, paths short": v2(0x31, PATHS[:-1]),
    "v2 longer than is taken": v2(0x11, FOUR, length=proxy.MOST_BYTES - 15),
    "v2 of 64 KiB": v2(0x11, FOUR, length=65535),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_header_names_the_client_and_ends_where_it_ends(name: str) -> None:
    data, client = GOOD[name]
    for rest in (b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"\0" * 5000):
        assert proxy.parse(data + rest) == Header(len(data), client)


@pytest.mark.parametrize("name", GOOD)
def test_a_header_cut_anywhere_is_waited_for(name: str) -> None:
    data, _ = GOOD[name]
    assert [proxy.parse(data[:end]) for end in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_said_so(name: str) -> None:
    with pytest.raises(Malformed):
        proxy.parse(BAD[name])


@pytest.mark.parametrize("name", BAD)
def test_the_verdict_does_not_depend_on_the_cuts(name: str) -> None:
    """Once malformed, always malformed; and never a header before that."""
    said = [verdict(BAD[name][:end]) for end in range(len(BAD[name]) + 1)]
    first = said.index("malformed")
    assert said == [None] * first + ["malformed"] * (len(said) - first)


def verdict(data: bytes) -> str | Header | None:
    try:
        return proxy.parse(data)
    except Malformed:
        return "malformed"


@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda rest: b"PROXY " + rest),
        st.binary(max_size=300).map(lambda rest: SIGNATURE + rest),
        st.tuples(st.sampled_from(sorted(GOOD)), st.integers(0, 60), st.binary(min_size=1, max_size=3)).map(
            lambda t: GOOD[t[0]][0][: t[1]] + t[2] + GOOD[t[0]][0][t[1] + len(t[2]) :]
        ),
    )
)
def test_whatever_comes_the_parser_ends_within_its_bounds(data: bytes) -> None:
    said = [verdict(data[:end]) for end in range(len(data) + 1)]
    whole = said[-1]
    settled = next((one for one in said if one is not None), None)
    assert whole == settled
    if isinstance(whole, Header):
        assert 15 <= whole.length <= len(data)
        assert whole.client.isprintable()
        assert whole.client.isascii()


@given(source=st.ip_addresses(), port=st.integers(0, 65535), tlvs=st.binary(max_size=200))
def test_both_versions_name_the_same_client(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, tlvs: bytes
) -> None:
    family, number = ("TCP4", 0x11) if source.version == 4 else ("TCP6", 0x21)
    text = f"PROXY {family} {source} {source} {port} 443\r\n".encode()
    raw = v2(number, source.packed * 2 + struct.pack("!HH", port, 443) + tlvs)
    one, two = proxy.parse(text), proxy.parse(raw)
    assert one is not None
    assert two is not None
    assert one.client == two.client
    mapped = getattr(source, "ipv4_mapped", None)
    assert str(mapped or source) in one.client
