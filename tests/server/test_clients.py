"""What a running server knows of its clients: who they are behind proxies, how good their lines are."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
import serving
import wire

from hmacfs.model import KiB, MiB
from hmacfs.policy import profiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Answer, Server

PROXY = "127.0.0.2"  # trusted
STRANGER = "127.0.0.3"
GET = "/health"
OPEN = "[performance]\nhash_client_addresses = false\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    where = tmp_path_factory.mktemp("clients")
    with serving.running(
        where,
        listen=f'["127.0.0.1:0", "unix:{where}/unix.sock"]',
        server=f'trusted_proxies = ["{PROXY}", "10.0.0.0/8", "unix"]',
    ) as server:
        yield server
        wire.settle(server)


def connect(server: Server, source: str) -> socket.socket:
    return socket.create_connection(
        (server.host, server.port), timeout=serving.PATIENCE_S, source_address=(source, 0)
    )


def ask(sock: socket.socket, fields: dict[str, str], target: str = GET) -> Answer:
    sock.sendall(serving.head("GET", target, fields))
    return serving.read_answer(sock)


def client_of(server: Server, answer: Answer) -> str:
    return str(server.wait_for("request", request_id=answer.fields["x-request-id"])["client"])


def profile_rows(storage: Path) -> dict[bytes, profiles.Profile]:
    with contextlib.closing(sqlite3.connect(storage / ".hmacfs" / "clients.db")) as connection:
        return {
            key: profiles.load(text) for key, text in connection.execute("SELECT key, profile FROM client")
        }


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"X-Forwarded-For": "203.0.113.7"}, "203.0.113.7"),
        ({"X-Forwarded-For": "198.51.100.1, 203.0.113.7, 10.0.0.1"}, "203.0.113.7"),
        ({"Forwarded": 'for="[2001:db8::1]:99"'}, "[2001:db8::1]:99"),
        ({"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.8"}, None),
        ({"X-Forwarded-For": "nobody"}, None),
        ({}, None),
    ],
)
def test_a_trusted_proxy_names_the_client_of_each_request(
    server: Server, fields: dict[str, str], want: str | None
) -> None:
    with connect(server, PROXY) as sock:
        own = f"{PROXY}:{sock.getsockname()[1]}"
        before = ask(sock, {"X-Forwarded-For": "192.0.2.99"})
        answer = ask(sock, fields)
    assert client_of(server, before) == "192.0.2.99"
    assert client_of(server, answer) == (want or own)


def test_a_proxy_on_a_unix_socket_names_it_too(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(server.storage.parent / "unix.sock"))
        assert client_of(server, ask(sock, {"X-Forwarded-For": "203.0.113.7"})) == "203.0.113.7"
        assert client_of(server, ask(sock, {})) == "unix"


def test_a_stranger_names_nobody(server: Server) -> None:
    with connect(server, STRANGER) as sock:
        own = f"{STRANGER}:{sock.getsockname()[1]}"
        answer = ask(sock, {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"})
    assert client_of(server, answer) == own


def test_a_request_that_is_none_is_not_logged_as_the_one_before(server: Server) -> None:
    with connect(server, PROXY) as sock:
        own = f"{PROXY}:{sock.getsockname()[1]}"
        ask(sock, {"X-Forwarded-For": "203.0.113.7"})
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
        assert client_of(server, serving.read_answer(sock)) == own


@pytest.mark.parametrize("size", [KiB, 100 * KiB])
def test_answers_from_memory_are_logged_with_the_client_of_each(server: Server, size: int) -> None:
    rel = serving.fresh()
    assert server.put(rel, os.urandom(size)).status == 201
    names = [f"203.0.113.{n}" for n in range(1, 7)]
    with connect(server, PROXY) as sock:
        answers = [ask(sock, {"X-Forwarded-For": name}, f"/upload/{rel}") for name in names]
        own = f"{PROXY}:{sock.getsockname()[1]}"
        answers.append(ask(sock, {"X-Forwarded-For": "junk"}, f"/upload/{rel}"))
        # Several in one read, as a proxy does that pipelines.
        heads = [serving.head("GET", f"/upload/{rel}", {"X-Forwarded-For": name}) for name in names]
        sock.sendall(b"".join(heads))
        rest = b""
        for _ in names:
            answer, rest = serving.take_answer(sock, rest)
            answers.append(answer)
    want = [*names, own, *names]
    assert [client_of(server, answer) for answer in answers] == want


def test_hostile_fields_in_bulk_never_name_anybody_wrongly(server: Server) -> None:
    """Whatever is in them, the log names an address, and of junk alone the proxy's."""
    junk = [
        *("," * 500, "1" * 4000, "[::1", "::1]", '"', "for=", "for=;", "a=b;" * 400, "%31", "\\", "0x7f.1"),
        *("1.2.3.4.5", "256.1.1.1", "::::", "1.2.3.4:99999", "fe80::1%lo", "unix", "unknown", "_x", "\x80"),
        *("203.0.113.7 ms=1", 'x" client=1.2.3.4 y="', "for=1.1.1.1;for=2.2.2.2", "1.1.1.1;2.2.2.2"),
    ]
    ids = {}
    with connect(server, PROXY) as sock:
        own = f"{PROXY}:{sock.getsockname()[1]}"
        for name in ("X-Forwarded-For", "Forwarded"):
            for value in junk:
                ids[ask(sock, {name: value}).fields["x-request-id"]] = own
                vouched = "203.0.113.7" if name == "X-Forwarded-For" else "for=203.0.113.7"
                answer = ask(sock, {name: f"{value}, {vouched}"})
                ids[answer.fields["x-request-id"]] = "203.0.113.7"
    for request_id, want in ids.items():
        assert server.wait_for("request", request_id=request_id)["client"] == want


def test_two_workers_bring_what_they_see_of_a_client_together(tmp_path: Path) -> None:
    count = 12
    with serving.running(tmp_path, workers=2, rest=OPEN) as server:
        for _ in range(count):  # each on a connection of its own
            assert server.put(serving.fresh(), b"x").status == 201
    ((key, profile),) = profile_rows(server.storage).items()
    assert key == b"127.0.0.1/32"
    assert (profile.uploads.started, profile.uploads.completed) == (count, count)
    assert profile.dialect == "v2"
    assert profile.round_trip_s is not None
    # and after a restart it goes on from there
    with serving.start(tmp_path, server.config.read_text()) as again:
        assert again.put(serving.fresh(), b"x").status == 201
        assert again.stop() == 0
    assert profile_rows(server.storage)[key].uploads.started == count + 1


def put(sock: socket.socket, body: bytes, fields: dict[str, str] | None = None) -> str:
    """Upload over `sock`; give the target of the download."""
    target = serving.signed(serving.fresh(), len(body))
    named = {"Content-Type": "application/octet-stream", **(fields or {})}
    sock.sendall(serving.head("PUT", target, named, len(body)) + body)
    assert serving.read_answer(sock).status == 201
    return target.partition("?")[0]


def break_off(server: Server, source: str) -> None:
    """Send half of an upload; and one that is refused, which is no fault of the line."""
    target = serving.signed(serving.fresh(), MiB)
    fields = {"Content-Type": "application/octet-stream"}
    with connect(server, source) as sock:
        sock.sendall(serving.head("PUT", target, fields, MiB) + bytes(MiB // 2))
        sock.shutdown(socket.SHUT_WR)
        assert serving.read_answer(sock).status == 400
    with connect(server, source) as sock:
        sock.sendall(serving.head("PUT", f"{target}x", fields, 1) + b"x")
        assert serving.read_answer(sock).status == 403


def leave(server: Server, source: str, target: str) -> None:
    """Go in the middle of a download."""
    with connect(server, source) as sock:
        sock.sendall(serving.head("GET", target, None))
        left = 2 * MiB
        while left > 0:
            left -= len(sock.recv(64 * KiB))
    assert server.wait_for("request", broken="client_gone")["target"] == target


def upload_as_alice(server: Server, source: str) -> None:
    target, token = serving.bearer(serving.fresh(), 1, prefix="/share/")
    claims = jwt.decode(token.removeprefix("Bearer "), options={"verify_signature": False})
    token = jwt.encode({**claims, "sub": "alice@example.org"}, serving.SECRET, algorithm="HS256")
    fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
    with connect(server, source) as sock:
        sock.sendall(serving.head("PUT", target, fields, 1) + b"x")
        assert serving.read_answer(sock).status == 201


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, profiles.Profile]:
    """Return what a server knows in the end of clients of every kind."""
    trusting = f'trusted_proxies = ["{PROXY}"]'
    doors = "".join(
        f'[[endpoint]]\nprefix = "/{name}/"\nprotocols = ["{dialect}"]\n'
        for name, dialect in (("upload", "v2"), ("share", "jwt"))
    )
    where = tmp_path_factory.mktemp("seen")
    with serving.running(where, server=trusting, rest=OPEN + doors) as server:
        with connect(server, "127.0.1.1") as sock:
            target = put(sock, os.urandom(32 * MiB))
            assert ask(sock, {}, target).status == 200
        break_off(server, "127.0.1.2")
        leave(server, "127.0.1.3", target)
        with connect(server, PROXY) as sock:
            for named in ({"X-Forwarded-For": "2001:db8::7"}, {}):
                put(sock, bytes(MiB), named)
                assert ask(sock, named, target).status == 200
        for source in ("127.0.1.4", "127.0.1.5"):
            upload_as_alice(server, source)
    return {key.decode(): profile for key, profile in profile_rows(server.storage).items()}


def test_who_is_known(seen: dict[str, profiles.Profile]) -> None:
    """A proxy is not, nor are the two addresses of an owner."""
    addresses = [f"127.0.1.{n}/32" for n in (1, 2, 3)]
    assert set(seen) == {*addresses, "2001:db8::/64", "owner alice@example.org"}
    assert seen["owner alice@example.org"].uploads.completed == 2


def test_transfers_show_how_quick_a_client_is(seen: dict[str, profiles.Profile]) -> None:
    profile = seen["127.0.1.1/32"]
    assert profile.taking.evidence_s > 0
    assert profile.taking.value > MiB
    assert profile.uploads.rate.value > MiB
    assert 0 < (profile.round_trip_s or 0) < 1


def test_what_breaks_off_tells_of_a_line_and_what_is_refused_does_not(
    seen: dict[str, profiles.Profile],
) -> None:
    uploads = seen["127.0.1.2/32"].uploads
    assert (uploads.started, uploads.completed) == (1, 0)


def test_who_leaves_in_the_middle_has_shown_a_rate_too(seen: dict[str, profiles.Profile]) -> None:
    assert seen["127.0.1.3/32"].taking.evidence_s > 0


def test_behind_a_proxy_only_what_comes_tells_of_a_client(seen: dict[str, profiles.Profile]) -> None:
    profile = seen["2001:db8::/64"]
    assert profile.uploads.completed == 1
    assert profile.taking.evidence_s == 0
    assert profile.round_trip_s is None


def test_of_a_slow_reader_less_waits_in_the_kernel(tmp_path: Path) -> None:
    """Of one that reads nothing at all: what the server has written is all in the kernel's memory."""
    with serving.running(tmp_path) as server:
        rel = serving.fresh()
        assert server.put(rel, os.urandom(32 * MiB)).status == 201
        held = {}
        for kind, source in (("2g", "127.0.0.4"), ("4g", "127.0.0.5")):  # nobody has seen them before
            with socket.socket() as sock:
                sock.bind((source, 0))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KiB)
                sock.settimeout(serving.PATIENCE_S)
                sock.connect((server.host, server.port))
                sock.sendall(serving.head("GET", f"/upload/{rel}", {"ECT": kind}))
                assert sock.recv(1)
                with server.connect() as other:  # by its answer the first one's turn is over
                    for _ in range(10):
                        assert ask(other, {}).status == 200
                held[kind] = waiting(server.port, sock.getsockname()[1])
    serving.figure(f"held for a client that does not read: {held}")
    assert held["2g"] < held["4g"] / 3


def waiting(port: int, peer: int) -> int:
    """Return the bytes that the server's side of a connection holds; proc(5), /proc/net/tcp."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, _, queues = line.split()[1:5]
        if (int(local[-4:], 16), int(remote[-4:], 16)) == (port, peer):
            return int(queues.partition(":")[0], 16)
    raise AssertionError("no such connection")


def test_a_line_said_to_be_poor_is_waited_for_twice_as_long(tmp_path: Path) -> None:
    with serving.running(tmp_path, rest='[timeouts]\nreadtimeout = "1s"\n') as server:
        socks = {}
        for kind in ("4g", "2g"):
            target = serving.signed(serving.fresh(), MiB)
            fields = {"Content-Type": "application/octet-stream", "ECT": kind}
            socks[kind] = connect(server, STRANGER)
            socks[kind].sendall(serving.head("PUT", target, fields, MiB))
        with socks["4g"] as impatient, socks["2g"] as patient:
            assert serving.read_answer(impatient).status == 408
            patient.sendall(bytes(MiB))
            assert serving.read_answer(patient).status == 201


def test_without_ranges_a_download_is_whole(tmp_path: Path) -> None:
    with serving.running(tmp_path, rest="[streaming]\nrange_requests = false\n") as server:
        body = os.urandom(KiB)
        rel = serving.fresh()
        assert server.put(rel, body).status == 201
        with server.connect() as sock:
            for _ in range(4):  # the later ones could come from memory
                answer = ask(sock, {"Range": "bytes=0-9"}, f"/upload/{rel}")
                assert (answer.status, answer.body) == (200, body)
                assert answer.fields["accept-ranges"] == "none"
                assert ask(sock, {}, f"/upload/{rel}").status == 200


def test_the_gauges_and_the_debug_log_show_lines(tmp_path: Path) -> None:
    with serving.running(tmp_path, rest='level = "debug"\n') as server:
        assert server.put(serving.fresh(), os.urandom(MiB)).status == 201
        line = server.wait_for("tcp-info")
        assert line["client"].startswith("127.0.0.1:")
        assert float(line["round_trip_s"]) > 0
        while "hmacfs_network_latency_seconds" not in (shown := server.scrape()):
            assert server.process.poll() is None
        assert 0 < shown["hmacfs_network_latency_seconds"] < 1
        assert shown["hmacfs_network_reliability_ratio"] == 1
        assert shown["hmacfs_network_speed_bytes_per_second"] > 0
        assert not [name for name in shown if "127.0.0.1" in name]
