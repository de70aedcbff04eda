"""Answers from memory are those of the cold path, byte for byte, or none at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmacfs import _hot, metrics
from hmacfs.app import App
from hmacfs.config import settings as conf
from hmacfs.connection import memory
from hmacfs.errors import Refused
from hmacfs.http import head as heads
from hmacfs.http import reply as replies
from hmacfs.log import Log
from hmacfs.model import Durability, Endpoint, Head, KiB, MiB, Reply, Secret, Span
from hmacfs.store import Rules, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATE = b"Sun, 22 Nov 2026 12:00:00 GMT"
RUN_ID = b"0a1b2c3d"
BODY = bytes(range(256)) * 20
TARGET = "/upload/slot/a%20picture.png"
PIPELINED = 16


class Paths:
    """One file, and the two ways to an answer."""

    def __init__(self, store: Store, journal: Log) -> None:
        endpoint = Endpoint(prefix="/upload/", directory="upload", protocols=("v",), secrets=(Secret(b"x"),))
        self.counters = memoryview(bytearray(metrics.memory_bytes(1)))
        row = metrics.Row(self.counters, 0)
        self.row = row
        self.slab = bytearray(64 * KiB)
        self.lines: list[bytes] = []
        self.app = App(conf.Settings(endpoints=(endpoint,)), store, row)
        self.hot = _hot.Hot(
            memoryview(self.slab), row.cells, memory.columns(), MiB, RUN_ID, self.lines.append
        )
        self.limits = heads.Limits()
        self.hot.configure(journal.leads(), self.limits.fields, self.limits.head_bytes)
        self.hot.tick(DATE)
        self.memory = memory.Memory(self.hot, journal)

    def reply(self, raw: bytes) -> tuple[Head, Reply]:
        head = heads.parse(raw, self.limits)
        answer = self.app.answer(head, None)  # type: ignore[arg-type] # a download asks nothing of its link
        reply = answer if isinstance(answer, Reply) else asyncio.run(answer)
        return head, reply

    def warm(self) -> None:
        for _ in range(2):
            head, reply = self.reply(request("GET"))
            self.memory.offer(head, reply)
            self.drop(reply)

    @staticmethod
    def drop(reply: Reply) -> None:
        if reply.file is not None:
            os.close(reply.file.fd)

    def cold(self, raw: bytes) -> bytes:
        """Give the answer of the cold path, with the request id that the hot one used."""
        head, reply = self.reply(raw)
        wire = replies.render(
            reply, head, request_id=self.hot.last_id(), date=DATE, keep_alive=head.keep_alive
        )
        if replies.sends_body(reply, head):
            wire += b"".join(BODY[p.start : p.stop] if isinstance(p, Span) else p for p in reply.pieces)
        self.drop(reply)
        return wire

    def warm_answer(self, raw: bytes) -> tuple[int, bytes]:
        """Give how many bytes were answered from memory, and with what."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.slab[: len(raw)] = raw
            used = self.hot.serve(ours.fileno(), len(raw), PIPELINED, b"127.0.0.1:5000")
            ours.shutdown(socket.SHUT_WR)
            received = bytearray()
            while piece := theirs.recv(MiB):
                received += piece
        return used, bytes(received)


def request(method: str, *fields: str, target: str = TARGET, version: str = "1.1") -> bytes:
    lines = "".join(f"{field}\r\n" for field in ("Host: localhost:8080", *fields))
    return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    where: Path = tmp_path_factory.mktemp("hot")
    (where / "upload/slot").mkdir(parents=True)
    (where / "upload/slot/a picture.png").write_bytes(BODY)
    rules = Rules(
        durability=Durability.FULL,
        min_free_bytes=0,
        file_ttl_s=None,
        file_mode=0o640,
        directory_mode=0o750,
        directories=frozenset({"upload"}),
    )
    with contextlib.closing(Store.open(str(where), rules)) as store:
        yield Paths(store, Log(2, level="info", style="logfmt"))


def etag(paths: Paths) -> str:
    return dict(paths.reply(request("HEAD"))[1].fields)["ETag"]


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Accept: */*", "User-Agent: Conversations/2.12", "Accept-Encoding: identity"),
        ("Connection: keep-alive",),
        ("connection: Keep-Alive",),
        ("Range: bytes=0-99",),
        ("Range: bytes=100-",),
        ("Range: bytes=5119-5119",),
        ("Range: bytes=5000-99999",),
        ("If-None-Match: {etag}",),
        ("If-None-Match: {etag}", "Range: bytes=0-9"),
        ("X-Odd!#$%&'*+.^_`|~: \t spaced \t",),
        ("X-High: \xff\xfe",),
        ("X-Empty:",),
        ("Cookie: a=b", "Cookie: c=d"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_usual_requests_are_answered_from_memory(paths: Paths, method: str, fields: tuple[str, ...]) -> None:
    if method == "HEAD" and any(field.startswith("Range") for field in fields):
        fields = ()  # Range means nothing to HEAD; the cold path says so
    raw = request(method, *(field.format(etag=etag(paths)) for field in fields))
    paths.warm()
    used, answer = paths.warm_answer(raw)
    assert used == len(raw)
    assert answer == paths.cold(raw)


@pytest.mark.parametrize(
    "raw",
    [
        request("GET", version="1.0"),
        request("GET", "Connection: close"),
        request("GET", "Connection: upgrade", "Upgrade: h2c"),
        request("GET", "Host: other"),
        request("GET", "Content-Length: 0"),
        request("GET", "Content-Type: text/plain"),
        request("GET", "Transfer-Encoding: chunked"),
        request("GET", "Expect: 100-continue"),
        request("GET", "Origin: https://chat.example"),
        request("GET", "Authorization: Bearer x"),
        request("GET", "If-Match: *"),
        request("GET", "If-Range: x", "Range: bytes=0-1"),
        request("GET", "If-Modified-Since: Sun, 22 Nov 2026 12:00:00 GMT"),
        request("GET", "If-None-Match: *"),
        request("GET", 'If-None-Match: "other"'),
        request("GET", "Range: bytes=-5"),
        request("GET", "Range: bytes=0-"),
        request("GET", "Range: bytes=0-5119"),
        request("GET", "Range: bytes=5120-"),
        request("GET", "Range: bytes=9-3"),
        request("GET", "Range: bytes=0-1,3-4"),
        request("GET", "Range: bytes=0-1", "Range: bytes=0-1"),
        request("GET", "Range: bytes=0000000000000000000-1"),
        request("GET", "Range: lines=0-1"),
        request("GET", "Bad Name: x"),
        request("GET", "X: a\x00b"),
        request("GET", "X: a\x7fb"),
        request("GET", " folded: x"),
        request("GET", ": x"),
        request("GET", "no colon"),
        request("GET", *(f"X-{n}: a" for n in range(100))),
        request("GET", "X: " + "a" * 16384),
        request("GET", target="/upload/slot/other.png"),
        request("GET", target="/upload/slot/a picture.png"),
        request("GET", target="http://localhost:8080" + TARGET),
        request("PUT"),
        request("get"),
        request("GET")[:-2],
        request("GET").replace(b"\r\n", b"\n"),
        request("GET").replace(b"Host: localhost:8080\r\n", b""),
        request("GET").replace(b"localhost:8080", b"localhost:99999"),
        request("GET").replace(b"localhost:8080", b"[::1]:8080"),
        request("GET").replace(b"localhost:8080", b"u@localhost"),
        request("GET").replace(b"localhost:8080", b"a b"),
        request("GET").replace(b"localhost:8080", b""),
        request("GET").replace(b"localhost:8080", b"localhost:"),
        request("GET").replace(b"GET ", b"GET  "),
        b"\r\n" + request("GET"),
    ],
)
def test_all_others_are_left_to_the_cold_path(paths: Paths, raw: bytes) -> None:
    paths.warm()
    assert paths.warm_answer(raw) == (0, b"")


def test_pipelined_requests_are_answered_in_order_up_to_the_first_unusual(paths: Paths) -> None:
    paths.warm()
    usual = request("GET", "Range: bytes=1-2")
    other = request("GET", "Connection: close")
    used, answer = paths.warm_answer(usual + request("HEAD") + usual + other + usual)
    assert used == len(usual) * 2 + len(request("HEAD"))
    assert answer.count(b"HTTP/1.1 ") == 3
    assert paths.warm_answer(request("HEAD") * (PIPELINED + 5))[0] == len(request("HEAD")) * PIPELINED


NAMES = ["Range", "If-None-Match", "Accept", "Connection", "X-A", "Host", "Origin", "If-Range", "Upgrade"]
VALUES = [
    "bytes=0-9",
    "bytes=5-",
    "bytes=-3",
    "keep-alive",
    "close",
    "*",
    "",
    " x ",
    "a\tb",
    "\xe9",
    "localhost",
]


@settings(max_examples=1500)
@given(
    method=st.sampled_from(["GET", "HEAD"]),
    fields=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([*VALUES, "etag"])), max_size=4),
    cut=st.integers(0, 400),
    damage=st.none() | st.tuples(st.integers(0, 300), st.integers(0, 255)),
)
def test_whatever_is_answered_is_the_cold_answer(
    paths: Paths,
    method: str,
    fields: list[tuple[str, str]],
    cut: int,
    damage: tuple[int, int] | None,
) -> None:
    tag = etag(paths)
    raw = bytearray(request(method, *(f"{n}: {tag if v == 'etag' else v}" for n, v in fields)))
    if damage is not None and damage[0] < len(raw):
        raw[damage[0]] = damage[1]
    if cut < len(raw) // 4:
        del raw[len(raw) - cut :]
    paths.warm()
    used, answer = paths.warm_answer(bytes(raw))
    if used == 0:
        assert answer == b""
        return
    wire = bytes(raw[:used])
    try:
        expected = paths.cold(wire)
    except Refused as refused:
        pytest.fail(f"answered what the cold path refuses with {refused.refusal.code}: {wire!r}")
    assert answer == expected


def test_an_entry_is_good_for_its_time_only(paths: Paths) -> None:
    raw = request("GET", target="/upload/slot/b")
    parts = (b"A: 1\r\n", b"A: 1\r\n", b"B: 2\r\n", b'"t"', b"body", b"/b")
    assert paths.hot.admit(b"/upload/slot/b", *parts, 3600.0)
    assert paths.warm_answer(raw)[0] == len(raw)
    assert paths.hot.admit(b"/upload/slot/b", *parts, -1.0)
    assert paths.warm_answer(raw) == (0, b"")
    assert paths.hot.body_of(b"/upload/slot/b", b'"t"') == b"body"
    assert paths.hot.body_of(b"/upload/slot/b", b'"u"') is None
    paths.hot.forget()
    assert paths.hot.held_bytes == 0


def test_memory_is_bounded_and_the_used_stay(paths: Paths) -> None:
    parts = (b"A: 1\r\n", b"A: 1\r\n", b"B: 2\r\n", b'"t"', bytes(64 * KiB), b"/x")
    paths.hot.forget()
    favourite = request("HEAD", target="/0")
    for number in range(100):
        assert paths.hot.admit(b"/%d" % number, *parts, 60.0)
        assert paths.warm_answer(favourite)[0] == len(favourite)
        assert paths.hot.held_bytes <= MiB
    assert not paths.hot.admit(b"/big", *parts[:4], bytes(MiB), b"/big", 60.0)
    paths.hot.forget()


def test_a_full_socket_leaves_the_rest_to_be_sent(paths: Paths) -> None:
    body = bytes(range(256)) * 4 * KiB
    paths.hot.forget()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        raw = request("GET", target="/large")
        paths.slab[: len(raw)] = raw
        big = _hot.Hot(
            memoryview(paths.slab), paths.row.cells, memory.columns(), 8 * MiB, RUN_ID, paths.lines.append
        )
        big.configure((), 100, 16384)
        big.tick(DATE)
        assert big.admit(b"/large", b"A: 1\r\n", b"", b"", b'"t"', body, b"/large", 60.0)
        assert big.serve(ours.fileno(), len(raw), 1, b"c") == len(raw)
        assert big.rest is not None
        missing, status, code, sent, received = big.rest
        assert (status, code, received) == (200, "ok", len(raw))
        taken = bytearray()
        while len(taken) < sent:
            taken += theirs.recv(MiB)
        assert bytes(taken).partition(b"\r\n\r\n")[2] + missing == body


def test_lines_are_those_of_the_log(paths: Paths, tmp_path: Path) -> None:
    for style in ("logfmt", "json"):
        with (tmp_path / style).open("w+b") as file:
            journal = Log(file.fileno(), level="info", style=style, clock=lambda: 0.0)
            paths.hot.forget()
            paths.hot.configure(journal.leads(), 100, 16384)
            target = b'/upload/a"b%0a\\?v=' + b"0" * 64
            shown = journal.shown(target)
            paths.hot.admit(target, b"", b"", b"", b'"t"', b"x", shown, 60.0)
            paths.hot.flush()
            used, answer = paths.warm_answer(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert used
            paths.lines.clear()
            paths.hot.flush()
            journal.request(
                request_id=paths.hot.last_id(),
                client="127.0.0.1:5000",
                method="GET",
                target=target,
                status=200,
                code="ok",
                received=used,
                sent=len(answer),
                elapsed_s=0.0,
            )
            journal.flush()
            file.seek(0)
            cold, (hot,) = file.read(), paths.lines
            assert b"0" * 64 not in hot
            # All but the two times.
            marks = (b'"ts":"', b'"ms":') if style == "json" else (b"ts=", b"ms=")
            assert without(hot, *marks) == without(cold, *marks)


def without(line: bytes, *marks: bytes) -> bytes:
    for mark in marks:
        before, _, after = line.partition(mark)
        line = before + after.lstrip(b"0123456789-T:.Z")
    return line


def test_counters_agree_with_the_answers(paths: Paths) -> None:
    paths.warm()
    before = {c: paths.row.read(c) for c in memory.columns()[:9]}
    for raw in (request("GET"), request("HEAD"), request("GET", "Range: bytes=0-9")):
        assert paths.warm_answer(raw)[0] == len(raw)
    columns = memory.columns()
    grown = [paths.row.read(c) - before[c] for c in columns[:9]]
    assert grown[:5] == [1, 1, 0, 1, 0]
    assert grown[7] == 1
    assert grown[5] == sum(map(len, (request("GET"), request("HEAD"), request("GET", "Range: bytes=0-9"))))
