"""The line to a client as the kernel knows it (tcp(7)): TCP_INFO in, a reading out.

Says something of the client only where the peer is the client, and not a proxy.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final, NamedTuple

# struct tcp_info of linux/tcp.h up to tcpi_delivery_rate, which it has had since Linux 4.9.
_INFO: Final = struct.Struct("=7xB8xI48xII4xI16xI56xQ")
_APP_LIMITED: Final = 1  # tcpi_delivery_rate_app_limited, the lowest bit of its byte
# A socket may be gone before we hear of it; of a transport's own, uvloop then asks about descriptor -1.
_CLOSED: Final = (OSError, ValueError)
_MICROSECONDS: Final = 1_000_000
# Of linux/tcp.h; Python 3.11 does not name it.
_TCP_NOTSENT_LOWAT: Final = 25


class TcpInfo(NamedTuple):
    """What the kernel knows of a connection now."""

    round_trip_s: float
    """Smoothed (RFC 6298); more than 0."""
    variation_s: float
    """Mean deviation of the round trip."""
    delivery_rate: float
    """Bytes per second lately acknowledged; 0 if there was not more to send."""
    retransmitted: int
    """Segments sent again since the connection began."""
    in_flight_bytes: int
    """What may be under way at once: the congestion window."""


def read(sock: socket.socket) -> TcpInfo | None:
    """Return what is known of the line behind `sock`; None if it is closed, or nothing was measured yet."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except _CLOSED:
        return None
    if len(info) < _INFO.size:
        return None
    flags, segment, round_trip, variation, window, retransmitted, rate = _INFO.unpack(info)
    if not round_trip:
        return None
    return TcpInfo(
        round_trip_s=round_trip / _MICROSECONDS,
        variation_s=variation / _MICROSECONDS,
        delivery_rate=0.0 if flags & _APP_LIMITED else float(rate),
        retransmitted=retransmitted,
        in_flight_bytes=window * segment,
    )


def hold_back(sock: socket.socket, unsent_bytes: int) -> None:
    """Let the kernel take no more of a reply than it has sent, and so much besides; 0 is as much as it likes.

    What is under way is not limited by that, so neither is the rate.
    """
    with contextlib.suppress(*_CLOSED):  # which the reply will find out
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, unsent_bytes)
