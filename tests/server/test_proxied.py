"""Connections through a proxy that names its client: who is believed, and what becomes of bad headers."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import socket
import struct
from typing import TYPE_CHECKING

import loopback
import pytest
import serving
import wire

from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Server

PROXY = "127.0.0.2"  # trusted
STRANGER = "127.0.0.3"
GET = serving.head("GET", "/health", None)
V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 50000 443\r\n"
FOUR = bytes([203, 0, 113, 7, 192, 0, 2, 1]) + struct.pack("!HH", 50000, 443)
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(FOUR)) + FOUR
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"
CLIENT = "203.0.113.7:50000"
HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen it
    bind {listen}
    server it {upstream} source {source} {sends}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("proxied")
    with serving.running(
        where,
        listen=f'["127.0.0.1:0", "unix:{where}/unix.sock"]',
        server=f'proxy_protocol = true\ntrusted_proxies = ["{PROXY}", "unix"]',
        rest='[timeouts]\nheadertimeout = "1s"\n',
    ) as server:
        yield server
        wire.settle(server)


def connect(server: Server, source: str) -> socket.socket:
    return socket.create_connection(
        (server.host, server.port), timeout=serving.PATIENCE_S, source_address=(source, 0)
    )


def client_of(server: Server, request_id: str) -> str:
    return str(server.wait_for("request", request_id=request_id)["client"])


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_the_client_in_the_log_is_the_one_that_a_trusted_proxy_names(server: Server, header: bytes) -> None:
    with connect(server, PROXY) as sock:
        sock.sendall(header + GET + GET)
        first, rest = serving.take_answer(sock, b"")
        second, _ = serving.take_answer(sock, rest)
    for answer in (first, second):
        assert answer.status == 200
        assert client_of(server, answer.fields["x-request-id"]) == CLIENT


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_where_the_wire_is_cut_does_not_matter(server: Server, header: bytes) -> None:
    for cut in range(1, len(header) + 1):
        with connect(server, PROXY) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(header[:cut])
            sock.sendall(header[cut:] + GET)
            assert serving.read_answer(sock).status == 200


def test_a_proxy_that_speaks_for_itself_is_logged_as_itself(server: Server) -> None:
    for header in (LOCAL, b"PROXY UNKNOWN\r\n"):
        with connect(server, PROXY) as sock:
            sock.sendall(header + GET)
            answer = serving.read_answer(sock)
            port = sock.getsockname()[1]
        assert client_of(server, answer.fields["x-request-id"]) == f"{PROXY}:{port}"


def test_a_proxy_on_a_unix_socket_is_believed_too(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(server.storage.parent / "unix.sock"))
        sock.sendall(V1 + GET)
        answer = serving.read_answer(sock)
    assert client_of(server, answer.fields["x-request-id"]) == CLIENT


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_stranger_is_not_believed(server: Server, header: bytes) -> None:
    """To it the header is a malformed request; without one it is served as ever."""
    with connect(server, STRANGER) as sock:
        port = sock.getsockname()[1]
        sock.sendall(header + GET)
        answer, _ = serving.take_answer(sock, b"")
    assert answer.status == 400
    assert client_of(server, answer.fields["x-request-id"]) == f"{STRANGER}:{port}"
    with connect(server, STRANGER) as sock:
        sock.sendall(GET)
        assert serving.read_answer(sock).status == 200


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (GET, "neither version"),
        (b"PROXY TCP4 nobody 192.0.2.1 1 2\r\n", "two addresses"),
        (b"PROXY UNKNOWN " + b"x" * 5000, "107"),
        (V2[:-1].replace(b"\x21\x11", b"\x31\x11"), "version 3"),
    ],
)
def test_a_malformed_header_ends_the_connection(server: Server, sent: bytes, words: str) -> None:
    before = server.scrape()["hmacfs_proxy_header_errors_total"]
    with connect(server, PROXY) as sock:
        sock.sendall(sent)
        assert ended(sock)
    assert words in server.wait_for("proxy-header-bad", peer=PROXY)["error"]
    assert server.scrape()["hmacfs_proxy_header_errors_total"] == before + 1


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_header_that_breaks_off_or_never_ends_is_told(server: Server) -> None:
    with connect(server, PROXY) as sock:
        sock.sendall(V1[:20])
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    assert server.wait_for("proxy-header-bad")["error"] == "it breaks off"
    with connect(server, PROXY) as sock:
        sock.sendall(V2[:20])
        assert ended(sock)
    assert server.wait_for("proxy-header-bad")["error"] == "too slow"


def test_a_health_check_that_only_connects_is_no_fault(server: Server) -> None:
    before = server.scrape()["hmacfs_proxy_header_errors_total"]
    for _ in range(5):
        connect(server, PROXY).close()
    with connect(server, PROXY) as sock:
        sock.sendall(V1 + GET)
        assert serving.read_answer(sock).status == 200
    assert server.scrape()["hmacfs_proxy_header_errors_total"] == before


def test_files_from_memory_are_logged_with_the_client_too(server: Server) -> None:
    rel = serving.fresh()
    with connect(server, STRANGER) as sock:
        body = secrets.token_bytes(KiB)
        target = serving.signed(rel, len(body))
        fields = {"Content-Type": "application/octet-stream"}
        sock.sendall(serving.head("PUT", target, fields, len(body)) + body)
        assert serving.read_answer(sock).status == 201
    ids = []
    with connect(server, PROXY) as sock:
        sock.sendall(V2)
        for _ in range(4):
            sock.sendall(serving.head("GET", f"/upload/{rel}", None))
            answer = serving.read_answer(sock)
            assert answer.body == body
            ids.append(answer.fields["x-request-id"])
    assert {client_of(server, one) for one in ids} == {CLIENT}


@pytest.mark.parametrize("sends", ["send-proxy", "send-proxy-v2"])
def test_haproxy_names_its_client(
    server: Server, program: Callable[[str], str], tmp_path: Path, sends: str
) -> None:
    listen = loopback.free_address()
    config = tmp_path / "haproxy.cfg"
    upstream = f"{server.host}:{server.port}"
    config.write_text(HAPROXY.format(listen=listen, upstream=upstream, source=PROXY, sends=sends))
    command = [program("haproxy"), "-db", "-f", str(config)]
    with loopback.served(command, listen, tmp_path / "haproxy.log"):
        host, _, port = listen.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=serving.PATIENCE_S)
        body = secrets.token_bytes(3 * MiB)
        rel = serving.fresh()
        named = {"Content-Type": "application/octet-stream"}
        connection.request("PUT", serving.signed(rel, len(body)), body, named)
        ours = connection.sock.getsockname()
        answer = connection.getresponse()
        assert answer.status == 201
        answer.read()
        connection.request("GET", f"/upload/{rel}")
        answer = connection.getresponse()
        assert answer.read() == body
        request_id = answer.getheader("X-Request-Id")
        assert request_id is not None
        assert client_of(server, request_id) == f"{ours[0]}:{ours[1]}"
        connection.close()


def test_a_reload_changes_whom_to_believe_and_a_drain_serves_who_is_queued(tmp_path: Path) -> None:
    with serving.running(tmp_path, server=f'proxy_protocol = true\ntrusted_proxies = ["{PROXY}"]') as server:
        text = server.config.read_text()
        server.config.write_text(text.replace(PROXY, STRANGER))
        server.signal(signal.SIGHUP)
        server.wait_for("reload-done")
        with connect(server, STRANGER) as sock:
            sock.sendall(V1 + GET)
            assert client_of(server, serving.read_answer(sock).fields["x-request-id"]) == CLIENT
        # stopped while a client is on the porch: its header comes late, and it is answered all the same
        with connect(server, STRANGER) as sock:
            sock.sendall(V1[:10])
            with connect(server, STRANGER) as other:
                other.sendall(V1 + GET)
                assert serving.read_answer(other).status == 200  # so the first has been accepted
            os.kill(server.process.pid, signal.SIGTERM)
            server.wait_for("serve-stopping")
            sock.sendall(V1[10:] + GET)
            assert serving.read_answer(sock).status == 200
        assert server.process.wait(serving.PATIENCE_S) == 0
