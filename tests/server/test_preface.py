"""A client that speaks HTTP/2 at once learns that it must not, in frames that it can read (RFC 9113)."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
import serving
import wire
from wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000000040000000000")
HTTP_1_1_REQUIRED = 13


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(tmp_path_factory.mktemp("preface")) as server:
        yield server
        wire.settle(server)


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return type, flags, stream and payload of each frame (RFC 9113 4.1); what is none fails."""
    found = []
    while data:
        length, (kind, flags, stream) = int.from_bytes(data[:3]), struct.unpack("!BBI", data[3:9])
        assert len(data) >= 9 + length
        found.append((kind, flags, stream, data[9 : 9 + length]))
        data = data[9 + length :]
    return found


@pytest.mark.parametrize("cut", range(len(PREFACE) + 1))
def test_it_is_told_to_use_http1_wherever_the_preface_is_cut(server: Server, cut: int) -> None:
    with Wire(server) as client:
        client.send(PREFACE[:cut])
        client.send(PREFACE[cut:] + SETTINGS)
        first, last = frames(client.rest())
    assert first == (4, 0, 0, b"")  # SETTINGS come first (RFC 9113 3.4)
    assert (last[0], last[2]) == (7, 0)
    assert struct.unpack("!II", last[3][:8]) == (0, HTTP_1_1_REQUIRED)
    line = server.wait_for("request", code="http2_preface")
    assert line["status"] == 505
    assert server.wait_for("http2-preface")["request_id"] == line["request_id"]


def test_byte_by_byte(server: Server) -> None:
    with Wire(server) as client:
        client.send(PREFACE, 1)
        assert [frame[0] for frame in frames(client.rest())] == [4, 7]


def test_curl_says_why(server: Server, program: Callable[[str], str]) -> None:
    done = subprocess.run(
        [program("curl"), "--silent", "--verbose", "--http2-prior-knowledge", server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert f"GOAWAY, error={HTTP_1_1_REQUIRED}" in done.stderr


@pytest.mark.parametrize("line", [b"PRI * HTTP/1.1\r\n", b"PRI / HTTP/2.0\r\n", b"GET * HTTP/2.0\r\n"])
def test_what_only_resembles_it_is_answered_as_ever(server: Server, line: bytes) -> None:
    with Wire(server) as client:
        client.send(line + b"Host: a\r\n\r\n")
        assert client.expect().status in {400, 501, 505}
