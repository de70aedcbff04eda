"""A real server for tests: `hmacfs serve` as its own process, on ports that the system chose.

What it logs at level error, and what it writes beside its log, fails the test that did not ask for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import quote, urljoin

from hmacfs import auth
from hmacfs.model import Endpoint, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

SECRET = "b1f0c6d29e7a4853a1d4f70b6c92e358"
PATIENCE_S = 60.0
SPOILT = b"\xdb" * 64
"""What a build that looks for faults fills memory with (`HMACFS_BUILD=trap`)."""
NOT_JSON = "not-json"
"""Event of a line that is none of the log's, such as one of a traceback."""
TTL_S = 7200.0  # tables of signed requests are made when tests are collected, and used much later
ANY_TIME = frozenset({"reconcile-done", "sweep-done"})
"""Events of a start that may come before or after the server is ready."""
CONFIG = """
[server]
listen_address = {listen}
storage_path = "{storage}"
workers = {workers}
min_free_bytes = "{min_free}"
{server}
[metrics]
listen_address = "127.0.0.1:0"
[security]
secret = "{secret}"
[logging]
format = "json"
{rest}
"""


@dataclass(frozen=True)
class Answer:
    """One HTTP response, read from a socket."""

    status: int
    fields: dict[str, str]
    body: bytes


@dataclass(repr=False)
class Server:
    """A running `hmacfs serve`."""

    process: subprocess.Popen[bytes]
    storage: Path
    config: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    early: list[dict[str, Any]] = field(default_factory=list)
    """What of ANY_TIME came before it was ready."""
    news: queue.SimpleQueue[dict[str, Any] | None] = field(default_factory=queue.SimpleQueue)
    host: str = ""
    port: int = 0
    operators: str = ""
    provoked: set[str] = field(default_factory=set)
    """The events of level error that the test asks for."""
    listener: threading.Thread = field(default_factory=threading.Thread)

    def wait_for(self, event: str, **values: object) -> dict[str, Any]:
        """Return the next log line of this event; fail if the server ends or is silent for too long.

        Who waits for an event asks for it.
        """
        self.provoked.add(event)

        def wanted(line: dict[str, Any]) -> bool:
            return line["event"] == event and all(line.get(k) == v for k, v in values.items())

        for place, line in enumerate(self.early):
            if wanted(line):
                return self.early.pop(place)
        while not wanted(line := self.next_line(event)):
            pass
        return line

    def wait_until_ready(self) -> dict[str, Any]:
        """Return the line that says so."""
        while (line := self.next_line("serve-ready"))["event"] != "serve-ready":
            if line["event"] in ANY_TIME:
                self.early.append(line)
        return line

    def next_line(self, wanted: str) -> dict[str, Any]:
        """Return the next log line; fail if there is none for too long, in which `wanted` is awaited."""
        try:
            line = self.news.get(timeout=PATIENCE_S)
        except queue.Empty:
            line = None
        assert line is not None, f"no {wanted}: {self.events[-20:]}"
        return line

    @property
    def url(self) -> str:
        """Base URL of the default endpoint."""
        return f"http://{self.host}:{self.port}/upload/"

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers alive."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_S)

    def signal(self, number: signal.Signals) -> None:
        """Signal the supervisor."""
        self.process.send_signal(number)

    def faults(self) -> list[dict[str, Any]]:
        """Return the log lines of level error, and lines none of the log's, that nobody asked for."""
        bad = (line for line in self.events if line["event"] == NOT_JSON or line.get("level") == "error")
        return [line for line in bad if line["event"] not in self.provoked]

    def stop(self) -> int:
        """End with SIGTERM; give the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def scrape(self) -> dict[str, float]:
        """Return every sample of /metrics by its full name."""
        samples = {}
        for line in self.operate("/metrics")[1].decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def operate(self, path: str) -> tuple[int, bytes]:
        """GET a path of the operators' listener."""
        try:
            with urllib.request.urlopen(f"http://{self.operators}{path}", timeout=PATIENCE_S) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def request(
        self, method: str, target: str, *, fields: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Make one request on a connection of its own."""
        with self.connect() as sock:
            sock.sendall(head(method, target, fields, len(body) if body else None) + body)
            return resolved(target, read_answer(sock, method))

    def put(self, rel: str, body: bytes, content_type: str = "application/octet-stream") -> Answer:
        """Upload with a v2 token."""
        fields = {"Content-Type": content_type, "Content-Length": str(len(body))}
        return self.request("PUT", signed(rel, len(body), content_type), fields=fields, body=body)

    def get(self, rel: str, **fields: str) -> Answer:
        """Download; underscores in field names stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return self.request("GET", f"/upload/{quote(rel)}", fields=named)

    def files(self) -> list[str]:
        """Paths of all published files, relative to the storage."""
        found = (path.relative_to(self.storage) for path in self.storage.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if path.parts[0] != ".hmacfs")

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(PATIENCE_S)
        self.listener.join(PATIENCE_S)  # workers end by themselves, and have the log open till then
        if kind is None:
            assert not self.listener.is_alive(), "a worker outlives the supervisor"
            assert not self.faults(), f"errors that the test did not ask for: {self.faults()}"


def configuration(  # noqa: PLR0913 - the parts of a configuration
    storage: Path,
    *,
    workers: int = 1,
    listen: str = '"127.0.0.1:0"',
    server: str = "",
    rest: str = "",
    secret: str = SECRET,
    min_free: str = "1MB",
) -> str:
    """Return a configuration for a test: system-chosen ports, JSON log."""
    return CONFIG.format(
        storage=storage,
        workers=workers,
        listen=listen,
        server=server,
        rest=rest,
        secret=secret,
        min_free=min_free,
    )


def start(  # noqa: PLR0913 - how a server is started
    where: Path,
    text: str,
    *,
    provokes: Collection[str] = (),
    environ: dict[str, str] | None = None,
    wrap: tuple[str, ...] = (),
    keep: tuple[int, ...] = (),
) -> Server:
    """Start a server in `where` and wait until it is ready.

    `provokes` are the errors that the test asks for, by their events' names; `wrap` is put before the
    server's command; `keep` are descriptors that it inherits.
    """
    server = launch(where, text, environ=environ, provokes=provokes, wrap=wrap, keep=keep)
    try:
        ready = server.wait_until_ready()
    except BaseException:
        server.process.kill()
        server.process.wait()
        raise
    first = ready["listening"].split()[0]
    if "/" not in first:
        host, _, port = first.rpartition(":")
        server.host, server.port = host.strip("[]"), int(port)
    server.operators = ready["operators"]
    return server


def launch(  # noqa: PLR0913 - how a server is started
    where: Path,
    text: str,
    *,
    environ: dict[str, str] | None = None,
    provokes: Collection[str] = (),
    wrap: tuple[str, ...] = (),
    keep: tuple[int, ...] = (),
) -> Server:
    """Start a server as `start` does, without waiting until it is ready."""
    config = where / "config.toml"
    config.write_text(text)
    process = subprocess.Popen(
        [*wrap, sys.executable, "-m", "hmacfs", "serve", "--config", str(config)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environ or {})},
        cwd=where,
        pass_fds=keep,
    )
    server = Server(process=process, storage=where / "store", config=config, provoked=set(provokes))
    server.listener = threading.Thread(target=_listen, args=(server,), daemon=True)
    server.listener.start()
    return server


@contextlib.contextmanager
def running(
    where: Path, *, environ: dict[str, str] | None = None, provokes: Collection[str] = (), **parts: Any
) -> Iterator[Server]:
    """Run a server on `configuration(where / "store", **parts)`; it must end cleanly at SIGTERM."""
    with start(where, configuration(where / "store", **parts), environ=environ, provokes=provokes) as server:
        yield server
        status = server.stop()
        assert status == 0, f"exit status {status}: {server.events[-20:]}"


def _listen(server: Server) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        try:
            event = json.loads(line)
        except ValueError:
            event = {"event": NOT_JSON, "text": line.decode("utf-8", "replace")}
        server.events.append(event)
        server.news.put(event)
    server.news.put(None)
    server.process.stderr.close()


def signed(
    rel: str,
    size: int,
    content_type: str = "application/octet-stream",
    *,
    dialect: str = "v2",
    prefix: str = "/upload/",
) -> str:
    """Return the signed target of an upload."""
    endpoint = Endpoint(
        prefix=prefix, directory="upload", protocols=auth.DIALECTS, secrets=(Secret(SECRET.encode()),)
    )
    token = auth.sign(
        dialect, endpoint, auth.SlotRequest(rel, size, content_type), now=time.time(), ttl_s=TTL_S
    )
    return f"{prefix}{quote(rel)}?{token.query}"


def bearer(  # noqa: PLR0913 - what a token signs
    rel: str,
    size: int,
    content_type: str = "application/octet-stream",
    *,
    dialect: str = "jwt",
    prefix: str = "/upload/",
    ttl_s: float = TTL_S,
) -> tuple[str, str]:
    """Return the target of an upload and the value of its Authorization field."""
    endpoint = Endpoint(
        prefix=prefix, directory="upload", protocols=auth.DIALECTS, secrets=(Secret(SECRET.encode()),)
    )
    token = auth.sign(
        dialect, endpoint, auth.SlotRequest(rel, size, content_type), now=time.time(), ttl_s=ttl_s
    )
    query = f"?{token.query}" if token.query else ""
    return f"{prefix}{quote(rel)}{query}", dict(token.fields)["Authorization"]


def fresh(name: str = "file.bin") -> str:
    """Return a path below an endpoint that nobody has used."""
    return f"{secrets.token_hex(8)}/{name}"


def head(method: str, target: str, fields: dict[str, str] | None, length: int | None = None) -> bytes:
    """Write a request head; Host and Content-Length are added where they are missing."""
    lines = {"Host": "localhost", **(fields or {})}
    if length is not None:
        lines.setdefault("Content-Length", str(length))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def resolved(target: str, answer: Answer) -> Answer:
    """Return an answer to a request for `target` with its references as a client reads them (RFC 3986 5)."""
    for name in ("location", "content-location"):
        if name in answer.fields:
            answer.fields[name] = urljoin(target, answer.fields[name])
    return answer


def until(holds: Callable[[], bool], words: object = "") -> None:
    """Ask again and again until it holds; fail with `words` if it takes too long."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, words


def read_answer(sock: socket.socket, method: str = "GET") -> Answer:
    """Read one whole response, and no byte more."""
    answer, rest = take_answer(sock, b"", method)
    assert rest == b"", f"bytes after the response: {rest[:200]!r}"
    return answer


class Source(Protocol):
    """What answers come from: a socket, or what reads as one."""

    def recv(self, most: int, /) -> bytes: ...


def assert_not_spoilt(data: bytes | bytearray) -> None:
    """Fail if there is something of memory that was freed, or lent and given back (`trapping`)."""
    assert SPOILT not in data, "an answer holds freed memory"


def take_answer(sock: Source, begun: bytes, method: str = "GET") -> tuple[Answer, bytes]:
    """Read one response after `begun`; give it and what was read beyond. EOFError if there is none."""
    data = begun
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise EOFError(f"connection ended after {data!r}")
        data += more
    top, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    status = int(first.split(" ")[1])
    fields = {}
    for line in lines:
        name, _, value = line.partition(": ")
        fields[name.lower()] = value
    length = int(fields.get("content-length", 0))
    if method == "HEAD" or status in (204, 304) or status < 200:
        length = 0
    body = bytearray(rest)
    while len(body) < length:
        more = sock.recv(1 << 20)
        if not more:
            raise EOFError(f"body ended after {len(body)} of {length} bytes")
        body += more
    assert_not_spoilt(body)
    return Answer(status, fields, bytes(body[:length])), bytes(body[length:])


def figure(words: str) -> None:
    """Show what was measured: `pytest -s`, or the output of a test that failed."""
    sys.stdout.write(f"{words}\n")
