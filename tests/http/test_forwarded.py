"""What proxies say of their peers: which addresses are read, and that nothing else is."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmacfs.http import forwarded

PLAIN = [
    (b"203.0.113.7", ["203.0.113.7"]),
    (b"203.0.113.7, 10.0.0.1", ["10.0.0.1", "203.0.113.7"]),
    (b"203.0.113.7,10.0.0.1 ,\t10.0.0.2", ["10.0.0.2", "10.0.0.1", "203.0.113.7"]),
    (b"203.0.113.7:4711", ["203.0.113.7:4711"]),
    (b"2001:DB8::1", ["2001:db8::1"]),
    (b"[2001:db8::1]", ["2001:db8::1"]),
    (b"[2001:db8::1]:4711", ["[2001:db8::1]:4711"]),
    (b"::ffff:203.0.113.7", ["203.0.113.7"]),
    # What a client has written stands to the left, and does no harm there.
    (b'nobody", 203.0.113.7', ["203.0.113.7", None]),
    (b"", [None]),
    (b"unknown", [None]),
    (b"203.0.113.7,", [None]),
    (b"203.0.113.07", [None]),
    (b"203.0.113", [None]),
    (b"203.0.113.7:0", [None]),
    (b"203.0.113.7:65536", [None]),
    (b"203.0.113.7:", [None]),
    (b"[203.0.113.7]", [None]),
    (b"[2001:db8::1", [None]),
    (b"fe80::1%eth0", [None]),
    (b"203.0.113.7 10.0.0.1", [None]),
    (b"localhost", [None]),
    (b"\xff\xfe", [None]),
    ("\uff12\uff10\uff13.0.113.7".encode(), [None]),
]
SPOKEN = [
    (b"for=203.0.113.7", ["203.0.113.7"]),
    (b"For=203.0.113.7;proto=https;by=10.0.0.1", ["203.0.113.7"]),
    (b"proto=https;FOR=203.0.113.7", ["203.0.113.7"]),
    (b'for="203.0.113.7:4711"', ["203.0.113.7:4711"]),
    (b'for="[2001:db8::1]:4711"', ["[2001:db8::1]:4711"]),
    (b'for="[2001:db8::1]"', ["2001:db8::1"]),
    (b"for=203.0.113.7, for=10.0.0.1", ["10.0.0.1", "203.0.113.7"]),
    (b'for="broken, for=203.0.113.7', ["203.0.113.7", None]),
    (b"for=unknown, for=10.0.0.1", ["10.0.0.1", None]),
    (b'for="_hidden"', [None]),
    (b"for=2001:db8::1", [None]),  # RFC 7239 6: must be quoted and in brackets
    (b'for="2001:db8::1"', [None]),
    (b"for=203.0.113.7;for=203.0.113.8", [None]),
    (b"by=203.0.113.7", [None]),
    (b"xfor=203.0.113.7", [None]),
    (b'host="a;for=203.0.113.9;b";for=203.0.113.7', ["203.0.113.7"]),
    (b'host="a;for=203.0.113.9;b";by=203.0.113.7', [None]),
    (b"for=203.0.113.7;", [None]),
    (b"for = 203.0.113.7", [None]),
    (b'for="203.0.113.7\\""', [None]),
    (b"203.0.113.7", [None]),
]


def shown(nodes: object) -> list[str | None]:
    return [node and node.shown for node in nodes]  # type: ignore[attr-defined] # an iterator of nodes


@pytest.mark.parametrize(("value", "want"), PLAIN)
def test_x_forwarded_for(value: bytes, want: list[str | None]) -> None:
    assert shown(forwarded.forwarded_for(value)) == want


@pytest.mark.parametrize(("value", "want"), SPOKEN)
def test_forwarded(value: bytes, want: list[str | None]) -> None:
    assert shown(forwarded.forwarded(value)) == want


@pytest.mark.parametrize("read", [forwarded.forwarded_for, forwarded.forwarded])
@pytest.mark.parametrize("size", [490, 511, 512, 513, 16_000, 1_000_000])
def test_whatever_a_client_puts_before_the_proxys_own_word_is_read(read: object, size: int) -> None:
    own = b"203.0.113.7" if read is forwarded.forwarded_for else b"for=203.0.113.7"
    nodes = read(b"x" * size + b", " + own)  # type: ignore[operator] # one of two functions
    assert next(nodes).shown == "203.0.113.7"


@given(
    junk=st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=600),
    address=st.ip_addresses(),
    port=st.none() | st.integers(1, 65535),
)
def test_no_junk_changes_the_nearest_address(
    junk: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int | None
) -> None:
    own = f"[{address}]" if address.version == 6 else str(address)
    own = own if port is None else f"{own}:{port}"
    plain = f"{junk},{own}".encode("latin-1")
    spoken = f'{junk},for="{own}"'.encode("latin-1")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    for nodes in (forwarded.forwarded_for(plain), forwarded.forwarded(spoken)):
        node = next(nodes)
        assert node is not None
        assert node.host == str(address)


@given(st.binary(max_size=700))
def test_garbage_in_bulk_gives_addresses_or_nothing(value: bytes) -> None:
    for read in (forwarded.forwarded_for, forwarded.forwarded):
        for node in read(value):
            if node is not None:
                assert str(ipaddress.ip_address(node.host)) == node.host
