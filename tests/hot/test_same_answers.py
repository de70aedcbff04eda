"""Answers from memory are those of the cold path, byte for byte, or none at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import field_names
import pytest
import storage
from hypothesis import given, settings
from hypothesis import strategies as st

from hmacfs import _hot, metrics
from hmacfs.app import App
from hmacfs.config import settings as conf
from hmacfs.connection import admission
from hmacfs.errors import Refused
from hmacfs.http import head as heads
from hmacfs.http import reply as replies
from hmacfs.log import Log
from hmacfs.model import Endpoint, FinishedRequest, Head, KiB, MiB, Reply, Secret, Span
from hmacfs.policy.hot_limits import SPAN_BYTES
from hmacfs.store import READING, Rules, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATE = b"Sun, 22 Nov 2026 12:00:00 GMT"
RUN_ID = b"0a1b2c3d"
BODY = bytes(range(256)) * 20
LARGER = bytes(range(256)) * 2 * KiB
"""Too large to be held in memory, and larger than what is sent at once."""
TARGET = "/upload/slot/a%20picture.png"
LARGER_TARGET = "/upload/slot/larger.png"
PIPELINED = 16


def hot_objects(  # noqa: PLR0913 - what a test may want to be otherwise
    slab: bytearray,
    row: metrics.CounterRow,
    keep: Callable[[bytes], object],
    root: int,
    *,
    limit_bytes: int = MiB,
    limit_files: int = 4,
    good_for_s: float = 60.0,
) -> _hot.Hot:
    return _hot.Hot(
        memoryview(slab),
        row.cells,
        admission.columns(),
        run_id=RUN_ID,
        keep=keep,
        root=root,
        open_flags=READING,
        body_bytes=MiB,
        limit_bytes=limit_bytes,
        limit_files=limit_files,
        span_bytes=SPAN_BYTES,
        good_for_s=good_for_s,
        most_age_s=replies.YEAR_S,
    )


def configure(hot: _hot.Hot, leads: tuple[bytes, ...] = (), *, any_origin: bool = True) -> None:
    limits = heads.HeadLimits()
    hot.configure(
        leads=leads,
        most_fields=limits.fields,
        most_bytes=limits.head_bytes,
        most_requests=PIPELINED,
        any_origin=any_origin,
        ranges=True,
        idle_s=75.0,
    )
    hot.tick(DATE)


def entry(body: bytes = b"body", *, logged: bytes = b"/x") -> _hot.Entry:
    return _hot.Entry(
        fields=(b"A: 1\r\n", b""),
        unmodified=(b"A: 1\r\n", b""),
        shared=(b"B: 2\r\n", b""),
        etag=b'"t"',
        logged=logged,
        path=b"nowhere",
        identity=(0, len(body), 0),
        expires=0.0,
        body=body,
        file=-1,
    )


class Paths:
    """Files, and the two ways to an answer."""

    def __init__(
        self, root: Path, store: Store, journal: Log, allow_origins: tuple[str, ...] = ("*",)
    ) -> None:
        endpoint = Endpoint(prefix="/upload/", directory="upload", protocols=("v",), secrets=(Secret(b"x"),))
        self.root = root
        self.counters = memoryview(bytearray(metrics.memory_bytes(1)))
        row = metrics.CounterRow(self.counters, 0)
        self.row = row
        self.slab = bytearray(64 * KiB)
        self.lines: list[bytes] = []
        cors = conf.Cors(allow_origins=allow_origins)
        self.app = App(conf.Settings(endpoints=(endpoint,), cors=cors), store, row, now=lambda: self.now)
        self.now = time.time()
        self.hot = hot_objects(self.slab, row, self.lines.append, store.root_fd)
        self.limits = heads.HeadLimits()
        configure(self.hot, journal.line_template(), any_origin=self.app.any_origin)
        self.memory = admission.Admission(self.hot, journal)

    def reply(self, raw: bytes) -> tuple[Head, Reply]:
        head = heads.parse(raw, self.limits)
        answer = self.app.answer(head, None)  # type: ignore[arg-type] # a download asks nothing of its link
        reply = answer if isinstance(answer, Reply) else asyncio.run(answer)
        self.app.decorate(reply, head)
        return head, reply

    def warm(self, target: str = TARGET) -> None:
        for _ in range(2):
            head, reply = self.reply(request("GET", target=target))
            self.memory.offer(head, reply)
            self.drop(reply)

    @staticmethod
    def drop(reply: Reply) -> None:
        if reply.file is not None:
            reply.file.descriptor.close()

    def cold(self, raw: bytes) -> bytes:
        """Return the answer of the cold path, with the request id that the hot one used."""
        head, reply = self.reply(raw)
        wire = replies.render(
            reply, head, request_id=self.hot.last_id(), date=DATE, keep_alive=head.keep_alive
        )
        if replies.sends_body(reply, head):
            assert reply.file is not None
            for piece in reply.pieces:
                wire += taken(piece, reply.file.descriptor.fileno())
        self.drop(reply)
        return wire

    def warm_answer(self, raw: bytes) -> tuple[int, bytes]:
        """Return how many bytes were answered from memory, and with what."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MiB)
            self.slab[: len(raw)] = raw
            used = self.hot.serve(ours.fileno(), len(raw), b"127.0.0.1:5000", None)
            assert self.hot.rest is None
            ours.shutdown(socket.SHUT_WR)
            received = bytearray()
            while piece := theirs.recv(MiB):
                received += piece
        return used, bytes(received)


def taken(piece: bytes | Span, fd: int) -> bytes:
    return os.pread(fd, piece.length, piece.start) if isinstance(piece, Span) else piece


def request(method: str, *fields: str, target: str = TARGET, version: str = "1.1") -> bytes:
    lines = "".join(f"{field}\r\n" for field in ("Host: localhost:8080", *fields))
    return f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode("latin-1")


RULES = storage.rules()


def make_files(root: Path) -> None:
    (root / "upload/slot").mkdir(parents=True)
    (root / "upload/slot/a picture.png").write_bytes(BODY)
    (root / "upload/slot/larger.png").write_bytes(LARGER)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    root: Path = tmp_path_factory.mktemp("hot")
    make_files(root)
    with contextlib.closing(Store.open(str(root), RULES)) as store:
        yield Paths(root, store, Log(2, level="info", style="logfmt"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Paths]]:
    """Return files and paths of a test's own, under other rules."""
    make_files(tmp_path)
    with contextlib.ExitStack() as undo:

        def made(rules: Rules = RULES, **options: tuple[str, ...]) -> Paths:
            store = undo.enter_context(contextlib.closing(Store.open(str(tmp_path), rules)))
            return Paths(tmp_path, store, Log(2, level="info", style="logfmt"), **options)

        yield made


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
        ("If-None-Match: {etag}", "Origin: https://chat.example"),
        ("X-Odd!#$%&'*+.^_`|~: \t spaced \t",),
        ("X-High: \xff\xfe",),
        ("X-Empty:",),
        ("Cookie: a=b", "Cookie: c=d"),
        ("Origin: https://chat.example",),
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
        request("GET", "Authorization: Bearer x"),
        request("GET", "Origin: a", "Origin: b"),
        request("GET", "If-Match: *"),
        request("GET", "If-Range: x", "Range: bytes=0-1"),
        request("GET", "If-Modified-Since: Sun, 22 Nov 2026 12:00:00 GMT"),
        request("GET", "If-None-Match: *"),
        request("GET", 'If-None-Match: "other"'),
        request("GET", "Want-Repr-Digest: sha-256=10"),
        request("HEAD", "want-repr-digest:"),
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


LOOKED_UP = sorted(field_names.looked_up())
NAMES = [*("Range", "If-None-Match", "Connection", "Host", "Origin"), *LOOKED_UP, "Upgrade", "X-A"]
VALUES = [
    *("1.0.0", "?1", "?0", "8", "sha-256=10", "chunked", "100-continue", "application/partial-upload", "0"),
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


@pytest.mark.parametrize("name", LOOKED_UP)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", [TARGET, f"{TARGET}?v={'0' * 64}"])
def test_every_field_that_code_asks_for_changes_nothing_or_is_left(
    paths: Paths, name: str, method: str, target: str
) -> None:
    """Whether in memory or not, a file is answered alike: as HEAD of tus and of the IETF's draft on one."""
    for fields in [(f"{name}: {value}",) for value in VALUES]:
        raw = request(method, *fields, target=target)
        paths.warm(target)
        used, answer = paths.warm_answer(raw)
        if used:
            assert answer == paths.cold(raw)


@pytest.mark.parametrize(
    "fields",
    [
        ("Tus-Resumable: 1.0.0",),
        ("tus-resumable: 0.2.2",),
        ("Upload-Complete: ?1",),
        ("Upload-Draft-Interop-Version: 8",),
    ],
)
def test_who_asks_about_an_upload_is_told_of_it(paths: Paths, fields: tuple[str, ...]) -> None:
    paths.warm()
    assert paths.warm_answer(request("HEAD", *fields)) == (0, b"")


def test_the_list_of_fields_is_derived() -> None:
    assert {"range", "origin", "tus-resumable", "want-repr-digest", "x-forwarded-for"} <= set(LOOKED_UP)


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


@pytest.mark.parametrize("target", [TARGET, LARGER_TARGET])
@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("HEAD", ()),
        ("GET", ("Range: bytes=0-0",)),
        ("GET", ("Range: bytes=5000-5099",)),
        ("GET", ("If-None-Match: {etag}",)),
        ("GET", ("Origin: https://chat.example",)),
    ],
)
def test_a_held_file_answers_as_one_in_memory(
    paths: Paths, target: str, method: str, fields: tuple[str, ...]
) -> None:
    tag = dict(paths.reply(request("HEAD", target=target))[1].fields)["ETag"]
    raw = request(method, *(field.format(etag=tag) for field in fields), target=target)
    if "Origin" in raw.decode():
        raw = raw.replace(b"\r\n\r\n", b"\r\nRange: bytes=1-100\r\n\r\n")
    paths.warm(target)
    used, answer = paths.warm_answer(raw)
    assert used == len(raw)
    assert answer == paths.cold(raw)


def test_more_of_a_file_than_one_turn_may_send_is_left_to_the_cold_path(paths: Paths) -> None:
    paths.warm(LARGER_TARGET)
    assert paths.warm_answer(request("GET", target=LARGER_TARGET))[0] == 0
    within = request("GET", f"Range: bytes=1-{SPAN_BYTES}", target=LARGER_TARGET)
    assert paths.warm_answer(within)[0] == len(within)
    beyond = request("GET", f"Range: bytes=1-{SPAN_BYTES + 1}", target=LARGER_TARGET)
    assert paths.warm_answer(beyond)[0] == 0


def test_where_origins_matter_they_are_left_to_the_cold_path(fresh: Callable[..., Paths]) -> None:
    paths = fresh(allow_origins=("https://chat.example",))
    paths.warm()
    assert paths.warm_answer(request("GET", "Origin: https://chat.example"))[0] == 0
    for plain in (request("GET", f"If-None-Match: {etag(paths)}"), request("GET")):
        used, answer = paths.warm_answer(plain)
        assert (used, answer) == (len(plain), paths.cold(plain))
    for _ in range(2):  # nor is anything kept that was made for one origin
        paths.hot.forget()
        head, reply = paths.reply(request("GET", "Origin: https://chat.example"))
        paths.memory.offer(head, reply)
        paths.drop(reply)
    assert paths.warm_answer(plain)[0] == 0


def test_where_no_origin_is_allowed_all_the_same_is_answered(fresh: Callable[..., Paths]) -> None:
    paths = fresh(allow_origins=())
    paths.warm()
    for fields in ((), (f"If-None-Match: {etag(paths)}",), ("Origin: https://chat.example",)):
        raw = request("GET", *fields)
        used, answer = paths.warm_answer(raw)
        assert (used, answer) == (len(raw), paths.cold(raw))


def test_max_age_counts_down_to_the_end_of_the_file(fresh: Callable[..., Paths]) -> None:
    paths = fresh(storage.rules(ttl_s=1000.0))
    paths.warm()
    for asked in (request("GET"), request("GET", f"If-None-Match: {etag(paths)}")):
        used, answer = paths.warm_answer(asked)
        assert used == len(asked)
        paths.now = time.time()
        ours, cold = (re.sub(rb"max-age=\d+", b"", wire) for wire in (answer, paths.cold(asked)))
        assert ours == cold
        found = re.search(rb"max-age=(\d+),", answer)
        assert found is not None
        assert 990 <= int(found[1]) <= 1000


def test_a_file_about_to_go_is_left_to_the_cold_path(fresh: Callable[..., Paths]) -> None:
    paths = fresh(storage.rules(ttl_s=1000.0))
    path = paths.root / "upload/slot/a picture.png"
    os.utime(path, (time.time() - 999.5,) * 2)
    paths.warm()
    assert paths.warm_answer(request("GET")) == (0, b"")


def vanish(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    body = path.read_bytes()
    path.rename(path.with_name("old"))
    path.write_bytes(body)


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def cut(path: Path) -> None:
    found = path.stat()
    os.truncate(path, 10)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def detour(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


@pytest.mark.parametrize("name", ["a picture.png", "larger.png"])
@pytest.mark.parametrize("change", [vanish, replace, touch, cut, link, detour])
def test_a_file_is_looked_up_again_when_its_time_is_over(
    fresh: Callable[..., Paths], name: str, change: Callable[[Path], None]
) -> None:
    paths = fresh()
    target = f"/upload/slot/{quote(name)}"
    paths.hot = hot_objects(
        paths.slab, paths.row, paths.lines.append, os.open(paths.root, os.O_PATH), good_for_s=0.0
    )
    configure(paths.hot)
    paths.memory = admission.Admission(paths.hot, Log(2, level="error", style="json"))
    paths.warm(target)
    raw = request("GET", "Range: bytes=1-5", target=target)
    for _ in range(3):
        assert paths.warm_answer(raw)[0] == len(raw)
    change(paths.root / "upload/slot" / name)
    assert paths.warm_answer(raw) == (0, b"")
    assert paths.hot.held_bytes == 0


def test_within_its_time_a_file_is_not_looked_up(fresh: Callable[..., Paths]) -> None:
    paths = fresh()
    paths.warm()
    (paths.root / "upload/slot/a picture.png").unlink()
    raw = request("GET")
    used, answer = paths.warm_answer(raw)
    assert used == len(raw)
    assert answer.endswith(BODY)


def test_open_files_are_bounded_and_closed_when_nobody_asks(fresh: Callable[..., Paths]) -> None:
    paths = fresh()
    for number in range(10):
        (paths.root / f"upload/slot/{number}").write_bytes(LARGER)
    before = descriptors()
    for number in range(10):
        paths.warm(f"/upload/slot/{number}")
    assert len(descriptors() - before) == 4
    last = request("HEAD", target="/upload/slot/9")
    assert paths.warm_answer(last)[0] == len(last)
    paths.hot.forget()
    assert descriptors() <= before
    paths.hot = hot_objects(
        paths.slab, paths.row, paths.lines.append, os.open(paths.root, os.O_PATH), good_for_s=0.0
    )
    configure(paths.hot)
    paths.memory = admission.Admission(paths.hot, Log(2, level="error", style="json"))
    before = descriptors()
    paths.warm(LARGER_TARGET)
    assert len(descriptors() - before) == 1
    paths.hot.tick(DATE)
    assert descriptors() <= before


def test_memory_is_bounded_and_the_used_stay(paths: Paths) -> None:
    paths.hot.forget()
    favourite = request("HEAD", target="/0")
    for number in range(100):
        assert paths.hot.admit(b"/%d" % number, entry(bytes(64 * KiB)))
        assert paths.warm_answer(favourite)[0] == len(favourite)
        assert paths.hot.held_bytes <= MiB
    assert not paths.hot.admit(b"/big", entry(bytes(MiB)))
    paths.hot.forget()
    assert paths.hot.held_bytes == 0


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def taken_from(sock: socket.socket, count: int) -> bytes:
    taken = bytearray()
    while len(taken) < count:
        taken += sock.recv(MiB)
    return bytes(taken)


@pytest.mark.parametrize("held", ["memory", "file"])
def test_a_full_socket_leaves_the_rest_to_be_sent(fresh: Callable[..., Paths], held: str) -> None:
    paths = fresh()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * KiB)
        if held == "memory":
            body, target = LARGER, "/large"
            assert paths.hot.admit(b"/large", entry(LARGER))
            raw = request("GET", target=target)
        else:
            body, target = LARGER[7:SPAN_BYTES], LARGER_TARGET
            paths.warm(target)
            raw = request("GET", f"Range: bytes=7-{SPAN_BYTES - 1}", target=target)
        paths.slab[: len(raw)] = raw
        assert paths.hot.serve(ours.fileno(), len(raw), b"c", None) == len(raw)
        assert paths.hot.rest is not None
        missing, status, code, sent, received = paths.hot.rest
        assert (status, code) == ((200, "ok") if held == "memory" else (206, "partial"))
        assert received == len(raw)
        assert missing is not None
        assert taken_from(theirs, sent).partition(b"\r\n\r\n")[2] + missing == body


def test_a_socket_without_any_room_leaves_the_head_too(paths: Paths) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for size in (64 * KiB, 1):  # where no more of the large fit, a small one may
            with contextlib.suppress(BlockingIOError):
                while True:
                    ours.send(bytes(size))
        for target in (TARGET, LARGER_TARGET):
            paths.warm(target)
            raw = request("GET", "Range: bytes=0-99", target=target)
            paths.slab[: len(raw)] = raw
            assert paths.hot.serve(ours.fileno(), len(raw), b"c", None) == len(raw)
            assert paths.hot.rest is not None
            assert paths.hot.rest[3] == 0
            assert paths.hot.rest[0] == paths.cold(raw)


def test_lines_are_those_of_the_log(paths: Paths, tmp_path: Path) -> None:
    for style in ("logfmt", "json"):
        with (tmp_path / style).open("w+b") as file:
            journal = Log(file.fileno(), level="info", style=style, clock=lambda: 0.0)
            configure(paths.hot, journal.line_template())
            target = b'/upload/a"b%0a\\?v=' + b"0" * 64
            shown = journal.shown(target)
            paths.hot.admit(target, entry(logged=shown))
            paths.hot.flush()
            used, answer = paths.warm_answer(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert used
            paths.lines.clear()
            paths.hot.flush()
            finished = FinishedRequest(
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
            journal.request(finished)
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
    before = {c: paths.row.read(c) for c in admission.columns()[:9]}
    for raw in (request("GET"), request("HEAD"), request("GET", "Range: bytes=0-9")):
        assert paths.warm_answer(raw)[0] == len(raw)
    columns = admission.columns()
    grown = [paths.row.read(c) - before[c] for c in columns[:9]]
    assert grown[:5] == [1, 0, 1, 1, 0]
    assert grown[7] == 1
    assert grown[5] == sum(map(len, (request("GET"), request("HEAD"), request("GET", "Range: bytes=0-9"))))
