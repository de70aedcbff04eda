"""No field, path or query costs more than a millisecond, whatever a stranger writes into it.

All that is done of a request before its body is done here for each name that the code looks up, at every
door, with values made to be dear. What a value costs beyond a short one is compared with a loop that takes a
millisecond on the machine of the figures: so a slow or busy machine judges alike.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import field_names
import pytest
import storage

from hmacfs import metrics
from hmacfs.app import App
from hmacfs.config import settings as conf
from hmacfs.connection.client_address import ClientResolver
from hmacfs.errors import BODY_INCOMPLETE, Refused
from hmacfs.http import head as heads
from hmacfs.http import hints
from hmacfs.http import reply as replies
from hmacfs.log import Log
from hmacfs.model import Endpoint, FinishedRequest, Reply, Secret
from hmacfs.policy.trusted_proxies import Trusted
from hmacfs.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOOPS = 60_000
"""Turns of an empty loop in a millisecond."""
TRIES = 40  # a machine with other work has emptied the caches in most of them
FIELD_BYTES = 15_000
TARGET_BYTES = 8_000
DATE = b"Sun, 22 Nov 2026 12:00:00 GMT"
SECRETS = (Secret(b"s" * 64), Secret(b"t" * 64))
ID = "0" * 32
DOORS = (
    *("GET /upload/slot/file", "HEAD /upload/slot/file", f"PUT /upload/slot/new?v2={'0' * 64}"),
    *("PUT /share/slot/new", "PUT /go/new?user=a&expiry=1", "PUT /both/slot/new", "POST /upload"),
    *(f"PATCH /upload/slot/new?v={'0' * 64}", "POST /files/", f"PATCH /files/{ID}", f"HEAD /files/{ID}"),
    *("POST /chunked-upload", f"GET /upload-status?session_id={ID}", "OPTIONS /upload/slot/file"),
    *("GET /download/upload/slot/file", "DELETE /upload/slot/file?token=0"),
)
FRAMING = {"content-length", "transfer-encoding"}
TUS = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
IETF = {"Upload-Complete": "?1"}
RANGE = {"Content-Range": "bytes 0-4/5"}
ASKED = (
    *((protocol, {}) for protocol in DOORS),
    *((protocol, TUS) for protocol in DOORS if "/files/" in protocol),
    *(
        (protocol, IETF)
        for protocol in DOORS
        if protocol.startswith(("PATCH /files", "PUT /upload", "HEAD /upload"))
    ),
    *((protocol, RANGE) for protocol in DOORS if protocol.startswith("PUT /upload")),
)


def _jwt(payload: bytes) -> str:
    parts = (b'{"alg":"HS256"}', payload, b"x" * 32)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


REPEATED = (
    # What stands once, and what is repeated behind it.
    *(("?1", ";a"), ("", "a;a,"), ("", "a=1,"), ("", "a=:AAAA:, "), ("", ","), ("", ";"), ("", "a,")),
    *(("", " ,"), ("", "a;q=1,"), ("", '"a",'), ("", '"",'), ("", '"'), ("bytes=", "1-2,"), ("bytes=", ",")),
    *(("", "9"), ('a; filename="', ";"), ("a", ";filename=a"), ("a; filename*=", "'"), ("", "a="), ("", "&")),
    *(("a; filename*=utf-8''", "%41"), ("", "1.1.1.1,"), ("", "for=1.1.1.1,"), ("", "a=b;"), ("", "%41")),
    *(
        ("", "a "),
        ("final;", "/files/a "),
        ("final;", "a://[ "),
        ("", "\\"),
        ("", '\\"'),
        ("", "("),
        ("", ":"),
    ),
    *(("", "a YQ==,"), ("", "a ,"), ("a ", "A"), ("sha1 ", "A"), ("Bearer ", "a"), ("Bearer ", "a.")),
    *(("Bearer ", "eyJ"), ("multipart/form-data", ";a=b"), ('multipart/form-data; boundary="', ";")),
    *(("multipart/form-data; boundary=", "a"), ("", "../"), ("", "\xe9"), ("", "Conversation"), ("", "[1:")),
    ("", "a\t"),
)
CLAIMS = (
    b"[" * 6000,
    b'{"a":[' + b",".join([b"{}"] * 1900) + b"]}",
    b"{" + b",".join(b'"%d":1' % number for number in range(600)) + b"}",
    b'{"a":"' + b"\\u0041" * 950 + b'"}',
    b'{"a":[' + b",".join([b"1e5"] * 1400) + b"]}",
)
VALUES = (
    *(first + repeated * (FIELD_BYTES // len(repeated)) for first, repeated in REPEATED),
    *(f"Bearer {_jwt(payload)}" for payload in CLAIMS),
)
QUERIES = tuple(
    repeated * (TARGET_BYTES // len(repeated))
    for repeated in (
        "&",
        "%41&",
        "a=%C3%A9&",
        "v=1&",
        "v=%41&",
        "%41",
        "a",
        "=",
        "?",
        "session_id=1&",
        "eyJa.",
        "/",
    )
)
PATHS = tuple(
    repeated * (TARGET_BYTES // len(repeated) - 20)
    for repeated in (
        "a",
        "/a",
        "%41",
        "/%41",
        "%D0%96",
        "a.",
        "~",
        "~" + "0" * 64,
        "/..a",
        "(",
        "a:",
        "eyJ.",
        "%2e",
    )
)


class Link:
    """A client whose body never comes."""

    peer = "192.0.2.1:4242"
    trusted = False
    trailer: bytes | None = None

    def authorize(self, dialect: str, owner: str = "") -> None:
        """Take no note."""

    def advise(self, upload: object) -> int:
        """Advise anything."""
        del upload
        return 1 << 20

    def send_interim(self, interim: bytes) -> None:
        """Send nothing."""

    def abort_body(self, refused: Refused) -> None:
        """Have nothing to break off."""

    def receive_into(self, sink: object, plan: object) -> asyncio.Future[None]:
        """Break off at once."""
        del sink, plan
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        broken.set_exception(Refused(BODY_INCOMPLETE))
        return broken


class Server:
    """All that is done of a request but for its sockets."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, sink: int) -> None:
        def endpoint(name: str, *protocols: str) -> Endpoint:
            return Endpoint(prefix=f"/{name}/", directory=name, protocols=protocols, secrets=SECRETS)

        endpoints = (
            endpoint("upload", "v2", "v", "token"),
            endpoint("share", "jwt"),
            endpoint("both", "jwt", "gojwt", "bearer"),
            endpoint("go", "v3", "bearer", "gojwt"),
            endpoint("files", "tus"),
        )
        row = metrics.CounterRow(memoryview(bytearray(metrics.memory_bytes(1))), 0)
        self.app = App(conf.Settings(endpoints=endpoints), store, row)
        self.loop = loop
        self.limits = heads.HeadLimits()
        self.vouch = ClientResolver(Trusted(("127.0.0.0/8", "1.0.0.0/8")))
        self.log = Log(sink)

    def answer(self, raw: bytes) -> int:
        """Answer a request; give its status."""
        head = None
        try:
            head = heads.parse(raw, self.limits)
            hints.read(head.fields)
            self.vouch(head.fields.get(b"x-forwarded-for"), head.fields.get(b"forwarded"))
            answer = self.app.answer(head, Link())
            reply = answer if isinstance(answer, Reply) else self.loop.run_until_complete(answer)
        except Refused as refused:
            reply = self.app.refuse(refused, head, "1")
        self.app.decorate(reply, head)
        replies.render(reply, head, request_id="1", date=DATE, keep_alive=True)
        if reply.file is not None:
            reply.file.descriptor.close()
        finished = FinishedRequest(
            request_id="1",
            client="a",
            method="GET",
            target=b"" if head is None else head.target,
            status=reply.status,
            code=reply.code,
            received=0,
            sent=0,
            elapsed_s=0.0,
            detail=reply.detail,
        )
        self.log.request(finished)
        return reply.status

    def field_s(self, line: str, fields: dict[str, str], field: str, number: int) -> float:
        """Return the cost of one field more."""
        name, _, value = field.partition(": ")
        return self.cost_s(request(line, {**fields, name: f"{value}{number}"}))

    def target_s(self, line: str, fields: dict[str, str], number: int) -> float:
        """Return the cost of a target."""
        return self.cost_s(request(f"{line}{number}", fields))

    def cost_s(self, raw: bytes, tries: int = 1) -> float:
        """Return the least that a request costs in some tries."""
        return min(cost_s(lambda: self.answer(raw)) for _ in range(tries))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root: Path = tmp_path_factory.mktemp("costs")
    (root / "upload/slot").mkdir(parents=True)
    (root / "upload/slot/file").write_bytes(b"hello")
    with (
        contextlib.closing(Store.open(str(root), storage.rules())) as store,
        asyncio.Runner() as runner,
        (root / "log").open("wb") as sink,
    ):
        yield Server(store, runner.get_loop(), sink.fileno())


def cost_s(act: Callable[[], Any]) -> float:
    began = time.thread_time()
    act()
    return time.thread_time() - began


def turn() -> int:
    turns = 0
    for turns in range(LOOPS):  # noqa: B007 - as empty as a loop can be
        pass
    return turns


class Gauge:
    """Compares costs: the least of several measurements counts."""

    def __init__(self) -> None:
        self.unit_s = min(cost_s(turn) for _ in range(TRIES))

    def is_cheap(self, dear: Callable[[int], float], plain_s: float) -> bool:
        """Whether `dear`, which tells its cost, costs at most a unit more than `plain_s`.

        It gets the number of the try, so that what is remembered of one does not help the next.
        """
        for number in range(TRIES):
            if dear(number) <= plain_s + self.unit_s:
                return True
            self.unit_s = max(self.unit_s, cost_s(turn))  # perhaps the machine is busier by now
        return False


def request(line: str, fields: dict[str, str]) -> bytes:
    lines = "".join(
        f"{name}: {value}\r\n" for name, value in {"Host": "h", "Content-Length": "5", **fields}.items()
    )
    return f"{line} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


@pytest.fixture(scope="module")
def gauge() -> Gauge:
    return Gauge()


@pytest.mark.parametrize("name", sorted(field_names.looked_up() - FRAMING))
def test_a_field(server: Server, gauge: Gauge, name: str) -> None:
    for protocol, language in ASKED:
        named = {key: value for key, value in language.items() if key.lower() != name}
        named |= {} if name == "accept" else {"Accept": "text/plain"}
        plain_s = server.cost_s(request(protocol, {**named, name: "a"}), tries=3)
        for value in VALUES:
            dear = functools.partial(server.field_s, protocol, named, f"{name}: {value}")
            assert gauge.is_cheap(dear, plain_s), (protocol, value[:40])


@pytest.mark.parametrize(("protocol", "language"), ASKED)
def test_a_target(server: Server, gauge: Gauge, protocol: str, language: dict[str, str]) -> None:
    path = protocol.partition("?")[0]
    plain_s = server.cost_s(request(f"{path}a", language), tries=3)
    for more in (*(f"?{query}" for query in QUERIES), *PATHS):
        dear = functools.partial(server.target_s, f"{path}{more}", language)
        assert gauge.is_cheap(dear, plain_s), more[:40]


def test_the_measure_tells_dear_from_cheap(gauge: Gauge) -> None:
    assert gauge.is_cheap(lambda _: cost_s(lambda: None), 0.0)
    assert not gauge.is_cheap(lambda _: cost_s(lambda: [turn() for _ in range(30)]), 0.0)
