"""Who is gone before anybody has looked: such a client is nobody, and speaks for nobody.

The worker is stopped while it connects, asks and resets, so that its socket has no peer once it is accepted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
import resuming
import selfsigned
import serving
import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Server

NAMED = "203.0.113.7"
CLIENTS = 4
SETTINGS = """
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""
ASKED = {
    "GET": lambda rel: serving.head("GET", f"/upload/{rel}", {"X-Forwarded-For": NAMED}),
    "Forwarded": lambda rel: serving.head("GET", f"/upload/{rel}", {"Forwarded": f"for={NAMED}"}),
    "PUT": lambda rel: serving.head("PUT", serving.signed(rel, 4), {"X-Forwarded-For": NAMED}, 4) + b"body",
    "PROXY": lambda rel: (
        f"PROXY TCP4 {NAMED} 192.0.2.1 50000 443\r\n".encode() + serving.head("GET", f"/upload/{rel}", None)
    ),
    "nothing": lambda _rel: b"",
}


@pytest.fixture(scope="module", params=["plain", "proxied"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]
) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("peers")
    crt, key = selfsigned.make(program("openssl"), where / "certificate")
    proxied = "proxy_protocol = true\n" if request.param == "proxied" else ""
    with serving.running(
        where, server=f'{proxied}trusted_proxies = ["unix"]\n', rest=SETTINGS.format(crt=crt, key=key)
    ) as server:
        yield server
        wire.settle(server)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process from running."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("asks", ASKED.values(), ids=ASKED)
def test_a_client_that_resets_at_once_is_no_proxy_of_ours(
    server: Server, asks: Callable[[str], bytes]
) -> None:
    """`getpeername` fails for it, and it was taken for a peer on a unix socket, which may name anybody."""
    (worker,) = server.workers
    before, events = accepted(server), len(server.events)
    with stopped(worker):
        for port in (server.port, selfsigned.port_of(server)):
            for _ in range(CLIENTS):
                sock = socket.create_connection((server.host, port), timeout=serving.PATIENCE_S)
                sock.sendall(asks(serving.fresh()))
                resuming.reset(sock)
    while accepted(server) < before + CLIENTS:  # over TLS they end at the handshake
        pass
    wire.settle(server)
    last = server.get(serving.fresh()).fields["x-request-id"]
    server.wait_for("request", request_id=last)
    clients = {line["client"] for line in server.events[events:] if "client" in line}
    assert not [client for client in clients if client == "unix" or client.startswith(NAMED)]


def accepted(server: Server) -> float:
    """Return how many clients a worker has accepted so far."""
    return server.scrape()["hmacfs_accepted_connections_total"]
