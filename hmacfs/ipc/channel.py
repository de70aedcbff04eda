"""Messages between workers: an inbox for each, made before them, so that a successor finds it in its place.

An inbox is one end of a SOCK_SEQPACKET pair (unix(7)): messages keep their bounds, and hundreds fit; of
SOCK_DGRAM ten would fill it (net.unix.max_dgram_qlen). Nothing waits for room in an inbox: a question that
finds none is not answered.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hmacfs import errors
from hmacfs.errors import Refused
from hmacfs.ipc import messages, presence
from hmacfs.ipc.messages import Message, MessageKind, Offer
from hmacfs.ipc.presence import PresenceTable
from hmacfs.model import KiB
from hmacfs.store.sessions import UploadInfo

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from hmacfs.app.resumable import ActiveUpload, ActiveUploads

# Many times what the loop of a worker under load needs for a turn (small requests beside large transfers: p99
# 12 ms), and hardly noticed by whoever asks for what a dead or stuck worker has.
ANSWER_S: Final = 0.25
# To bring what came to a slow disk: 1 GiB at 100 MB/s takes 10 s. Clients wait half a minute or more.
ENDING_S: Final = 20.0
# A type of content may be as long as the largest head.
_MESSAGE_BYTES: Final = 256 * KiB
_MESSAGES_PER_TURN: Final = 64
_NUMBER_BITS: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFds:
    """What a worker inherits of it: descriptors."""

    inbox: int
    """Its own end, to be read."""
    outboxes: tuple[int, ...]
    """Those of all slots, to be written to."""
    presence_table: int
    """The shared presence table."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        return (self.inbox, *self.outboxes, self.presence_table)


class Channels:
    """All inboxes and the presence table, as what starts the workers holds them."""

    def __init__(self, slots: int) -> None:
        """Make them. Raises OSError."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(slots)]
        self._inboxes = [inbox for inbox, _ in pairs]
        self._outboxes = [box for _, box in pairs]
        for sock in (*self._inboxes, *self._outboxes):
            sock.setblocking(False)
        self._presence_table = presence.create(slots)

    def close(self) -> None:
        """Let go of them; workers keep what they have inherited."""
        for sock in (*self._inboxes, *self._outboxes):
            sock.close()
        os.close(self._presence_table)

    def of(self, slot: int) -> ChannelFds:
        """Return what the worker in `slot` inherits."""
        outboxes = tuple(box.fileno() for box in self._outboxes)
        return ChannelFds(
            inbox=self._inboxes[slot].fileno(), outboxes=outboxes, presence_table=self._presence_table
        )


class Claim:
    """A plain PUT under way at another worker."""

    __slots__ = ("_key", "_peers", "_slot", "length", "terms", "ticket")

    def __init__(self, peers: Peers, slot: int, key: str, offer: Offer) -> None:
        """Note that the worker in `slot` offers it, in answer to a question about `key`."""
        self._peers = peers
        self._slot = slot
        self._key = key
        self.ticket = offer.ticket
        self.length = offer.length
        self.terms = UploadInfo(key="", owner=offer.owner, content_type=offer.content_type)

    def end(self) -> asyncio.Future[None]:
        """End it; done when what has come stands in the store. Refused BUSY if that is not known in time."""
        return self._peers.take(self._slot, self._key, self.ticket)


class _Question:
    """One place that other workers were asked about."""

    __slots__ = ("asked", "claims", "key", "told")

    def __init__(self, key: str, asked: set[int], told: asyncio.Future[Sequence[Claim]]) -> None:
        self.key = key
        self.asked = asked
        """Slots of those who have not answered."""
        self.claims: list[Claim] = []
        self.told = told

    def tell(self) -> None:
        """Be content with what is known."""
        if not self.told.done():
            self.told.set_result(self.claims)


class Peers:
    """One worker's side; belongs to its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: int, fds: ChannelFds) -> None:
        """Be the worker in `slot`."""
        self._loop = loop
        self._slot = slot
        self._presence_table = PresenceTable(fds.presence_table, slot)
        self._inbox = socket.socket(fileno=fds.inbox)
        self._outboxes = [socket.socket(fileno=fd) for fd in fds.outboxes]
        self._here: Callable[[str], list[ActiveUpload]] = _nothing
        self._questions: dict[int, _Question] = {}
        self._takings: dict[int, asyncio.Future[None]] = {}

    def listen(self, underway: ActiveUploads) -> None:
        """Answer from now on for what is `underway` here."""
        self._here = underway.here
        self._loop.add_reader(self._inbox.fileno(), self._read)

    def close(self) -> None:
        """Hear no more, and write no more."""
        self._loop.remove_reader(self._inbox.fileno())
        for sock in (self._inbox, *self._outboxes):
            sock.close()

    def count(self, key: str, more: int) -> None:
        """Let the others know of `more` PUTs to this place here; -1 for one that is over."""
        self._presence_table.count(key, more)

    def has(self, key: str) -> bool:
        """Whether another worker may have a PUT to this place."""
        return bool(self._presence_table.others(key))

    async def find(self, key: str) -> Sequence[Claim]:
        """Return the plain PUTs to this place that are under way at other workers, as far as these answer."""
        others = self._presence_table.others(key)
        if not others:
            return ()
        number = secrets.randbits(_NUMBER_BITS)
        question = _Question(key, set(), self._loop.create_future())
        self._questions[number] = question
        for slot in others:
            if self._send(slot, Message(kind=MessageKind.ASK, sender=self._slot, number=number, key=key)):
                question.asked.add(slot)
        if not question.asked:
            question.tell()
        patience = self._loop.call_later(ANSWER_S, question.tell)
        try:
            return await question.told
        finally:
            patience.cancel()
            del self._questions[number]

    def take(self, slot: int, key: str, ticket: int) -> asyncio.Future[None]:
        """Have the worker in `slot` end a PUT; done when it has. Refused BUSY if it does not say so."""
        number = secrets.randbits(_NUMBER_BITS)
        taken = self._takings[number] = self._loop.create_future()
        patience = self._loop.call_later(ENDING_S, self._give_up, taken)
        taken.add_done_callback(lambda _taken: patience.cancel())
        taken.add_done_callback(lambda _taken: self._takings.pop(number))
        message = Message(kind=MessageKind.TAKE, sender=self._slot, number=number, key=key, ticket=ticket)
        if not self._send(slot, message):
            self._give_up(taken)
        return taken

    @staticmethod
    def _give_up(taken: asyncio.Future[None]) -> None:
        if not taken.done():
            taken.set_exception(Refused(errors.BUSY, "the upload is still being ended"))

    def _send(self, slot: int, message: Message) -> bool:
        """Put a message into another worker's box; return whether there was room for it."""
        try:
            self._outboxes[slot].send(messages.write(message))
        except OSError:
            return False
        return True

    def _read(self) -> None:
        """Look into our own box."""
        for _ in range(_MESSAGES_PER_TURN):
            try:
                data = self._inbox.recv(_MESSAGE_BYTES)
            except OSError:  # it is empty, usually
                return
            message = messages.read(data)
            if message is not None and 0 <= message.sender < len(self._outboxes):
                self._answer(message)

    def _answer(self, message: Message) -> None:
        if message.kind is MessageKind.ASK:
            offers = tuple(_offer(held) for held in self._here(message.key))
            self._reply(message, MessageKind.OFFER, offers)
        elif message.kind is MessageKind.TAKE:
            self._take(message)
        elif message.kind is MessageKind.OFFER:
            self._offered(message)
        elif (taken := self._takings.get(message.number)) is not None and not taken.done():
            taken.set_result(None)

    def _reply(self, message: Message, kind: MessageKind, offers: tuple[Offer, ...] = ()) -> None:
        # If there is no room for it the question is not answered, which whoever asked is prepared for.
        self._send(
            message.sender, Message(kind=kind, sender=self._slot, number=message.number, offers=offers)
        )

    def _take(self, message: Message) -> None:
        """End one of ours; whoever asked has seen that it is its owner."""
        for held in self._here(message.key):
            if held.ticket == message.ticket:
                held.end().add_done_callback(functools.partial(self._ended, message))
                return
        self._reply(message, MessageKind.ENDED)  # it has ended meanwhile

    def _ended(self, message: Message, _ended: asyncio.Future[None]) -> None:
        self._reply(message, MessageKind.ENDED)

    def _offered(self, message: Message) -> None:
        question = self._questions.get(message.number)
        if question is None or message.sender not in question.asked:
            return
        question.asked.discard(message.sender)
        question.claims += [Claim(self, message.sender, question.key, offer) for offer in message.offers]
        if not question.asked:
            question.tell()


def _nothing(_key: str) -> list[ActiveUpload]:
    return []


def _offer(held: ActiveUpload) -> Offer:
    return Offer(held.ticket, held.length, held.terms.owner, held.terms.content_type)
