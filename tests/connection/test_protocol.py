"""One connection without a process: a transport driven by hand and a clock that the test sets."""

from __future__ import annotations

import gc
import json
import struct
from typing import TYPE_CHECKING

import pytest
import serving
from fake_transport import FakeClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workbench import HeldThreads, Workbench

from hmacfs import errors
from hmacfs.connection import HttpProtocol
from hmacfs.connection.channel import PlainChannel, TlsChannel
from hmacfs.connection.context import LAST_CALL_S, SPARE_CONNECTIONS
from hmacfs.connection.lingering import LINGER_ROUNDS
from hmacfs.connection.protocol import EPOLL_FROM_CONNECTIONS
from hmacfs.errors import Refused
from hmacfs.http import reply as replies
from hmacfs.metrics import catalogue
from hmacfs.model import KiB, MiB
from hmacfs.policy import disk_latency

if TYPE_CHECKING:
    from collections.abc import Callable

    from hmacfs.connection.channel import ChannelType

TYPE = {"Content-Type": "application/octet-stream"}
CHANNELS = pytest.mark.parametrize("channel", [PlainChannel, TlsChannel])


def connected(bench: Workbench, channel: ChannelType = PlainChannel, **how: object) -> FakeClient:
    client = FakeClient(bench, channel, **how)  # type: ignore[arg-type]
    client.connect()
    client.go()
    return client


def get(path: str, **fields: str) -> bytes:
    return serving.head("GET", path, fields)


def put_head(size: int, rel: str = "", **fields: str) -> bytes:
    return serving.head("PUT", serving.signed(rel or serving.fresh(), size), {**TYPE, **fields}, size)


def put(body: bytes, rel: str = "", **fields: str) -> bytes:
    return put_head(len(body), rel, **fields) + body


def stored(bench: Workbench, rel: str, content: bytes) -> None:
    path = bench.path_of(rel)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def codes(bench: Workbench) -> list[str]:
    """Return the codes of the answers in the log, in order."""
    bench.log.flush()
    lines = map(json.loads, bench.log_path.read_text().splitlines())
    return [line["code"] for line in lines if line["event"] == "request"]


def last_line(bench: Workbench) -> dict[str, object]:
    """Return the newest line of the log."""
    bench.log.flush()
    line: dict[str, object] = json.loads(bench.log_path.read_text().splitlines()[-1])
    return line


# Heads and pipelining.


@CHANNELS
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_where_the_bytes_are_cut_does_not_matter(
    bench: Workbench, channel: ChannelType, data: st.DataObject
) -> None:
    rel = serving.fresh()
    stored(bench, "a/known.txt", b"known")
    stream = b"".join(
        [
            get("/upload/a/known.txt"),
            put(b"x" * 3000, rel),
            serving.head("HEAD", f"/upload/{rel}", None),
            get("/upload/a/missing.txt", Connection="close"),
        ]
    )
    cuts = data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=6, unique=True).map(sorted))
    client = connected(bench, channel)
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        client.send(stream[start:stop])
    answers = client.answers(4, "GET", "PUT", "HEAD", "GET")
    assert [answer.status for answer in answers] == [200, 201, 200, 404]
    assert answers[0].body == b"known"
    assert bench.path_of(rel).read_bytes() == b"x" * 3000
    assert not bench.errors()


def test_each_byte_by_itself(bench: Workbench) -> None:
    client = connected(bench)
    rel = serving.fresh()
    for byte in put(b"hello", rel) + get(f"/upload/{rel}"):
        client.sock.send(bytes([byte]))
        client.read()
    assert [answer.status for answer in client.answers(2)] == [201, 200]


def test_a_turn_answers_so_many_requests_and_no_more(bench: Workbench) -> None:
    most = bench.service.max_pipelined
    client = connected(bench)
    client.sock.send(get("/health") * (most + 3))

    def read() -> bool:
        client.transport.read()
        return client.transport.is_reading()

    assert not client.call(read), "it holds more than it may answer in one turn"
    assert len(client.answers(most + 3)) == most + 3
    assert client.transport.is_reading()


def test_a_request_waits_until_the_one_before_is_answered(bench: Workbench) -> None:
    """While an upload is under way no more than one buffer of what follows is read."""
    client = connected(bench)
    client.holds_threads = True
    bench.disk_threads.note(disk_latency.ALARM_S)
    rel = serving.fresh()
    client.sock.send(put(b"x" * 100, rel) + get(f"/upload/{rel}"))
    client.go()
    assert not client.received
    assert not client.transport.is_reading()
    client.holds_threads = False
    assert [answer.status for answer in client.answers(2)] == [201, 200]


def test_a_head_past_saving_is_refused_before_it_is_whole(bench: Workbench) -> None:
    client = connected(bench)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n")
    assert client.answers(1)[0].status == 400
    assert client.answers(1)[0].fields["connection"] == "close"


def test_a_client_of_http_2_is_told_to_use_http_1_1(bench: Workbench) -> None:
    client = connected(bench)
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    client.wait_until(lambda: b"HTTP/1.1 is spoken here" in client.received)
    assert codes(bench) == [errors.HTTP2_PREFACE.code]


# Deadlines.


def test_a_head_has_its_time_from_the_first_byte_on(bench: Workbench) -> None:
    client = connected(bench)
    client.pass_time(30)
    client.send(b"GET / HTTP")
    client.pass_time(6)
    client.send(b"/1.1\r\n")
    client.pass_time(3.9)
    assert not client.received
    client.pass_time(0.1)
    assert client.answers(1)[0].status == 408
    assert codes(bench) == [errors.REQUEST_TIMEOUT.code]


def test_an_idle_connection_is_closed_without_a_word(bench: Workbench) -> None:
    client = connected(bench)
    client.pass_time(59.9)
    assert client.is_open
    client.pass_time(0.1)
    assert not client.is_open
    client.wait_until(lambda: client.take() or client.ended)
    assert client.received == b""


def test_each_answer_begins_the_idle_time_anew(bench: Workbench) -> None:
    client = connected(bench)
    for count in range(1, 4):
        client.pass_time(50)
        client.send(get("/upload/a/missing"))
        assert client.answers(count)[-1].status == 404


BODIES = pytest.mark.parametrize("size", [5000, 300 * KiB, 3 * MiB], ids=["small", "trickled", "large"])


@BODIES
@CHANNELS
def test_a_body_that_stalls_is_refused(bench: Workbench, channel: ChannelType, size: int) -> None:
    rel = serving.fresh()
    client = connected(bench, channel)
    client.send(put_head(size, rel) + b"x" * 1000)
    client.pass_time(29.9)
    assert not client.received
    client.pass_time(0.2)
    assert client.answers(1)[0].status == 408
    assert codes(bench) == [errors.BODY_TOO_SLOW.code]
    assert not bench.path_of(rel).exists()


@BODIES
@CHANNELS
def test_a_body_may_be_slow_but_not_for_ever(bench: Workbench, channel: ChannelType, size: int) -> None:
    """The minimum rate holds each window; the time of the whole is bounded besides."""
    client = connected(bench, channel)
    client.send(put_head(size * 100))
    enough = 31_000
    for _ in range(9):
        client.send(b"x" * enough)
        client.pass_time(30)
        assert not client.received
    client.send(b"x" * enough)
    client.pass_time(30.1)
    assert client.answers(1)[0].status == 408
    assert codes(bench) == [errors.BODY_TOO_SLOW.code]


def test_a_slow_disk_is_not_the_clients_fault(bench: Workbench) -> None:
    rel = serving.fresh()
    client = connected(bench)
    bench.disk_threads.note(disk_latency.ALARM_S)
    client.holds_threads = True
    client.send(put_head(3000, rel) + b"x" * 3000)
    for _ in range(3):
        client.pass_time(40)
    assert not client.received
    client.holds_threads = False
    assert client.answers(1)[0].status == 201
    assert bench.path_of(rel).read_bytes() == b"x" * 3000


@CHANNELS
def test_a_reader_that_stalls_is_dropped(bench: Workbench, channel: ChannelType) -> None:
    stored(bench, "a/large.bin", b"y" * (8 * MiB))
    client = connected(bench, channel, buffer=16 * KiB)
    client.transport.holds_back = channel is TlsChannel
    client.sock.send(get("/upload/a/large.bin"))
    while client.read():
        pass
    bench.turn(50)
    assert bench.row.read(catalogue.ACTIVE_DOWNLOADS) == 1
    bench.loop.now += 20.1  # type: ignore[attr-defined] # a ManualLoop
    client.call(client.http.expire, bench.loop.time())
    if client.is_open and not client.transport.is_closing():  # what the kernel took counts once
        bench.loop.now += 20.1  # type: ignore[attr-defined] # a ManualLoop
        client.call(client.http.expire, bench.loop.time())
    bench.turn(8)
    assert client.transport.aborted
    assert bench.row.read(catalogue.ACTIVE_DOWNLOADS) == 0
    assert last_line(bench)["broken"] == "client_stalled"


def test_a_reader_that_is_slow_is_served_to_its_end(bench: Workbench) -> None:
    content = bytes(range(256)) * (16 * KiB)
    stored(bench, "a/large.bin", content)
    client = connected(bench, buffer=32 * KiB)
    client.sock.send(get("/upload/a/large.bin"))
    while client.read():
        pass
    for _ in range(10):
        bench.turn(10)
        client.take()
        bench.loop.now += 19  # type: ignore[attr-defined] # a ManualLoop
        if client.http.deadline <= bench.loop.time():
            client.call(client.http.expire, bench.loop.time())
    assert client.answers(1)[0].body == content


# The end.


def refused(client: FakeClient) -> None:
    """Send a request whose body is not wanted, and half of that."""
    client.send(serving.head("PUT", "/upload/a/b", TYPE, 100_000) + b"x" * 1000)
    assert client.answers(1)[0].status in {401, 403}


def test_a_refusal_reaches_a_client_that_goes_on_sending(bench: Workbench) -> None:
    """Half-close first, so that the answer is not lost to a reset (RFC 9112 9.6)."""
    client = connected(bench)
    refused(client)
    client.wait_until(lambda: client.take() or client.ended)
    client.send(b"x" * 50_000)
    assert client.is_open
    client.pass_time(2.1)
    assert client.is_open, "it was not silent"
    client.pass_time(2.1)
    assert not client.is_open
    assert not client.was_reset


def test_a_refused_client_is_not_listened_to_for_ever(bench: Workbench) -> None:
    client = connected(bench)
    refused(client)
    for _ in range(LINGER_ROUNDS - 1):
        client.send(b"x" * 100)
        client.pass_time(2.1)
        assert client.is_open
    client.send(b"x" * 100)
    client.pass_time(2.1)
    assert not client.is_open


def test_over_tls_a_refused_client_is_read_to_its_end(bench: Workbench) -> None:
    client = connected(bench, TlsChannel)
    refused(client)
    client.send(b"x" * 99_000)
    assert client.is_open
    assert not client.ended, "TLS has no half-close here"
    client.pass_time(2.1)
    client.pass_time(2.1)
    assert not client.is_open


@CHANNELS
def test_an_idle_connection_is_kept_for_a_moment_while_the_server_drains(
    bench: Workbench, channel: ChannelType
) -> None:
    busy, idle = connected(bench, channel), connected(bench, channel)
    busy.send(put_head(5) + b"abc")
    bench.service.draining = True
    for client in (busy, idle):
        client.call(client.http.drain)
    idle.pass_time(LAST_CALL_S)
    assert not idle.is_open
    busy.send(b"de")
    answer = busy.answers(1)[0]
    assert (answer.status, answer.fields["connection"]) == (201, "close")
    assert not busy.is_open


@CHANNELS
def test_an_upload_is_told_that_the_server_ends(bench: Workbench, channel: ChannelType) -> None:
    uploading, idle = connected(bench, channel), connected(bench, channel)
    uploading.send(put_head(3 * MiB) + b"abc")
    for client in (uploading, idle):
        client.call(client.http.abandon)
        client.go()
    assert not idle.is_open
    assert idle.transport.aborted
    assert uploading.answers(1)[0].status == 503
    assert codes(bench) == [errors.DRAINING.code]
    uploading.call(uploading.http.abandon)
    uploading.go()
    assert not uploading.is_open


def test_requests_before_a_half_close_are_all_answered(bench: Workbench) -> None:
    rel = serving.fresh()
    client = connected(bench)
    client.sock.send(put(b"abc", rel) + get(f"/upload/{rel}"))
    client.sock.shutdown(1)
    assert [answer.status for answer in client.answers(2)] == [201, 200]
    client.wait_until(lambda: not client.is_open)


@pytest.mark.parametrize("size", [5000, 3 * MiB])
@CHANNELS
def test_a_body_that_breaks_off_is_refused(bench: Workbench, channel: ChannelType, size: int) -> None:
    rel = serving.fresh()
    client = connected(bench, channel)
    client.send(put_head(size, rel) + b"x" * 1000)
    client.sock.shutdown(1)
    client.wait_until(lambda: not client.is_open)
    assert codes(bench) == [errors.BODY_INCOMPLETE.code]
    assert (b"HTTP/1.1 400" in client.received) == (channel is PlainChannel)
    assert not bench.path_of(rel).exists()
    assert bench.row.read(catalogue.ACTIVE_UPLOADS) == 0


@pytest.mark.parametrize("size", [5000, 3 * MiB])
def test_a_reset_ends_the_upload(bench: Workbench, size: int) -> None:
    rel = serving.fresh()
    client = connected(bench)
    client.send(put_head(size, rel) + b"x" * 1000)
    client.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER: close with a reset
    client.sock.close()
    for _ in range(20):
        client.read()
        bench.turn()
    assert not client.is_open
    assert codes(bench) == [errors.BODY_INCOMPLETE.code]
    assert not bench.path_of(rel).exists()


def test_a_commit_goes_on_when_its_client_leaves(make_bench: Callable[..., Workbench]) -> None:
    """What came whole is stored, though nobody can be told."""
    bench = make_bench('durability = "full"')
    rel = serving.fresh()
    client = connected(bench)
    syncs = HeldThreads()
    for name in ("_syncs", "_writer"):
        setattr(bench.store._uploads.publisher, name, syncs)
    client.send(put(b"x" * 100, rel))
    assert syncs.jobs
    client.call(client.transport.abort)
    bench.turn()
    assert not client.is_open
    assert not bench.path_of(rel).exists()
    while syncs.jobs:
        syncs.run(0)
        bench.turn()
    bench.until(lambda: bench.path_of(rel).exists(), "the file")
    bench.until(lambda: not bench.service.tasks, "the end of the answer")
    assert last_line(bench)["broken"] == "client_gone"
    assert not bench.errors()


def test_a_broken_connection_ends_without_a_word(bench: Workbench) -> None:
    client = connected(bench)
    client.call(client.http.on_failed, None)
    client.go()
    assert client.transport.aborted
    assert not bench.errors()
    client.call(client.http.on_failed, None)  # a second time is nothing


def test_a_fault_of_ours_is_logged_and_ends_the_connection(bench: Workbench) -> None:
    client = connected(bench)
    client.call(client.http.on_failed, RuntimeError("a fault"))
    client.go()
    assert not client.is_open
    assert ["a fault" in line for line in bench.errors()] == [True]


# Who comes.


def test_more_clients_than_may_come_are_told_so(make_bench: Callable[..., Workbench]) -> None:
    bench = make_bench("max_connections = 2")
    clients = [connected(bench) for _ in range(3)]
    assert clients[2].answers(1)[0].status == 503
    assert codes(bench) == [errors.TOO_MANY_CONNECTIONS.code]
    assert all(client.is_open for client in clients), "the third lingers, so that its answer arrives"
    crowd = [connected(bench) for _ in range(SPARE_CONNECTIONS + 1)]
    assert not crowd[-1].is_open, "there is no time for its end"
    clients[0].send(get("/upload/a/b"))
    assert clients[0].answers(1)[0].status == 404


def test_a_client_that_is_gone_before_it_is_asked_about(bench: Workbench) -> None:
    client = FakeClient(bench)
    client.transport._peer = None
    client.connect()
    client.go()
    assert not client.is_open
    assert client.transport.aborted
    assert not bench.errors()


FORWARDED = {"X-Forwarded-For": "203.0.113.7"}


@pytest.mark.parametrize(
    ("trusted", "named", "fields", "shown"),
    [
        ("[]", "", FORWARDED, "127.0.0.1:"),
        ('["127.0.0.1"]', "", FORWARDED, "203.0.113.7"),
        ('["127.0.0.1"]', "", {}, "127.0.0.1:"),
        ('["127.0.0.1"]', "198.51.100.1:4", FORWARDED, "198.51.100.1:4"),
        ('["127.0.0.1", "198.51.100.1"]', "198.51.100.1:4", FORWARDED, "203.0.113.7"),
    ],
)
def test_whose_request_it_is(
    make_bench: Callable[..., Workbench],
    trusted: str,
    named: str,
    fields: dict[str, str],
    shown: str,
) -> None:
    bench = make_bench(f"trusted_proxies = {trusted}")
    client = connected(bench, named=named)
    client.send(get("/upload/a/b", **fields))
    client.answers(1)
    assert str(last_line(bench)["client"]).startswith(shown)
    client.send(b"GET /\r\n\r\n")  # no head: nothing of the request before is known of it
    client.answers(2)
    assert not str(last_line(bench)["client"]).startswith("203.")


# Interim answers, and what the socket takes a part of.


@CHANNELS
def test_a_body_is_asked_for_once_it_is_known_to_be_wanted(bench: Workbench, channel: ChannelType) -> None:
    client = connected(bench, channel)
    client.send(put_head(5, Expect="100-continue"))
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert [answer.status for answer in client.answers(2)] == [100, 201]


def test_a_body_that_is_not_wanted_is_not_asked_for(bench: Workbench) -> None:
    client = connected(bench)
    client.send(serving.head("PUT", "/upload/a/b", {**TYPE, "Expect": "100-continue"}, 5))
    assert client.answers(1)[0].status in {401, 403}


@pytest.mark.parametrize("takes", [0, 1, 10, len(replies.CONTINUE)])
def test_an_interim_answer_that_is_cut_goes_on_with_the_answer(bench: Workbench, takes: int) -> None:
    """If the socket takes nothing, the client is not waiting, and it is left out."""

    class NarrowChannel(PlainChannel):
        def write(self, data: bytes) -> int:
            return super().write(data[:takes]) if takes else 0

    client = connected(bench, NarrowChannel)
    client.send(put_head(5, Expect="100-continue"))
    assert client.received == replies.CONTINUE[:takes]
    client.send(b"hello")
    statuses = [answer.status for answer in client.answers(2 if takes else 1)]
    assert statuses == ([100, 201] if takes else [201])


def test_over_tls_a_reply_waits_while_the_transport_is_full(bench: Workbench) -> None:
    content = bytes(range(256)) * (4 * KiB)
    stored(bench, "a/large.bin", content)
    client = connected(bench, TlsChannel)
    client.transport.holds_back = True
    client.send(get("/upload/a/large.bin"))
    held = sum(map(len, client.transport.given))
    assert 0 < held < len(content), "a turn's bytes, and no more"
    bench.turn(20)
    assert sum(map(len, client.transport.given)) == held
    client.transport.holds_back = False
    client.call(client.transport.release)
    assert client.answers(1)[0].body == content


def test_an_answer_ends_where_its_body_was_not_read(bench: Workbench) -> None:
    """What follows could be the rest of that body (RFC 9112 9.3)."""
    client = connected(bench)
    client.send(serving.head("PUT", "/upload/a/b", TYPE, 100) + get("/upload/a/b"))
    assert client.answers(1)[0].fields["connection"] == "close"
    assert len(client.answers(1)) == 1


def test_an_upload_can_be_refused_from_elsewhere(bench: Workbench) -> None:
    client = connected(bench)
    client.send(put_head(3 * MiB) + b"abc")
    receiver = client.http._receiver
    assert receiver is not None
    client.call(receiver.end, Refused(errors.DRAINING))
    assert client.answers(1)[0].status == 503
    assert bench.row.read(catalogue.ACTIVE_UPLOADS) == 0


# Bodies that a thread stores, of what the transport has read.


def coded(bench: Workbench, size: int) -> tuple[FakeClient, str, bytes]:
    """Return a client that has begun an upload in chunks to a slow disk, its path, and the rest of it."""
    rel = serving.fresh()
    target, token = serving.bearer(rel, size)
    client = connected(bench)
    fields = {"Authorization": token, **TYPE, "Transfer-Encoding": "chunked"}
    client.send(serving.head("PUT", target, fields))
    bench.disk_threads.note(disk_latency.ALARM_S)
    client.holds_threads = True
    return client, rel, b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"c" * size)


def test_no_more_is_read_while_a_thread_stores(bench: Workbench) -> None:
    client, rel, wire = coded(bench, 3000)
    client.send(wire[:1000])
    assert len(bench.threads.jobs) == 1
    client.send(wire[1000:])
    assert len(bench.threads.jobs) == 1
    assert not client.transport.is_reading()
    client.pass_time(1000)
    assert not client.received, "it waits for the disk, not for the client"
    client.holds_threads = False
    assert client.answers(1)[0].status == 201
    assert bench.path_of(rel).read_bytes() == b"c" * 3000


@pytest.mark.parametrize("sent", [1000, 4000], ids=["part", "all"])
def test_a_client_that_ends_while_a_thread_stores(bench: Workbench, sent: int) -> None:
    """What is being stored may be all of it; else it is known to be too little once it is stored."""
    client, rel, wire = coded(bench, 3000)
    client.send(wire[:sent])
    client.transport.resume_reading()  # as one over TLS may be told of the end all the same
    client.sock.shutdown(1)
    client.go()
    assert not client.received
    client.holds_threads = False
    assert client.answers(1)[0].status == (201 if sent >= len(wire) else 400)
    assert bench.path_of(rel).exists() == (sent >= len(wire))


def test_a_client_that_leaves_while_a_thread_stores(bench: Workbench) -> None:
    client, rel, wire = coded(bench, 3000)
    client.send(wire)
    client.call(client.transport.abort)
    bench.turn()
    assert bench.service.tasks, "the end is told when no thread stores any more"
    bench.until(lambda: not bench.service.tasks, "the end of the answer")
    assert codes(bench) == [errors.BODY_INCOMPLETE.code]
    assert not bench.path_of(rel).exists()
    assert not bench.errors()


def test_a_body_that_is_no_chunked_coding_is_refused_by_the_thread(bench: Workbench) -> None:
    client, _, _ = coded(bench, 3000)
    client.send(b"zz\r\n")
    client.holds_threads = False
    assert client.answers(1)[0].status == 400


def test_bytes_that_are_none_of_a_body_that_must_be_empty(bench: Workbench) -> None:
    client = connected(bench)
    rel = serving.fresh()
    target, token = serving.bearer(rel, 0)
    fields = {"Authorization": token, **TYPE, "Transfer-Encoding": "chunked"}
    client.send(serving.head("PUT", target, fields) + b"0\r\n\r\n" + get("/health"))
    assert [answer.status for answer in client.answers(2)] == [201, 200]


# Faults of ours.


class BrokenApp:
    """An application that fails."""

    def __init__(self, bench: Workbench, *, later: bool) -> None:
        self._app = bench.service.app
        self._later = later

    def __getattr__(self, name: str) -> object:
        return getattr(self._app, name)

    def answer(self, *_: object) -> object:
        if not self._later:
            raise RuntimeError("broken")

        async def fail() -> None:
            raise RuntimeError("broken")

        return fail()


@pytest.mark.parametrize("later", [False, True])
def test_a_fault_costs_its_connection_and_no_other(bench: Workbench, *, later: bool) -> None:
    client, other = connected(bench), connected(bench)
    app = bench.service.app
    bench.service.app = BrokenApp(bench, later=later)  # type: ignore[assignment] # for all that is asked of it
    client.send(get("/a"))
    assert client.answers(1)[0].status == 500
    bench.service.app = app
    other.send(get("/health"))
    assert other.answers(1)[0].status == 200
    assert len(bench.errors()) == 1


# Answers from memory.


def remembered(bench: Workbench, client: FakeClient, size: int) -> bytes:
    """Have a file of `size` bytes in memory; return a request for it."""
    stored(bench, "a/often.bin", b"o" * size)
    asked = get("/upload/a/often.bin")
    for count in range(1, 8):
        client.send(asked)
        client.answers(count)
    client.received = b""
    return asked


def test_an_answer_from_memory_that_the_socket_does_not_take_whole(bench: Workbench) -> None:
    client = connected(bench, buffer=8 * KiB)
    asked = remembered(bench, client, 40_000)
    client.sock.send(asked * 3)
    client.read()
    assert bench.row.read(catalogue.ACTIVE_DOWNLOADS) == 1, "the rest waits for the socket"
    answers = client.answers(3)
    assert [answer.body for answer in answers] == [b"o" * 40_000] * 3
    assert not bench.errors()


def test_one_look_serves_all_that_keep_asking(bench: Workbench) -> None:
    """The EpollReader reads instead of the transport, and gives back what asks for something else."""
    clients = [connected(bench) for _ in range(EPOLL_FROM_CONNECTIONS)]
    client = clients[0]
    asked = remembered(bench, client, 100)
    for _ in range(200):
        client.send(asked)
        if client.http.watched:
            break
    assert client.http.watched
    assert not client.transport.is_reading()
    client.take()
    client.received = b""
    poll = bench.service.epoll_reader.poll
    client.sock.send(asked)
    client.call(poll)
    assert client.answers(1)[0].status == 200
    client.sock.send(get("/upload/a/missing"))
    client.call(poll)
    assert client.answers(2)[1].status == 404
    assert not client.http.watched
    assert client.transport.is_reading()
    for _ in range(200):
        client.send(asked)
        if client.http.watched:
            break
    client.sock.shutdown(1)
    client.call(poll)
    bench.turn()
    assert not client.is_open
    assert not bench.errors()


@CHANNELS
def test_a_connection_that_is_closed_leaves_nothing_to_the_collector(
    bench: Workbench, channel: ChannelType
) -> None:
    """Its transport has OpenSSL's memory: with a circle, 1,000 short connections would be 20 MiB."""

    def alive() -> int:
        return sum(isinstance(each, HttpProtocol) for each in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        for request in (get("/upload/a/missing"), put(b"abc"), put_head(3 * MiB) + b"abc"):
            client = connected(bench, channel)
            client.send(request)
            client.leave()
        assert alive() == before
    finally:
        gc.enable()
