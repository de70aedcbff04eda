"""What the kernel knows of a line, on real sockets."""

from __future__ import annotations

import contextlib
import socket

import pytest

from hmacfs.connection import tcp_info
from hmacfs.model import KiB, MiB


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


def test_a_line_that_was_used_is_known(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    with ours, client:
        for _ in range(20):
            ours.sendall(bytes(256 * KiB))
            assert len(client.recv(256 * KiB, socket.MSG_WAITALL)) == 256 * KiB
        reading = tcp_info.read(ours)
    assert reading is not None
    assert 0 < reading.round_trip_s < 0.2
    assert 0 <= reading.variation_s < 0.2
    assert reading.delivery_rate >= 0
    assert 0 <= reading.retransmitted < 1000
    assert 10 * KiB < reading.in_flight_bytes < 1 << 32


def test_of_a_closed_socket_and_one_of_another_kind_nothing_is_known(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, client = pair
    ours.close()
    client.close()
    assert tcp_info.read(ours) is None
    tcp_info.hold_back(ours, 1)
    with socket.socket(socket.AF_UNIX) as other:
        assert tcp_info.read(other) is None


def fill(sock: socket.socket) -> int:
    """Send until the kernel takes no more; give how much that was."""
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while taken < 64 * MiB:
            taken += sock.send(bytes(64 * KiB))
    return taken


def test_the_kernel_takes_little_more_than_it_can_send(pair: tuple[socket.socket, socket.socket]) -> None:
    """Of a client that does not read: what its own side holds, and what may wait unsent."""
    ours, client = pair
    with ours, client:
        ours.setblocking(False)
        tcp_info.hold_back(ours, 64 * KiB)
        fill(ours)
        tcp_info.hold_back(ours, 0)
        assert fill(ours) > 256 * KiB
