"""One file over several connections: it arrives whole, once, or the client says why it does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from client.joining import JOIN, Joining
from client.standin import Cut, Forget, Lose, Mute, Say, Stall

from hmacfs.client.calls import SLOWEST_RATE, UploadClient
from hmacfs.client.destination import Destination
from hmacfs.client.parallel import MOST_PARTS, PART_BYTES, ParallelUpload, count_parts
from hmacfs.client.problem import Failed, GaveUp, TransientError
from hmacfs.client.retry import RetryPolicy
from hmacfs.client.source import Source
from hmacfs.client.transport import Transport
from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from client.standin import Fault

DATA = bytes(range(251)) * 4 * KiB  # close to 1 MiB, of which no two parts are the same
PARTS = 3
CHUNK = 200_000  # two requests for each part
TIMEOUT_S = 0.5


@dataclass
class Run:
    """One upload by a client that has the patience of a machine."""

    where: Path
    server: Joining
    fragment: str = "#,,"  # parts of any size, as after an interruption that came before the first of them
    data: bytes = DATA
    chunk: int | None = CHUNK
    connections: int = PARTS
    retries: int = 4
    timeout_s: float = 20.0
    rests: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    resource: str | None = None
    waits: int = 0

    def __call__(self) -> str | None:
        """Return the URL of the file; "" if it does not go in parts."""
        file = self.where / "file.bin"
        file.write_bytes(self.data)
        return asyncio.run(self._run(str(file)))

    async def _run(self, file: str) -> str | None:
        async def rest(seconds: float) -> None:
            self.rests.append(seconds)

        patience = RetryPolicy(self.retries, chance=lambda: 0.5, rest=rest, say=self.said.append)
        place = Destination.read(f"{self.server.url}/files/{self.fragment}", "text/plain")
        async with Transport({}, timeout_s=self.timeout_s) as transport:
            with Source(file) as source:
                joined = ParallelUpload(
                    UploadClient(transport, source, place, patience),
                    connections=self.connections,
                    chunk=self.chunk,
                    moved=self.moved.append,
                )
                try:
                    return await joined.run() if await joined.begin() else ""
                finally:
                    self.resource = joined.resource
                    self.waits = patience.waits

    def go_on(self) -> None:
        """Continue at what the last run has left behind."""
        assert self.resource is not None
        self.fragment = f"#{self.resource.partition('#')[2]}"
        self.rests.clear()
        self.server.seen.clear()

    def is_stored_once(self, url: str | None) -> bool:
        assert url is not None
        path = url.removeprefix(self.server.url)
        return self.server.files == {path: self.data} and self.moved[-1] == len(self.data)


@pytest.fixture
def server() -> Iterator[Joining]:
    with Joining() as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, server: Joining) -> Run:
    return Run(tmp_path, server)


@pytest.mark.parametrize(
    ("size", "connections", "parts"),
    [
        (0, 8, 1),
        (2 * PART_BYTES - 1, 8, 1),
        (2 * PART_BYTES, 8, 2),
        (100 * PART_BYTES, 1, 1),
        (100 * PART_BYTES, 8, 8),
        (100 * PART_BYTES, 99, MOST_PARTS),
    ],
)
def test_how_many_parts_are_worth_it(size: int, connections: int, parts: int) -> None:
    assert count_parts(size, connections) == parts


def test_all_connections_are_used_at_the_same_time(run: Run) -> None:
    run.fragment, run.data, run.chunk, run.connections = "", DATA * 17, None, 4
    run.server.meet = 4  # else none of them is answered
    assert run.is_stored_once(run())
    assert run.server.most == 4
    assert run.server.told == [{"filename": "file.bin", "filetype": "text/plain"}]
    assert Counter(run.server.methods()) == {"OPTIONS": 1, "POST": 4 + 1, "PATCH": 4}
    assert sum(run.server.bytes_of("PATCH")) == len(run.data)
    assert run.moved == sorted(run.moved)


def test_no_more_connections_than_are_allowed(run: Run) -> None:
    run.connections = run.server.meet = 2
    assert run.is_stored_once(run())
    assert run.server.most == 2


def test_the_servers_advice_is_followed(run: Run) -> None:
    run.chunk = None
    run.server.limit = "max-append-size=100000"
    assert run.is_stored_once(run())
    assert max(run.server.bytes_of("PATCH")) == 100_000


@pytest.mark.parametrize("extensions", ["", "creation,termination"])
def test_a_server_that_joins_nothing_is_not_asked_to(run: Run, extensions: str) -> None:
    run.fragment, run.data, run.server.extensions = "", bytes(2 * PART_BYTES), extensions
    assert run() == ""
    assert run.server.methods() == ["OPTIONS"]
    run.fragment = "#a,b"
    with pytest.raises(Failed, match="does not join"):
        run()


def test_a_file_larger_than_the_server_takes_is_not_begun(run: Run) -> None:
    run.server.limit = "max-size=1000"
    with pytest.raises(Failed, match="at most 1000 bytes"):
        run()


WELL = Lose(count=0)
# What breaks, in which request, and how many of that kind go well before. The parts take turns as they like:
# of six PATCHes only the first is known to be of CHUNK bytes, and the last to go on where another was.
BREAKS: list[tuple[str, int, Fault]] = [
    ("OPTIONS", 0, Mute()),
    ("POST", 0, Mute()),
    ("POST", 1, Say(status=503)),
    ("POST", 2, Stall()),
    ("PATCH", 0, Cut(after=0)),
    ("PATCH", 1, Cut(after=1)),
    ("PATCH", 0, Cut(after=CHUNK - 1)),
    ("PATCH", 2, Cut(after=100_000)),
    ("PATCH", 5, Cut(after=100_000)),
    ("PATCH", 0, Mute()),
    ("PATCH", 5, Mute()),
    ("PATCH", 4, Stall()),
    ("PATCH", 4, Say(status=503)),
    ("PATCH", 4, Say(status=404)),
    ("PATCH", 4, Say(status=410)),
    ("PATCH", 4, Say(status=409, fields={"Upload-Offset": "0"})),
    ("PATCH", 4, Lose(count=1)),
    ("PATCH", 4, Lose(count=PARTS)),
    ("PATCH", 5, Forget(last=1)),
    (JOIN, 0, Say(status=503)),
    (JOIN, 0, Mute()),
    (JOIN, 0, Stall()),
    (JOIN, 0, Lose(count=1)),
    (JOIN, 0, Lose(count=PARTS)),
]


@pytest.mark.parametrize(("kind", "before", "fault"), BREAKS)
def test_a_file_goes_on_where_it_broke(run: Run, kind: str, before: int, fault: Fault) -> None:
    run.timeout_s = TIMEOUT_S if isinstance(fault, Stall) else run.timeout_s
    run.server.faults[kind] += [*[WELL] * before, fault]
    assert run.is_stored_once(run())
    assert len(run.rests) == len(run.said) == run.waits >= 1
    sent = sum(run.server.bytes_of("PATCH"))
    assert sent <= len(DATA) * (2 if isinstance(fault, Lose | Say) else 1) + CHUNK


def test_the_joining_may_take_as_long_as_the_file_needs(run: Run) -> None:
    run.data, run.chunk, run.timeout_s = bytes(16 * MiB), None, 0.2
    run.server.faults[JOIN].append(Stall())
    assert run.is_stored_once(run())
    *_, unanswered, again = run.server.seen
    assert again.at - unanswered.at >= len(run.data) / SLOWEST_RATE > run.timeout_s


def test_bytes_that_came_are_not_sent_again(run: Run) -> None:
    run.server.faults["PATCH"] += [Cut(after=50_000), Cut(after=100_000), Cut(after=1), Mute()]
    assert run.is_stored_once(run())
    assert sum(run.server.bytes_of("PATCH")) == len(DATA)


def test_progress_on_a_connection_renews_its_patience(run: Run) -> None:
    run.connections = 1
    run.server.faults["PATCH"] += [Cut(after=50_000)] * 5
    assert run.is_stored_once(run())
    assert run.rests == [0.5] * 5


def test_each_connection_has_a_patience_of_its_own() -> None:
    rests = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    async def wait() -> None:
        first = RetryPolicy(2, chance=lambda: 0.5, rest=rest, say=lambda _: None)
        other = first.another()
        for patience in (first, other, first, other.another()):
            await patience.wait(TransientError("broken"))
        assert (rests, first.waits) == ([0.5, 0.5, 1.0, 0.5], 4)
        other.reset()
        with pytest.raises(GaveUp):
            await first.wait(TransientError("broken"))

    asyncio.run(wait())


@pytest.mark.parametrize(("kind", "parts"), [("OPTIONS", 0), ("POST", 0), ("PATCH", PARTS), (JOIN, PARTS)])
def test_a_server_that_dies_is_given_up_and_the_upload_continued(run: Run, kind: str, parts: int) -> None:
    run.server.faults[kind] += [Say(status=503)] * 99
    with pytest.raises(GaveUp, match="gave up: 503"):
        run()
    assert len(run.server.uploads) == parts
    run.server.faults.clear()
    run.server.seen.clear()
    if parts:
        run.go_on()
    assert run.is_stored_once(run())
    methods = run.server.methods()
    later = methods[methods.index("OPTIONS") :]  # what the run before had under way may come first
    assert later.count("POST") == 1 + (PARTS - parts)


def test_a_part_that_is_gone_is_begun_anew_by_a_later_run(run: Run) -> None:
    run.server.faults["PATCH"] += [*[WELL] * 5, *[Say(status=503)] * 99]
    with pytest.raises(GaveUp):
        run()
    first, *_ = run.server.uploads
    del run.server.uploads[first]
    run.server.faults.clear()
    run.go_on()
    assert run.is_stored_once(run())
    assert run.server.methods().count("POST") == 1 + 1


def test_what_an_earlier_run_has_stored_is_not_stored_again(run: Run) -> None:
    run.server.faults[JOIN] += [Mute()] * 99
    with pytest.raises(GaveUp):
        run()
    assert len(run.server.files) == 1
    run.server.faults.clear()
    run.go_on()
    assert run.is_stored_once(run())
    assert run.server.bytes_of("PATCH") == []


def test_a_lost_answer_that_nobody_can_give_again_is_said(run: Run) -> None:
    """Of a server that is not ours; the file may be there, so it is not sent once more."""
    run.server.remembers = False
    run.server.faults[JOIN].append(Mute())
    with pytest.raises(Failed, match=r"may have stored the file.* upload it to http://.*/files/$") as failed:
        run()
    assert not isinstance(failed.value, GaveUp)
    assert len(run.server.files) == 1
    sent = sum(run.server.bytes_of("PATCH"))
    run.go_on()
    with pytest.raises(Failed, match="may have stored the file"):
        run()
    assert (sent, run.server.bytes_of("PATCH")) == (len(DATA), [])


def test_another_file_is_not_continued(run: Run) -> None:
    run.server.faults[JOIN] += [Say(status=503)] * 99
    with pytest.raises(GaveUp):
        run()
    run.go_on()
    run.data = DATA + b"more"
    with pytest.raises(Failed, match="that was another file"):
        run()
    run.data, run.fragment = DATA, run.fragment.rpartition(",")[0]  # one of them is not named
    with pytest.raises(Failed, match="not all of the parts are named"):
        run()


def test_a_wrong_digest_is_said(run: Run) -> None:
    run.server.rot = True
    with pytest.raises(Failed, match="400 digest_mismatch: the digest is another"):
        run()
    assert run.server.files == {}


@pytest.mark.parametrize(("kind", "status"), [("POST", 400), ("PATCH", 413), (JOIN, 403), (JOIN, 501)])
def test_a_refusal_is_final(run: Run, kind: str, status: int) -> None:
    run.server.faults[kind].append(Say(status=status))
    with pytest.raises(Failed, match=str(status)) as failed:
        run()
    assert not isinstance(failed.value, GaveUp)
    assert run.rests == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("POST", {}),
        ("PATCH", {}),
        ("PATCH", {"Upload-Offset": "999999999"}),
    ],
)
def test_answers_that_make_no_sense_end_it(run: Run, kind: str, fields: dict[str, str]) -> None:
    run.server.faults[kind].append(Say(status=201, fields=fields))
    with pytest.raises(Failed, match=r"does not say|bytes of a part"):
        run()


def test_a_server_that_takes_nothing_is_given_up(run: Run) -> None:
    run.server.faults["PATCH"] += [Say(status=204, fields={"Upload-Offset": "0"})] * 99
    with pytest.raises(GaveUp, match="no more than before"):
        run()


def test_a_part_is_not_sent_elsewhere(run: Run) -> None:
    run.server.faults["POST"].append(Say(status=201, fields={"Location": "https://elsewhere.example/1"}))
    with pytest.raises(Failed, match="another origin"):
        run()
    run.fragment = "#1,https%3A%2F%2Felsewhere.example%2F1"
    with pytest.raises(Failed, match="another origin"):
        run()


@pytest.mark.parametrize("url", ["https://a.example/files/", "https://a.example/x/files/"])
@pytest.mark.parametrize(
    "parts",
    [
        ("https://a.example/files/1", None, "https://a.example/files/2"),
        ("https://a.example/files/a,b#%20c?d", "https://a.example/x/files/é%C3%A9"),
        (None, "https://b.example/elsewhere/1"),
    ],
)
def test_the_parts_are_named_in_one_word(url: str, parts: tuple[str | None, ...]) -> None:
    word = Destination(url=url, content_type="a/b").with_parts(parts)
    assert word.isascii()
    assert Destination.read(word, "a/b") == Destination(url=url, content_type="a/b", parts=parts)


def test_only_an_endpoint_has_parts() -> None:
    assert Destination.read("https://a.example/slot/x?v2=1#a,b", "").parts == ()
    assert Destination.read("https://a.example/files/#", "").parts == ()
