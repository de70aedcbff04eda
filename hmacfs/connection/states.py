"""The life of one connection as a table: which phase follows upon which event.

What is not in the table cannot happen. If it does, that is a fault of ours, and the KeyError ends the
connection before a byte of one request can be taken for part of another.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(enum.IntEnum):
    """Where a connection is in its life."""

    HEAD = enum.auto()  # waiting for a request, or for the rest of its head
    ANSWER = enum.auto()  # the request is being worked on, or its reply sent
    BODY = enum.auto()  # body bytes flow into a sink
    LINGER = enum.auto()  # the last reply is out; what still comes is thrown away
    CLOSED = enum.auto()


class Event(enum.IntEnum):
    """What moves a connection on."""

    ASKED = enum.auto()  # a head is whole, or beyond saving
    BODY_WANTED = enum.auto()  # somebody takes the body, and not all of it is here
    ENDED = enum.auto()  # the body is whole, or given up
    SENT = enum.auto()  # the reply is out, and another request may come
    SENT_LAST = enum.auto()  # the reply is out, and no other request is read
    CLOSED = enum.auto()  # we close, or the client is gone


_P, _E = Phase, Event
TRANSITIONS: Final[Mapping[Phase, Mapping[Event, Phase]]] = {
    _P.HEAD: {_E.ASKED: _P.ANSWER, _E.CLOSED: _P.CLOSED},
    _P.ANSWER: {
        _E.BODY_WANTED: _P.BODY,
        _E.SENT: _P.HEAD,
        _E.SENT_LAST: _P.LINGER,
        _E.CLOSED: _P.CLOSED,
    },
    _P.BODY: {_E.ENDED: _P.ANSWER, _E.CLOSED: _P.CLOSED},
    _P.LINGER: {_E.CLOSED: _P.CLOSED},
    _P.CLOSED: {_E.CLOSED: _P.CLOSED},
}
