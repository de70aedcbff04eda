"""The post: workers find and end one another's PUTs, and nobody waits long for one who does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, TypeAlias

import pytest

from hmacfs import errors
from hmacfs.app.resumable import ActiveUpload, ActiveUploads
from hmacfs.errors import Refused
from hmacfs.ipc import ChannelFds, Channels, Peers, channel, messages, presence
from hmacfs.ipc.messages import Message, MessageKind, Offer
from hmacfs.ipc.presence import PresenceTable
from hmacfs.store.sessions import UploadInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Workers: TypeAlias = "list[ActiveUploads]"

KEY = "upload/slot/file"
SLOTS = 3
NUMBER = 7


class Link:
    """A client whose body is coming."""

    def __init__(self) -> None:
        self.broken: list[Refused] = []
        self.heard = asyncio.Event()

    def abort_body(self, refused: Refused) -> None:
        self.broken.append(refused)
        self.heard.set()


def inherited(boxes: Channels, slot: int) -> ChannelFds:
    """Return what a process of its own would inherit."""
    given = boxes.of(slot)
    shared = tuple(os.dup(box) for box in given.outboxes)
    return ChannelFds(inbox=os.dup(given.inbox), outboxes=shared, presence_table=os.dup(given.presence_table))


@contextlib.contextmanager
def worker(boxes: Channels, slot: int) -> Iterator[ActiveUploads]:
    """Be a worker; give its plain PUTs."""
    peers = Peers(asyncio.get_running_loop(), slot, inherited(boxes, slot))
    underway = ActiveUploads(peers)
    peers.listen(underway)
    try:
        yield underway
    finally:
        peers.close()


@contextlib.contextmanager
def boxes_of(slots: int) -> Iterator[Channels]:
    boxes = Channels(slots)
    try:
        yield boxes
    finally:
        boxes.close()


def together(act: Callable[[Workers, Channels], Coroutine[None, None, None]], *, slots: int = SLOTS) -> None:
    """Let workers in all slots but the last act; nobody is in that one."""

    async def run() -> None:
        with contextlib.ExitStack() as undo:
            boxes = undo.enter_context(boxes_of(slots))
            await act([undo.enter_context(worker(boxes, slot)) for slot in range(slots - 1)], boxes)

    asyncio.run(run())


@contextlib.contextmanager
def held(underway: ActiveUploads, link: Link, owner: str) -> Iterator[ActiveUpload]:
    terms = UploadInfo(key=KEY, owner=owner, content_type="text/plain")
    put = underway.hold(KEY, 1000, link, lambda: terms)  # type: ignore[arg-type] # no more is asked of it
    try:
        yield put
    finally:
        put.release()


def belongs_to(owner: str) -> Callable[[UploadInfo, int], bool]:
    return lambda terms, length: (terms.owner, terms.content_type, length) == (owner, "text/plain", 1000)


def test_a_put_is_ended_by_its_owner_and_waited_for() -> None:
    async def act(workers: Workers, _boxes: Channels) -> None:
        link, other = Link(), Link()
        with held(workers[1], other, "bob"):
            with held(workers[1], link, "alice"):
                taking = asyncio.ensure_future(workers[0].take_over(KEY, belongs_to("alice")))
                await link.heard.wait()
                assert [refused.refusal for refused in link.broken] == [errors.UPLOAD_TAKEN_OVER]
                assert not taking.done()
            await taking
            await workers[0].take_over(KEY, belongs_to("alice"))
            await workers[1].take_over(KEY, belongs_to("carol"))
            await workers[0].take_over("upload/other", belongs_to("bob"))
        await workers[0].take_over(KEY, belongs_to("bob"))
        assert (len(link.broken), other.broken) == (1, [])

    together(act)


def test_all_of_an_owner_are_ended_wherever_they_are() -> None:
    async def act(workers: Workers, _boxes: Channels) -> None:
        links = [Link(), Link(), Link()]
        with contextlib.ExitStack() as through:
            for number, link in enumerate(links):
                through.enter_context(held(workers[number % 2], link, "alice"))
            taking = [
                asyncio.ensure_future(underway.take_over(KEY, belongs_to("alice")))
                for underway in (*workers, *workers)
            ]
            await asyncio.gather(*(link.heard.wait() for link in links))
        await asyncio.gather(*taking)
        assert [len(link.broken) for link in links] == [1, 1, 1]

    together(act)


async def least_s(asking: ActiveUploads) -> float:
    """Return how long alice's taking over takes when nothing else holds it up: the least of several times."""
    taken_s = []
    for _ in range(5):
        began = time.monotonic()
        await asking.take_over(KEY, belongs_to("alice"))
        taken_s.append(time.monotonic() - began)
    return min(taken_s)


def test_who_does_not_answer_is_waited_for_no_longer_than_that() -> None:
    """Somebody was in the last slot, and has noted on the board that it has the PUT."""

    async def act(workers: Workers, boxes: Channels) -> None:
        PresenceTable(os.dup(boxes.of(2).presence_table), 2).count(KEY, 1)
        began = time.monotonic()
        await workers[0].take_over(KEY, belongs_to("alice"))
        assert time.monotonic() - began >= channel.ANSWER_S
        link = Link()
        with held(workers[1], link, "alice"):
            taking = asyncio.ensure_future(workers[0].take_over(KEY, belongs_to("alice")))
            await link.heard.wait()
        await taking
        with worker(boxes, 2):  # whose predecessor's questions are in its box
            assert await least_s(workers[0]) < channel.ANSWER_S

    together(act)


def test_a_full_box_is_no_answer() -> None:
    async def act(workers: Workers, boxes: Channels) -> None:
        PresenceTable(os.dup(boxes.of(2).presence_table), 2).count(KEY, 1)
        fill(boxes.of(2).outboxes[2])
        assert await least_s(workers[0]) < channel.ANSWER_S

    together(act)


def test_an_offer_that_cannot_be_taken_is_busy() -> None:
    """The worker that has it has answered, and then its box is full."""

    async def act(workers: Workers, boxes: Channels) -> None:
        PresenceTable(os.dup(boxes.of(2).presence_table), 2).count(KEY, 1)
        taking = asyncio.ensure_future(workers[0].take_over(KEY, belongs_to("alice")))
        asked = await letter_in(boxes.of(2).inbox)
        assert (asked.kind, asked.sender, asked.key) == (MessageKind.ASK, 0, KEY)
        fill(boxes.of(2).outboxes[2])
        offer = Offer(1, 1000, "alice", "text/plain")
        answer(boxes, Message(kind=MessageKind.OFFER, sender=2, number=asked.number, offers=(offer,)))
        with pytest.raises(Refused) as caught:
            await taking
        assert caught.value.refusal is errors.BUSY

    together(act)


def test_strange_letters_change_nothing() -> None:
    async def act(workers: Workers, boxes: Channels) -> None:
        link = Link()
        with held(workers[0], link, "alice") as mine:
            offer = Offer(1, 1000, "alice", "text/plain")
            for message in (
                Message(kind=MessageKind.OFFER, sender=1, number=NUMBER, offers=(offer,)),
                Message(kind=MessageKind.ENDED, sender=1, number=NUMBER),
                Message(kind=MessageKind.TAKE, sender=1, number=NUMBER, key=KEY, ticket=mine.ticket + 1),
                Message(kind=MessageKind.TAKE, sender=1, number=NUMBER, key="other", ticket=mine.ticket),
                Message(kind=MessageKind.TAKE, sender=SLOTS, number=NUMBER, key=KEY, ticket=mine.ticket),
                Message(kind=MessageKind.TAKE, sender=-1, number=NUMBER, key=KEY, ticket=mine.ticket),
            ):
                answer(boxes, message)
            with socket.socket(fileno=os.dup(boxes.of(0).outboxes[0])) as box:
                box.send(b"no letter")
            taking = asyncio.ensure_future(workers[1].take_over(KEY, belongs_to("bob")))
            await taking  # those before were read then
            assert not link.broken

    together(act)


def fill(fd: int) -> None:
    """Leave no room in a box."""
    with socket.socket(fileno=os.dup(fd)) as box, contextlib.suppress(BlockingIOError):
        while True:
            box.send(b"x")


async def letter_in(fd: int) -> Message:
    """Return the next letter in the box of somebody who is not there."""
    with socket.socket(fileno=os.dup(fd)) as inbox:
        data = await asyncio.get_running_loop().sock_recv(inbox, 1 << 16)
    message = messages.read(data)
    assert message is not None
    return message


def answer(boxes: Channels, message: Message) -> None:
    """Put a letter into the first worker's box."""
    with socket.socket(fileno=os.dup(boxes.of(0).outboxes[0])) as box:
        box.send(messages.write(message))


def test_the_board_shows_who_must_be_asked() -> None:
    fd = presence.create(SLOTS)
    boards = [PresenceTable(os.dup(fd), slot) for slot in range(SLOTS)]
    assert [one.others(KEY) for one in boards] == [[], [], []]
    boards[1].count(KEY, 1)
    boards[1].count(KEY, 1)
    boards[2].count(KEY, 1)
    assert [one.others(KEY) for one in boards] == [[1, 2], [2], [1]]
    boards[1].count(KEY, -1)
    boards[2].count(KEY, -1)
    assert [one.others(KEY) for one in boards] == [[1], [], [1]]
    PresenceTable(os.dup(fd), 1)  # a successor
    assert boards[0].others(KEY) == []
    os.close(fd)
