"""Downloads that a trusted nginx is told to send itself (tests/deploy runs the real one)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import pytest
import serving
import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

PROXY = "127.0.0.2"  # trusted
STRANGER = "127.0.0.3"
NAMES = ["photo.jpg", "two words.txt", "100%25.txt", "été.bin", "🎉.png", "a&b=c;d,e'(f)!~@:$*.bin"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving.running(
        tmp_path_factory.mktemp("offload"),
        server=f'trusted_proxies = ["{PROXY}"]\noffload = "x-accel-redirect"\noffload_prefix = "/files/"',
    ) as server:
        yield server
        wire.settle(server)


def ask(server: Server, source: str, rel: str, method: str = "GET", **fields: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    address = (server.host, server.port)
    with socket.create_connection(address, serving.PATIENCE_S, source_address=(source, 0)) as sock:
        sock.sendall(serving.head(method, f"/upload/{quote(rel)}", named))
        return serving.read_answer(sock, method)


@pytest.mark.parametrize("name", NAMES)
def test_a_trusted_proxy_is_told_the_place_and_gets_no_byte(server: Server, name: str) -> None:
    rel = serving.fresh(name)
    assert server.put(rel, b"content", "image/png").status == 201
    plain = ask(server, STRANGER, rel)
    assert "x-accel-redirect" not in plain.fields
    for method in ("GET", "HEAD"):
        told = ask(server, PROXY, rel, method)
        assert (told.status, told.body, told.fields["content-length"]) == (200, b"", "0")
        place = told.fields["x-accel-redirect"]
        assert place.isascii()
        assert unquote(place) == f"/files/upload/{rel}"
        assert {"?", "#", " "}.isdisjoint(place)
        per_reply = {"date", "x-request-id", "content-length", "x-accel-redirect"}
        same = {key: value for key, value in plain.fields.items() if key not in per_reply}
        assert {key: value for key, value in told.fields.items() if key not in per_reply} == same


def test_conditionals_and_ranges_are_left_to_the_proxy(server: Server) -> None:
    rel = serving.fresh()
    server.put(rel, b"content")
    etag = ask(server, STRANGER, rel).fields["etag"]
    for fields in ({"If_None_Match": etag}, {"Range": "bytes=0-1"}, {"If_Match": '"of-nginx"'}):
        told = ask(server, PROXY, rel, **fields)
        assert (told.status, told.body) == (200, b"")
        assert "x-accel-redirect" in told.fields


def test_an_answer_from_memory_is_for_strangers_only(server: Server) -> None:
    rel = serving.fresh()
    server.put(rel, b"content")
    for _ in range(3):
        assert ask(server, STRANGER, rel).body == b"content"
        told = ask(server, PROXY, rel)
        assert (told.body, told.fields["x-accel-redirect"]) == (b"", f"/files/upload/{rel}")


def test_what_is_not_there_is_refused_as_ever(server: Server) -> None:
    gone = ask(server, PROXY, serving.fresh())
    assert gone.status == 404
    assert "x-accel-redirect" not in gone.fields
