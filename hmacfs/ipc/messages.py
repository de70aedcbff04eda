"""The four messages between workers, as bytes and back. Knows no sockets.

ASK for a place -> OFFER of each PUT to it; TAKE one by its ticket -> ENDED, once what came of it is stored.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any


class MessageKind(enum.StrEnum):
    """What a message is."""

    ASK = "ask"
    OFFER = "offer"
    TAKE = "take"
    ENDED = "ended"


class Offer(NamedTuple):
    """One plain PUT under way, as far as one must know it to tell whose it is."""

    ticket: int
    length: int
    """Bytes of the whole file."""
    owner: str
    """Fingerprint of its token."""
    content_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; an answer bears the number of the question."""

    kind: MessageKind
    sender: int
    """Slot of the worker that wrote it."""
    number: int
    """Tells one question from all others, also of a worker that was in the slot before."""
    key: str = ""
    """Where the file is to go, in a question."""
    ticket: int = 0
    """What to take."""
    offers: tuple[Offer, ...] = ()


def write(message: Message) -> bytes:
    """Return a message's bytes."""
    values = (message.kind, message.sender, message.number, message.key, message.ticket, message.offers)
    return json.dumps(values).encode("ascii")


def read(data: bytes) -> Message | None:
    """Return the message; None if these bytes are none."""
    try:
        kind, sender, number, key, ticket, offers = json.loads(data)
        message = Message(
            kind=MessageKind(kind),
            sender=sender,
            number=number,
            key=key,
            ticket=ticket,
            offers=tuple(Offer(*offer) for offer in offers),
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return message if _is_sound(message) else None


def _is_sound(message: Message) -> bool:
    numbers: list[Any] = [message.sender, message.number, message.ticket]
    texts: list[Any] = [message.key]
    for offer in message.offers:
        numbers += [offer.ticket, offer.length]
        texts += [offer.owner, "" if offer.content_type is None else offer.content_type]
    return all(type(number) is int for number in numbers) and all(isinstance(text, str) for text in texts)
