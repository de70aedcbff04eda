"""What one exchange tells of its client, noted for `ClientProfiles`; the only place that decides what counts.

A rate is what arrived on the other side in the time that it took. Behind a proxy of our own the line is the
proxy's, so that only what came in tells of the client; and a download that the client gave up is its own
choice, while one that stalled is not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.connection import tcp_info
from hmacfs.http import hints
from hmacfs.metrics import tally
from hmacfs.policy.quality import AS_EVER

if TYPE_CHECKING:
    import socket

    from hmacfs.connection.clients import ClientProfiles
    from hmacfs.connection.exchange import Exchange
    from hmacfs.model import Head, Reply
    from hmacfs.policy import chunks
    from hmacfs.policy.profiles import Observations, Profile
    from hmacfs.policy.quality import Treatment

ADAPTED_FROM_BYTES: Final = tally.RATED_FROM_BYTES
"""Smaller bodies are moved as ever: they are gone before anything could be done for them."""

_BROKEN_OFF: Final = frozenset({errors.BODY_INCOMPLETE.code, errors.BODY_TOO_SLOW.code})
_FIRST_ERROR: Final = 400
STALLED: Final = "client_stalled"


class TransferObserver:
    """One connection's side of `ClientProfiles`."""

    __slots__ = ("_clients", "_held", "_socket")

    def __init__(self, clients: ClientProfiles, socket_: socket.socket | None) -> None:
        """Note to `clients`; `socket_` leads to the client itself, None if there is a proxy between."""
        self._clients = clients
        self._socket = socket_
        self._held = 0  # what TCP_NOTSENT_LOWAT is

    def finished(self, exchange: Exchange, reply: Reply, *, arrived: int, broken: str) -> None:
        """Note an exchange whose reply is out, or never will be (`broken` says why).

        `arrived` is how much of a reply the other side has, if it was large.
        """
        head = exchange.head
        if head is None:
            return
        if head.method == "GET":
            if arrived >= ADAPTED_FROM_BYTES or broken == STALLED:
                self.progress(exchange, arrived, time.monotonic())
        elif exchange.dialect and exchange.body is not None:
            self._upload(exchange, reply, broken)

    def _upload(self, exchange: Exchange, reply: Reply, broken: str) -> None:
        clients = self._clients
        lost = bool(broken) or reply.code in _BROKEN_OFF
        if reply.status >= _FIRST_ERROR and not lost:
            return  # refused for what it was, or for our own reasons
        clients.reliability.add(not lost, 1)
        ended = exchange.body_ended or exchange.started
        if exchange.body_ended and exchange.body is not None:
            self.progress(exchange, exchange.body.received, ended)
        key = clients.key(exchange.profile_address, exchange.owner)
        if key is None:
            return
        observed = clients.observations(key)
        observed.dialects[exchange.dialect] = observed.dialects.get(exchange.dialect, 0) + 1
        observed.uploads.started += 1
        if not lost:
            observed.uploads.completed += 1
            observed.uploads.served_s += time.monotonic() - ended
        # A small body has no rate. Of many, one round trip is enough until they are shared.
        if clients.measures and not observed.round_trips:
            self._measure(exchange, observed)

    def progress(self, exchange: Exchange, moved: int, now: float) -> None:
        """Note that `moved` bytes of a large body have arrived by `now`, since it began."""
        clients = self._clients
        outward = exchange.body is None
        count, seconds = moved - exchange.noted, now - (exchange.noted_at or exchange.started)
        exchange.noted, exchange.noted_at = moved, now
        exchange.profile = None
        if not clients.measures or count < 0 or seconds <= 0 or (outward and self._socket is None):
            return
        clients.speed.add(count, seconds)
        key = clients.key(exchange.profile_address, exchange.owner)
        observed = None if key is None else clients.observations(key)
        if observed is not None and outward:
            observed.taken += count
            observed.taking_s += seconds
        elif observed is not None:
            observed.uploads.received += count
            observed.uploads.seconds += seconds
        self._measure(exchange, observed)

    def _measure(self, exchange: Exchange, observed: Observations | None) -> None:
        """Note what the kernel knows of the line."""
        if self._socket is not None and (reading := tcp_info.read(self._socket)) is not None:
            self._clients.measured(exchange.profile_address, reading, observed)

    def leave(self) -> None:
        """Note that the connection is gone: its descriptor's number may soon be another one's."""
        self._socket = None

    def treatment(self, exchange: Exchange) -> Treatment:
        """Return what is to be done for the client of a large body."""
        clients = self._clients
        if not clients.adapts or exchange.head is None:
            return AS_EVER
        return clients.treatment(self._profile(exchange), self._hints(exchange.head))

    def sending_rate(self, exchange: Exchange) -> float | None:
        """Return at how many bytes per second the client has been sending; None if that is not known."""
        return self._profile(exchange).sending_rate

    def prepare(self, treatment: Treatment) -> None:
        """Have the kernel hold as little of a reply as the client's line is worth."""
        if self._socket is not None and treatment.unsent_bytes != self._held:
            tcp_info.hold_back(self._socket, treatment.unsent_bytes)
            self._held = treatment.unsent_bytes

    def advise(self, exchange: Exchange, upload: chunks.ChunkedUpload) -> int:
        """Return how many bytes the client should send of `upload` in its next request."""
        clients = self._clients
        hinted = None if exchange.head is None else self._hints(exchange.head)
        return clients.advise(self._profile(exchange), hinted, upload)

    def _profile(self, exchange: Exchange) -> Profile:
        if exchange.profile is None:
            exchange.profile = self._clients.profile(
                self._clients.key(exchange.profile_address, exchange.owner)
            )
        return exchange.profile

    def _hints(self, head: Head) -> hints.Hints | None:
        return hints.read(head.fields) if self._clients.takes_hints else None
