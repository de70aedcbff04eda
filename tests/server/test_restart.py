"""Restarts under load: with a socket from the service manager no client notices."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import activation
import serving
from crowd import UNACCEPTED, Crowd

if TYPE_CHECKING:
    from pathlib import Path

RESTARTS = 5 if os.environ.get("HMACFS_FULL") == "1" else 3
BACKLOG = 1024


def test_behind_a_socket_of_the_service_manager_nothing_fails(tmp_path: Path) -> None:
    text = serving.configuration(tmp_path / "store", workers=2)
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening:
        host, port = listening.getsockname()
        with Crowd(host, port) as crowd:
            for _ in range(RESTARTS + 1):
                with activation.start(tmp_path, text, listening) as server:
                    assert (server.host, server.port) == (host, port)
                    crowd.wait_for(50)
                    assert server.stop() == 0
            with activation.start(tmp_path, text, listening) as server:
                crowd.wait_for(50)
                crowd.leave()
                assert server.stop() == 0
        assert crowd.failures == []
        assert crowd.refused == 0


def test_without_it_connections_are_refused_but_no_request_fails(tmp_path: Path) -> None:
    with serving.start(tmp_path, serving.configuration(tmp_path / "store", workers=2)) as server:
        host, port = server.host, server.port
        text = serving.configuration(tmp_path / "store", workers=2, listen=f'"{host}:{port}"')
        with Crowd(host, port) as crowd:
            crowd.wait_for(50)
            assert server.stop() == 0
            for _ in range(RESTARTS):
                with serving.start(tmp_path, text) as successor:
                    crowd.wait_for(50)
                    assert successor.stop() == 0
        # Whoever connects in the instant in which the last copy of a listening socket is closed is reset
        # by the kernel before any server has seen it: refused by another name.
        assert [note for note in crowd.failures if not note.startswith(UNACCEPTED)] == []
        assert crowd.refused > 0


def test_a_socket_of_the_service_manager_is_left_as_it_is(tmp_path: Path) -> None:
    """Its name stays, and who connects while nobody serves waits for the next."""
    path = tmp_path / "http.sock"
    text = serving.configuration(tmp_path / "store")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(BACKLOG)
        with activation.start(tmp_path, text, listening) as server:
            assert server.stop() == 0
        assert path.is_socket()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(serving.head("GET", "/health", None))
            with activation.start(tmp_path, text, listening) as server:
                assert serving.read_answer(client).body == b"OK"
                client.close()
                assert server.stop() == 0
