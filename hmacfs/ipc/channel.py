"""The post between workers: a box for each, made before them, so that a successor finds it in its place.

A box is one end of a SOCK_SEQPACKET pair (unix(7)): letters keep their bounds, and hundreds fit; of
SOCK_DGRAM ten would fill it (net.unix.max_dgram_qlen). Nobody waits for room in a box: a question that finds
none is not answered.
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
_LETTER_BYTES: Final = 256 * KiB
_LETTERS_PER_TURN: Final = 64
_NUMBER_BITS: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFds:
    """What a worker inherits of it: descriptors."""

    inbox: int
    """Its own box, to be read."""
    boxes: tuple[int, ...]
    """Those of all slots, to be written to."""
    board: int
    """The shared board."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        return (self.inbox, *self.boxes, self.board)


class Channels:
    """All boxes and the board, as whoever starts the workers holds them."""

    def __init__(self, slots: int) -> None:
        """Make them. Raises OSError."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(slots)]
        self._inboxes = [inbox for inbox, _ in pairs]
        self._boxes = [box for _, box in pairs]
        for sock in (*self._inboxes, *self._boxes):
            sock.setblocking(False)
        self._board = presence.create(slots)

    def close(self) -> None:
        """Let go of them; workers keep what they have inherited."""
        for sock in (*self._inboxes, *self._boxes):
            sock.close()
        os.close(self._board)

    def of(self, slot: int) -> ChannelFds:
        """Return what the worker in `slot` inherits."""
        boxes = tuple(box.fileno() for box in self._boxes)
        return ChannelFds(inbox=self._inboxes[slot].fileno(), boxes=boxes, board=self._board)


class Claim:
    """A plain PUT under way at another worker."""

    __slots__ = ("_key", "_neighbours", "_slot", "length", "terms", "ticket")

    def __init__(self, neighbours: Peers, slot: int, key: str, offer: Offer) -> None:
        """Note that the worker in `slot` offers it, in answer to a question about `key`."""
        self._neighbours = neighbours
        self._slot = slot
        self._key = key
        self.ticket = offer.ticket
        self.length = offer.length
        self.terms = UploadInfo(key="", owner=offer.owner, content_type=offer.content_type)

    def end(self) -> asyncio.Future[None]:
        """End it; done when what has come stands in the store. Refused BUSY if that is not known in time."""
        return self._neighbours.take(self._slot, self._key, self.ticket)


class _Question:
    """One place that neighbours were asked about."""

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

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: int, post: ChannelFds) -> None:
        """Be the worker in `slot`."""
        self._loop = loop
        self._slot = slot
        self._board = PresenceTable(post.board, slot)
        self._inbox = socket.socket(fileno=post.inbox)
        self._boxes = [socket.socket(fileno=fd) for fd in post.boxes]
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
        for sock in (self._inbox, *self._boxes):
            sock.close()

    def count(self, key: str, more: int) -> None:
        """Let the others know of `more` PUTs to this place here; -1 for one that is over."""
        self._board.count(key, more)

    def has(self, key: str) -> bool:
        """Whether another worker may have a PUT to this place."""
        return bool(self._board.others(key))

    async def find(self, key: str) -> Sequence[Claim]:
        """Return the plain PUTs to this place that are under way at other workers, as far as these answer."""
        others = self._board.others(key)
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
        letter = Message(kind=MessageKind.TAKE, sender=self._slot, number=number, key=key, ticket=ticket)
        if not self._send(slot, letter):
            self._give_up(taken)
        return taken

    @staticmethod
    def _give_up(taken: asyncio.Future[None]) -> None:
        if not taken.done():
            taken.set_exception(Refused(errors.BUSY, "the upload is still being ended"))

    def _send(self, slot: int, letter: Message) -> bool:
        """Put a letter into a neighbour's box; give whether there was room for it."""
        try:
            self._boxes[slot].send(messages.write(letter))
        except OSError:
            return False
        return True

    def _read(self) -> None:
        """Look into our own box."""
        for _ in range(_LETTERS_PER_TURN):
            try:
                data = self._inbox.recv(_LETTER_BYTES)
            except OSError:  # it is empty, usually
                return
            letter = messages.read(data)
            if letter is not None and 0 <= letter.sender < len(self._boxes):
                self._answer(letter)

    def _answer(self, letter: Message) -> None:
        if letter.kind is MessageKind.ASK:
            offers = tuple(_offer(held) for held in self._here(letter.key))
            self._reply(letter, MessageKind.OFFER, offers)
        elif letter.kind is MessageKind.TAKE:
            self._take(letter)
        elif letter.kind is MessageKind.OFFER:
            self._offered(letter)
        elif (taken := self._takings.get(letter.number)) is not None and not taken.done():
            taken.set_result(None)

    def _reply(self, letter: Message, kind: MessageKind, offers: tuple[Offer, ...] = ()) -> None:
        # If there is no room for it the question is not answered, which whoever asked is prepared for.
        self._send(letter.sender, Message(kind=kind, sender=self._slot, number=letter.number, offers=offers))

    def _take(self, letter: Message) -> None:
        """End one of ours; whoever asked has seen that it is its owner."""
        for held in self._here(letter.key):
            if held.ticket == letter.ticket:
                held.end().add_done_callback(functools.partial(self._ended, letter))
                return
        self._reply(letter, MessageKind.ENDED)  # it has ended meanwhile

    def _ended(self, letter: Message, _ended: asyncio.Future[None]) -> None:
        self._reply(letter, MessageKind.ENDED)

    def _offered(self, letter: Message) -> None:
        question = self._questions.get(letter.number)
        if question is None or letter.sender not in question.asked:
            return
        question.asked.discard(letter.sender)
        question.claims += [Claim(self, letter.sender, question.key, offer) for offer in letter.offers]
        if not question.asked:
            question.tell()


def _nothing(_key: str) -> list[ActiveUpload]:
    return []


def _offer(held: ActiveUpload) -> Offer:
    return Offer(held.ticket, held.length, held.terms.owner, held.terms.content_type)
