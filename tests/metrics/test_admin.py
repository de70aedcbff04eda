"""The operators' listener, over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from hmacfs import metrics
from hmacfs.metrics import admin
from hmacfs.metrics.admin import ReadinessCheck

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from wsgiref.types import WSGIApplication

GOOD = [ReadinessCheck("disk", ok=True), ReadinessCheck("storage", ok=True, words="written in 2 ms")]
BAD = [
    ReadinessCheck("disk", ok=False, words="1.2 GiB free,\n2 GiB wanted"),
    ReadinessCheck("storage", ok=True),
]


class State:
    """What the probes are told."""

    def __init__(self) -> None:
        self.live = True
        self.checks = GOOD

    def application(self) -> WSGIApplication:
        collector = metrics.Collector(memoryview(bytearray(metrics.memory_bytes(1))), 1)
        return admin.application(metrics.registry(collector), lambda: self.live, lambda: self.checks)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[State, admin.AdminServer]]:
    state = State()
    running = admin.listen("127.0.0.1:0", state.application())
    yield state, running
    running.stop()


@pytest.fixture
def state(shared: tuple[State, admin.AdminServer]) -> State:
    shared[0].live, shared[0].checks = True, GOOD
    return shared[0]


@pytest.fixture
def server(shared: tuple[State, admin.AdminServer]) -> admin.AdminServer:
    return shared[1]


def ask(
    server: admin.AdminServer, target: str, method: str = "GET", **fields: str
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, target, headers=fields)
    answer = connection.getresponse()
    got = answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return got


@pytest.mark.parametrize(
    ("live", "checks", "target", "want"),
    [
        (True, GOOD, "/livez", (200, "ok\n")),
        (False, GOOD, "/livez", (503, "failed\n")),
        (True, BAD, "/livez", (200, "ok\n")),
        (True, GOOD, "/readyz", (200, "ok\n")),
        (True, [], "/readyz", (200, "ok\n")),
        (
            True,
            GOOD,
            "/readyz?verbose",
            (200, "[+]disk ok\n[+]storage ok: written in 2 ms\nreadyz check passed\n"),
        ),
        (
            True,
            BAD,
            "/readyz?x&verbose=1",
            (503, "[-]disk failed: 1.2 GiB free, 2 GiB wanted\n[+]storage ok\nreadyz check failed\n"),
        ),
        (True, BAD, "/readyz", (503, "[-]disk failed: 1.2 GiB free, 2 GiB wanted\nreadyz check failed\n")),
        (True, GOOD, "/", (404, "here are /metrics, /livez and /readyz\n")),
        (True, GOOD, "/metrics/", (404, "here are /metrics, /livez and /readyz\n")),
    ],
)
def test_probes(  # noqa: PLR0913, PLR0917 - a table's row
    server: admin.AdminServer,
    state: State,
    live: bool,  # noqa: FBT001 - a table's column
    checks: list[ReadinessCheck],
    target: str,
    want: tuple[int, str],
) -> None:
    state.live, state.checks = live, checks
    assert ask(server, target)[:2] == want


def test_metrics_come_in_the_format_that_is_asked_for(server: admin.AdminServer) -> None:
    status, text, fields = ask(server, "/metrics")
    assert (status, fields["content-type"].partition(";")[0]) == (200, "text/plain")
    assert "hmacfs_connections 0.0\n" in text
    status, text, fields = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert fields["content-type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize("target", ["/metrics", "/livez", "/readyz", "/none"])
def test_head_is_get_without_the_body(server: admin.AdminServer, target: str) -> None:
    status, text, _ = ask(server, target, "HEAD")
    assert (status, text) == (ask(server, target)[0], "")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("target", ["/metrics", "/livez", "/none"])
def test_other_methods_are_refused(server: admin.AdminServer, method: str, target: str) -> None:
    status, _, fields = ask(server, target, method)
    assert (status, fields["allow"]) == (405, "GET, HEAD")


# What holds a thread: nothing at all, half of a request line, a request without its end, and a body unread.
SLOW = [
    b"",
    b"GET /livez",
    b"GET /metrics HTTP/1.1\r\nX: y\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r",
]


@pytest.mark.parametrize("sent", SLOW)
@pytest.mark.parametrize("many", [admin.MOST_THREADS, 4 * admin.MOST_THREADS])
def test_slow_operators_keep_nobody_away(server: admin.AdminServer, sent: bytes, many: int) -> None:
    slow = []
    for _ in range(many):
        slow.append(socket.create_connection(("127.0.0.1", server.server_port)))
        slow[-1].sendall(sent)
        assert threading.active_count() <= before_threads() + admin.MOST_THREADS
    for target in ("/livez", "/readyz", "/metrics"):
        assert ask(server, target)[0] == 200
    for one in slow:
        one.close()


def before_threads() -> int:
    """Return how many threads there are without those of requests."""
    return sum(not thread.name.endswith("(process_request_thread)") for thread in threading.enumerate())


@pytest.mark.parametrize("sent", SLOW)
def test_a_request_has_a_deadline_however_it_trickles(state: State, sent: bytes) -> None:
    server = admin.listen("127.0.0.1:0", state.application(), timeout_s=0.2)
    with socket.create_connection(("127.0.0.1", server.server_port)) as slow:
        slow.sendall(sent)
        slow.settimeout(0.02)
        with contextlib.suppress(ConnectionError):
            while True:
                try:
                    if not slow.recv(4096):
                        break
                except TimeoutError:
                    slow.sendall(b"x")  # each byte would begin a read's time anew
    server.stop()


def test_an_operator_who_hangs_up_is_no_fault(
    server: admin.AdminServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)) as rude:
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        rude.send(b"GET /metr")
    assert ask(server, "/livez")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_unix_socket_serves_too(state: State, tmp_path: Path) -> None:
    path = tmp_path / "admin"
    for _ in range(2):  # the second time over a socket that a killed server left
        server = admin.listen(f"unix:{path}", state.application())
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: client.recv(4096), b""))
        assert text.startswith(b"HTTP/1.0 200 OK\r\n")
        assert text.endswith(b"\r\n\r\nok\n")
        server.stop()
        assert not path.exists()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))


def test_a_file_in_the_sockets_place_is_not_removed(state: State, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        admin.listen(f"unix:{path}", state.application())
    assert path.read_text() == "data"


def test_ipv6(state: State) -> None:
    server = admin.listen("[::1]:0", state.application())
    with socket.create_connection(("::1", server.server_port)) as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"
    server.stop()
