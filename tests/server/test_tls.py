"""The same service over TLS, with real clients: curl, and Python's own where curl cannot misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import procfs
import pytest
import selfsigned
import serving
import wire

from hmacfs.connection.acceptor import MOST_HANDSHAKES
from hmacfs.model import KiB, MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Answer, Server

TYPE = "application/octet-stream"
BIG_BYTES = 100 * MiB
SILENT = 500
SILENT_BYTES = 12 * KiB
SETTINGS = """
[timeouts]
headertimeout = "1s"
writetimeout = "1s"
linger = "2s"
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""


@dataclass(frozen=True)
class Site:
    """A running server with TLS, and a curl that trusts it."""

    server: Server
    port: int
    crt: Path
    curl: str

    def url(self, target: str) -> str:
        return f"https://{selfsigned.NAME}:{self.port}{target}"

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run curl; it knows where the name is, and whom to trust."""
        command = [self.curl, "--silent", "--show-error", "--http1.1", "--cacert", str(self.crt)]
        command += ["--resolve", f"{selfsigned.NAME}:{self.port}:127.0.0.1", *words]
        return subprocess.run(command, capture_output=True, check=check, timeout=serving.PATIENCE_S)

    def connect(self) -> ssl.SSLSocket:
        return selfsigned.greet(self.port, self.crt)

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        with self.connect() as sock:
            sock.sendall(data)
            return serving.read_answer(sock, method)

    def put(self, rel: str, body: bytes) -> None:
        head = serving.head("PUT", serving.signed(rel, len(body)), {"Content-Type": TYPE}, len(body))
        assert self.ask(head + body).status == 201


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Site]:
    where = tmp_path_factory.mktemp("tls")
    crt, key = selfsigned.make(program("openssl"), where / "certificate")
    with serving.running(where, rest=SETTINGS.format(crt=crt, key=key)) as server:
        yield Site(server, selfsigned.port_of(server), crt, program("curl"))
        wire.settle(server)


def test_a_small_file_goes_in_and_out(site: Site, tmp_path: Path) -> None:
    rel, body = serving.fresh(), secrets.token_bytes(KiB)
    (tmp_path / "body").write_bytes(body)
    target = serving.signed(rel, len(body))
    put = site.run("--upload-file", str(tmp_path / "body"), "-H", f"Content-Type: {TYPE}", site.url(target))
    assert put.stdout == b""
    for _ in range(4):
        assert site.run(site.url(f"/upload/{rel}")).stdout == body
    assert site.run("--range", "10-19", site.url(f"/upload/{rel}")).stdout == body[10:20]
    shown = site.run("--range", "0-1,5-6", site.url(f"/upload/{rel}")).stdout
    assert body[:2] in shown
    assert body[5:7] in shown
    head = site.run("--head", site.url(f"/upload/{rel}")).stdout.decode()
    assert f"content-length: {KiB}" in head.lower()


def test_a_big_file_goes_in_and_out_whole(site: Site, tmp_path: Path) -> None:
    rel, body = serving.fresh(), secrets.token_bytes(BIG_BYTES)
    (tmp_path / "body").write_bytes(body)
    target = serving.signed(rel, len(body))
    said = site.run(
        *("--upload-file", str(tmp_path / "body"), "-H", f"Content-Type: {TYPE}"),
        *("-H", "Expect: 100-continue", "--expect100-timeout", "50", "--verbose", site.url(target)),
    )
    assert b"100 Continue" in said.stderr
    assert b"ALPN" in said.stderr
    site.run("--output", str(tmp_path / "got"), site.url(f"/upload/{rel}"))
    assert sha256(tmp_path / "got") == hashlib.sha256(body).digest()
    site.run("--range", f"{BIG_BYTES // 2}-", "--output", str(tmp_path / "half"), site.url(f"/upload/{rel}"))
    assert sha256(tmp_path / "half") == hashlib.sha256(body[BIG_BYTES // 2 :]).digest()


def sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def test_one_connection_carries_many_requests(site: Site) -> None:
    rel = serving.fresh()
    site.put(rel, b"often")
    again = [site.url(f"/upload/{rel}")] * 20
    out = site.run("--write-out", "%{num_connects} ", *again).stdout
    assert out == b"often1 " + b"often0 " * 19


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    bodies = {serving.fresh(): os.urandom(size) for size in (1, 70 * KiB, 0, 300 * KiB, 17)}
    for rel, body in bodies.items():
        site.put(rel, body)
    rest = b""
    with site.connect() as sock:
        sock.sendall(b"".join(serving.head("GET", f"/upload/{rel}", None) for rel in list(bodies) * 10))
        for rel in list(bodies) * 10:
            answer, rest = serving.take_answer(sock, rest)
            assert answer.body == bodies[rel]


def test_a_refusal_reaches_a_client_that_is_still_sending(site: Site, tmp_path: Path) -> None:
    with (tmp_path / "body").open("wb") as file:
        file.truncate(50 * MiB)
    target = serving.signed(serving.fresh(), 50 * MiB)[:-1] + "x"
    said = site.run(
        *("--upload-file", str(tmp_path / "body"), "-H", "Expect:", "--write-out", " %{http_code}"),
        *("-H", f"Content-Type: {TYPE}", site.url(target)),
    )
    assert said.stdout.endswith(b" 403")
    assert b"token_wrong" in said.stdout


def test_a_client_that_never_looks_up_while_it_sends_gets_the_refusal_all_the_same(site: Site) -> None:
    with site.connect() as sock:
        target = serving.signed(serving.fresh(), 20 * MiB)[:-1] + "x"
        sock.sendall(serving.head("PUT", target, {"Content-Type": TYPE}, 20 * MiB))
        for _ in range(20):
            sock.sendall(bytes(MiB))
        assert serving.read_answer(sock).status == 403


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_end_with_a_close_notify(site: Site, version: ssl.TLSVersion) -> None:
    """Without one, recv raises SSLEOFError: the answer could have been cut short."""
    with selfsigned.greet(site.port, site.crt, minimum_version=version, maximum_version=version) as sock:
        sock.sendall(serving.head("GET", "/health", {"Connection": "close"}))
        assert serving.read_answer(sock).status == 200
        assert sock.recv(1) == b""


def test_only_http_1_1_is_spoken_and_no_old_tls(site: Site) -> None:
    with site.connect() as sock:
        assert sock.selected_alpn_protocol() is None
    trust = ssl.create_default_context(cafile=str(site.crt))
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", site.port), timeout=serving.PATIENCE_S) as plain,
        trust.wrap_socket(plain, server_hostname=selfsigned.NAME) as sock,
    ):
        assert sock.selected_alpn_protocol() == "http/1.1"
    said = site.run("--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", site.url("/health"), check=False)
    assert said.returncode == 35
    site.server.wait_for("tls-handshake-failed")


def test_twenty_at_once(site: Site, tmp_path: Path) -> None:
    body = secrets.token_bytes(5 * MiB)
    (tmp_path / "body").write_bytes(body)
    rels = [serving.fresh() for _ in range(20)]
    puts = [
        word
        for rel in rels
        for word in ("-T", str(tmp_path / "body"), site.url(serving.signed(rel, len(body))))
    ]
    site.run("--parallel", "--parallel-immediate", "--fail", "-H", f"Content-Type: {TYPE}", *puts)
    gets = [
        word
        for n, rel in enumerate(rels)
        for word in ("-o", str(tmp_path / f"{n}"), site.url(f"/upload/{rel}"))
    ]
    site.run("--parallel", "--parallel-immediate", "--fail", *gets)
    assert {(tmp_path / f"{n}").read_bytes() == body for n in range(20)} == {True}


def test_plain_http_to_the_tls_port_ends_as_a_failed_handshake(site: Site) -> None:
    before = site.server.scrape()["hmacfs_tls_handshake_errors_total"]
    with socket.create_connection(("127.0.0.1", site.port), timeout=serving.PATIENCE_S) as sock:
        sock.sendall(serving.head("GET", "/health", None))
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1024):
                pass
    line = site.server.wait_for("tls-handshake-failed", error="HTTP_REQUEST")
    assert (line["level"], line["client"]) == ("info", "127.0.0.1")
    assert site.server.scrape()["hmacfs_tls_handshake_errors_total"] == before + 1


def test_a_handshake_that_never_ends_is_ended(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=serving.PATIENCE_S) as sock:
        sock.sendall(b"\x16\x03\x01")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert "longer than 1" in site.server.wait_for("tls-handshake-failed")["error"]


def test_a_client_that_says_nothing_is_ended(site: Site) -> None:
    with (
        socket.create_connection(("127.0.0.1", site.port), timeout=serving.PATIENCE_S) as sock,
        contextlib.suppress(ConnectionResetError),
    ):
        assert sock.recv(1) == b""
    assert "nothing for longer than 1" in site.server.wait_for("tls-handshake-failed")["error"]


def test_silent_clients_cost_next_to_nothing(tmp_path: Path, program: Callable[[str], str]) -> None:
    """OpenSSL's memory, 40 kB, is for who has said something."""
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    rest = SETTINGS.format(crt=crt, key=key).replace('headertimeout = "1s"', 'headertimeout = "10m"')
    procfs.raise_open_files(SILENT + 200)
    with serving.running(tmp_path, rest=rest) as server:
        site = Site(server, selfsigned.port_of(server), crt, program("curl"))
        (worker,) = server.workers
        assert site.ask(serving.head("GET", "/health", None)).status == 200
        memory = procfs.anonymous_bytes(worker)
        with contextlib.ExitStack() as silent:
            for _ in range(SILENT):
                silent.enter_context(socket.create_connection(("127.0.0.1", site.port)))
            # Behind all of them: they are accepted in their order.
            assert site.ask(serving.head("GET", "/health", None)).status == 200
            assert procfs.open_files(worker) > SILENT
            assert (procfs.anonymous_bytes(worker) - memory) / SILENT < SILENT_BYTES


def test_handshakes_that_stall_make_way_for_newer_ones(tmp_path: Path, program: Callable[[str], str]) -> None:
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    rest = SETTINGS.format(crt=crt, key=key).replace('headertimeout = "1s"', 'headertimeout = "10m"')
    procfs.raise_open_files(2 * MOST_HANDSHAKES + 200)
    with serving.running(tmp_path, rest=rest) as server:
        site = Site(server, selfsigned.port_of(server), crt, program("curl"))
        with contextlib.ExitStack() as stalled:
            socks = []
            for _ in range(MOST_HANDSHAKES + 50):
                sock = socket.create_connection(("127.0.0.1", site.port), timeout=serving.PATIENCE_S)
                socks.append(stalled.enter_context(sock))
                sock.sendall(b"\x16\x03\x01")
            assert "too many others" in server.wait_for("tls-handshake-failed")["error"]
            with contextlib.suppress(ConnectionResetError):
                assert socks[0].recv(1) == b""
            for _ in range(3):
                assert site.ask(serving.head("GET", "/health", None)).status == 200
            socks[-1].setblocking(False)
            with pytest.raises(BlockingIOError):
                socks[-1].recv(1)


def test_a_client_that_does_not_read_is_dropped_and_costs_little(site: Site) -> None:
    site.put("there/small.bin", b"for the directory")
    with (site.server.storage / "upload" / "there" / "big.bin").open("wb") as file:
        file.truncate(200 * MiB)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            sock = stack.enter_context(site.connect())
            sock.sendall(serving.head("GET", "/upload/there/big.bin", None))
        for _ in range(10):
            line = site.server.wait_for("request", broken="client_stalled")
            assert line["out"] < 8 * MiB  # what the kernel's two buffers hold, and little more


def test_a_slow_but_steady_reader_gets_everything(site: Site) -> None:
    rel, body = serving.fresh(), secrets.token_bytes(16 * MiB)
    site.put(rel, body)
    pace = threading.Event()  # never set: its wait is the pace
    data = bytearray()
    with site.connect() as sock:
        sock.sendall(serving.head("GET", f"/upload/{rel}", {"Connection": "close"}))
        while more := sock.recv(16 * KiB):
            data += more
            pace.wait(0.002)
    assert bytes(data).partition(b"\r\n\r\n")[2] == body


def test_no_descriptor_is_left_behind(site: Site) -> None:
    (worker,) = site.server.workers
    wire.settle(site.server)
    before = procfs.open_files(worker)
    for _ in range(20):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", site.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            sock.recv(1)
        with site.connect() as secure:
            secure.sendall(serving.head("GET", "/health", None))
            serving.read_answer(secure)
    wire.settle(site.server)
    assert procfs.open_files(worker) <= before


def test_a_reload_under_load_brings_the_new_certificate_and_loses_nothing(
    tmp_path: Path, program: Callable[[str], str]
) -> None:
    openssl = program("openssl")
    crt, key = selfsigned.make(openssl, tmp_path / "one")
    second, second_key = selfsigned.make(openssl, tmp_path / "two", kind="rsa")
    both = tmp_path / "both.pem"
    both.write_bytes(crt.read_bytes() + second.read_bytes())
    live, live_key = tmp_path / "live.pem", tmp_path / "live.key"
    live.write_bytes(crt.read_bytes())
    live_key.write_bytes(key.read_bytes())
    with serving.running(
        tmp_path, rest=SETTINGS.format(crt=live, key=live_key), provokes={"worker-died"}
    ) as server:
        site = Site(server, selfsigned.port_of(server), both, program("curl"))
        rel, body = serving.fresh(), secrets.token_bytes(20 * MiB)
        site.put(rel, body)
        with under_load(site, rel, body) as wrong, site.connect():
            assert shown(site) == der(crt)
            live.write_bytes(second.read_bytes())
            live_key.write_bytes(second_key.read_bytes())
            server.signal(signal.SIGHUP)
            server.wait_for("reload-done")
            assert shown(site) == der(second)
            # A certificate whose key is another's is refused, and the one before stays.
            live_key.write_bytes(key.read_bytes())
            server.signal(signal.SIGHUP)
            fault = server.wait_for("reload-refused")["fault"]
            assert "tls.key" in fault
            assert "not the private key of the certificate" in fault
            assert shown(site) == der(second)
        assert not wrong
        # A worker that is started now serves what was checked, not what the files have become.
        (worker,) = server.workers
        os.kill(worker, signal.SIGKILL)
        server.wait_for("worker-started", slot=0)
        assert shown(site) == der(second)


@contextlib.contextmanager
def under_load(site: Site, rel: str, body: bytes) -> Iterator[list[str]]:
    """Download without end on four threads; give what went wrong."""
    stop = threading.Event()
    wrong: list[str] = []

    def load() -> None:
        while not stop.is_set():
            try:
                if site.ask(serving.head("GET", f"/upload/{rel}", None)).body != body:
                    wrong.append("another body")
            except (OSError, EOFError) as error:
                wrong.append(repr(error))
                return

    loads = [threading.Thread(target=load) for _ in range(4)]
    for thread in loads:
        thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        for thread in loads:
            thread.join()


def shown(site: Site) -> bytes | None:
    with site.connect() as sock:
        return sock.getpeercert(binary_form=True)


def der(crt: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(crt.read_text())


def test_a_proxy_header_comes_before_the_handshake(tmp_path: Path, program: Callable[[str], str]) -> None:
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    with serving.running(
        tmp_path,
        server='proxy_protocol = true\ntrusted_proxies = ["127.0.0.1"]',
        rest=SETTINGS.format(crt=crt, key=key),
    ) as server:
        trust = ssl.create_default_context(cafile=str(crt))
        with socket.create_connection(
            ("127.0.0.1", selfsigned.port_of(server)), timeout=serving.PATIENCE_S
        ) as plain:
            plain.sendall(b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 443\r\n")
            with trust.wrap_socket(plain, server_hostname=selfsigned.NAME) as sock:
                sock.sendall(serving.head("GET", "/health", None))
                answer = serving.read_answer(sock)
        line = server.wait_for("request", request_id=answer.fields["x-request-id"])
        assert line["client"] == "[2001:db8::7]:50000"


def test_a_drain_waits_for_a_download_and_not_for_ever(tmp_path: Path, program: Callable[[str], str]) -> None:
    crt, key = selfsigned.make(program("openssl"), tmp_path / "certificate")
    settings = SETTINGS.format(crt=crt, key=key)
    for name in ("headertimeout", "writetimeout"):
        settings = settings.replace(f'{name} = "1s"', f'{name} = "60s"')
    rest = settings.replace("[timeouts]", '[timeouts]\nshutdown = "3s"')
    with serving.start(tmp_path, serving.configuration(tmp_path / "store", rest=rest)) as server:
        site = Site(server, selfsigned.port_of(server), crt, program("curl"))
        rel, body = serving.fresh(), secrets.token_bytes(40 * MiB)
        site.put(rel, body)
        with (
            site.connect() as honest,
            site.connect() as stalled,
            socket.create_connection(("127.0.0.1", site.port)) as mute,
        ):
            mute.sendall(b"\x16")  # of a handshake, no more
            for sock in (honest, stalled):
                sock.sendall(serving.head("GET", f"/upload/{rel}", None))
            begun = honest.recv(1000)
            server.signal(signal.SIGTERM)
            server.wait_for("serve-stopping")
            answer, _ = serving.take_answer(honest, begun)
            assert answer.body == body
            assert server.process.wait(serving.PATIENCE_S) == 0
        assert not wire.failures(server)
        line = next(line for line in server.events if line["event"] == "request" and line.get("broken"))
        assert line["broken"] == "client_gone"
