"""Real command-line clients, and XMPP clients that need a display imitated as they speak on the wire.

The imitations send what the clients' sources send; the statuses they take for success are theirs too.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from e2e import slots
from e2e.slots import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.conftest import Big, Site
    from e2e.people import Slot

MiB = 1024 * 1024
TYPE = "video/mp4"


def run(command: list[str], **options: bytes) -> str:
    """Run a client that must succeed; give all it said."""
    done = subprocess.run(
        command,
        input=options.get("stdin", b""),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said
    return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that lies on the server."""

    url: str
    body: bytes


@pytest.fixture
def wire(site: Site, way: str) -> Iterator[Wire]:
    """Return a connection to each way."""
    with Wire(site.addresses[way]) as wire:
        yield wire


@pytest.fixture
def stored(site: Site, way: str, wire: Wire) -> Stored:
    """Upload 8 MiB."""
    body = secrets.token_bytes(8 * MiB)
    slot = slots.grant(site.addresses[way], "v2", "film.mp4", len(body), TYPE)
    fields = [("Content-Type", TYPE), ("Content-Length", str(len(body)))]
    assert wire.ask("PUT", slot.put, fields, body).status == 201
    return Stored(url=slot.get, body=body)


# Uploads with curl.


def curl_put(curl: str, slot: Slot, source: str, *more: str, content_type: str = TYPE) -> list[str]:
    command = [curl, "--silent", "--show-error", "--upload-file", source, *more]
    for name, value in {"Content-Type": content_type, **slot.fields}.items():
        command += ["--header", f"{name}: {value}"]
    return [*command, slot.put]


def test_curl_asks_before_it_sends_and_is_let(
    site: Site, way: str, kind: str, tmp_path: Path, program: Callable[[str], str]
) -> None:
    body = secrets.token_bytes(2 * MiB)
    (tmp_path / "film").write_bytes(body)
    slot = slots.grant(site.addresses[way], kind, "film.mp4", len(body), TYPE)
    said = run(curl_put(program("curl"), slot, str(tmp_path / "film"), "--verbose"))
    assert "> Expect: 100-continue" in said
    assert "< HTTP/1.1 100 Continue" in said
    assert "< HTTP/1.1 201 Created" in said
    assert slots.fetch(slot.get).body == body


def test_curl_asks_before_it_sends_and_is_not_let(
    site: Site, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """Not one byte of a refused body travels."""
    (tmp_path / "film").write_bytes(bytes(2 * MiB))
    slot = slots.grant(site.addresses["direct"], "v2", "film.mp4", 2 * MiB - 1, TYPE)
    form = "\n%{http_code} %{size_upload}"
    said = run(curl_put(program("curl"), slot, str(tmp_path / "film"), "--write-out", form))
    problem, _, figures = said.rpartition("\n")
    assert json.loads(problem)["code"] == "token_wrong"
    assert figures == "403 0"


@pytest.mark.parametrize("source", ["film", "-"])
def test_curl_offers_http2_with_an_upload(
    site: Site, way: str, source: str, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """The offer to upgrade is ignored, and the connection kept: two files go through one."""
    body = secrets.token_bytes(2 * MiB)
    (tmp_path / "film").write_bytes(body)
    name = str(tmp_path / "film") if source == "film" else source
    two = [slots.grant(site.addresses[way], "jwt", "film.mp4", len(body), TYPE) for _ in range(2)]
    first, second = (curl_put(program("curl"), slot, name, "--http2", "--verbose") for slot in two)
    said = run([*first, "--next", *second[1:]], stdin=body)
    assert "> Upgrade: h2c" in said
    assert said.count("< HTTP/1.1 201 Created") == (2 if source == "film" else 1)
    if source == "film":
        assert said.count("* Connected to ") == 1
    assert slots.fetch(two[0].get).body == body


@pytest.mark.parametrize("dialect", ["v1", "v2", "jwt"])
def test_curl_uploads_a_stream_of_unknown_length(
    site: Site, way: str, dialect: str, program: Callable[[str], str]
) -> None:
    body = secrets.token_bytes(3 * MiB + 1)
    slot = slots.grant(site.addresses[way], dialect, "film.mp4", len(body), TYPE)
    said = run(curl_put(program("curl"), slot, "-", "--verbose"), stdin=body)
    assert "> Transfer-Encoding: chunked" in said
    assert "< HTTP/1.1 201 Created" in said
    answer = slots.fetch(slot.get)
    assert (answer.body, answer.fields["content-type"]) == (body, TYPE)


@pytest.mark.parametrize("excess", [-1, 1])
def test_a_stream_of_another_length_than_granted_is_refused(
    site: Site, way: str, excess: int, program: Callable[[str], str]
) -> None:
    size = 3 * MiB
    slot = slots.grant(site.addresses[way], "jwt", "film.mp4", size, TYPE)
    said = run(
        curl_put(program("curl"), slot, "-", "--write-out", "\n%{http_code}"), stdin=bytes(size + excess)
    )
    problem, _, status = said.rpartition("\n")
    assert (status, json.loads(problem)["code"]) == ("413", "size_mismatch")
    assert slots.fetch(slot.get).status == 404


# Downloads that are interrupted, resumed and split.


def test_curl_resumes_an_interrupted_download(
    site: Site, way: str, big: Big, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """So large a file, because curl 7.88 takes up to 10 MB at once whatever its rate limit."""
    slot = slots.grant(site.addresses[way], "v2", "film.mp4", big.size, TYPE)
    run(curl_put(program("curl"), slot, str(big.path)))
    curl, out = [program("curl"), "--silent", "--output", str(tmp_path / "out")], tmp_path / "out"
    begun = subprocess.run([*curl, "--limit-rate", "100k", "--max-time", "1", slot.get], check=False)
    assert begun.returncode == 28  # CURLE_OPERATION_TIMEDOUT
    assert 0 < out.stat().st_size < big.size
    assert run([*curl, "--continue-at", "-", "--write-out", "%{http_code}", slot.get]) == "206"
    with out.open("rb") as got:
        assert hashlib.file_digest(got, "sha256").hexdigest() == big.sha256
    out.unlink()
    site.forget(slot.get)


def test_wget_resumes(stored: Stored, tmp_path: Path, program: Callable[[str], str]) -> None:
    out = tmp_path / "out"
    out.write_bytes(stored.body[: 3 * MiB + 7])
    wget = [program("wget"), "--continue", "--output-document", str(out), stored.url]
    assert "206 Partial Content" in run(wget)
    assert out.read_bytes() == stored.body
    assert "already fully retrieved" in run(wget)


def test_aria2_splits(site: Site, stored: Stored, tmp_path: Path, program: Callable[[str], str]) -> None:
    aria2 = [
        program("aria2c"),
        "--quiet",
        "-x4",
        "-s4",
        "-k1M",
        "--no-conf",
        "-d",
        str(tmp_path),
        "-o",
        "out",
    ]
    run([*aria2, stored.url])
    assert (tmp_path / "out").read_bytes() == stored.body
    target = "/" + stored.url.split("/", 3)[3]
    site.hmacfs.wait_for("request", method="GET", target=target, status=206)


# XMPP clients.


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """How one XMPP client speaks HTTP."""

    put: dict[str, str]
    success: frozenset[int]
    """Statuses of a PUT that it takes for success."""
    asks_head: bool
    """Whether it wants to know type and size before it downloads."""
    head: dict[str, str]
    get: dict[str, str]


STRICT = frozenset({200, 201})
CLIENTS = {
    "conversations": Client(
        put={"User-Agent": "Conversations/2.12.8", "Connection": "Keep-Alive", "Accept-Encoding": "gzip"},
        success=STRICT,
        asks_head=True,
        head={"Accept-Encoding": "identity", "User-Agent": "Conversations/2.12.8"},
        get={"Accept-Encoding": "gzip", "User-Agent": "Conversations/2.12.8"},
    ),
    "dino": Client(
        put={"Accept-Encoding": "gzip, deflate, br", "User-Agent": "Dino"},
        success=frozenset(range(200, 300)),
        asks_head=True,
        head={"Accept-Encoding": "identity"},
        get={"Accept-Encoding": "gzip, deflate, br"},
    ),
    "gajim-1.7": Client(
        put={"Accept-Encoding": "gzip, deflate, br", "User-Agent": "Gajim 1.7.3"},
        success=STRICT,
        asks_head=False,
        head={},
        get={"Accept-Encoding": "gzip, deflate, br", "User-Agent": "Gajim 1.7.3"},
    ),
    "gajim-2": Client(
        put={"Accept": "*/*", "Accept-Encoding": "gzip, deflate, br, zstd", "User-Agent": "Gajim/2.0"},
        success=frozenset(range(200, 300)),
        asks_head=False,
        head={},
        get={"Accept": "*/*", "Accept-Encoding": "gzip, deflate, br, zstd"},
    ),
    "monal": Client(
        put={"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "Monal/6"},
        success=frozenset(range(200, 400)),
        asks_head=True,
        head={"Accept": "*/*", "Accept-Encoding": "gzip, deflate"},
        get={"Accept": "*/*", "Accept-Encoding": "gzip, deflate"},
    ),
    "converse": Client(
        put={"Origin": "https://chat.example", "Accept-Encoding": "gzip, deflate", "Sec-Fetch-Mode": "cors"},
        success=STRICT,
        asks_head=True,
        head={"Origin": "https://chat.example", "Accept-Encoding": "gzip, deflate"},
        get={"Accept-Encoding": "gzip, deflate", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "video"},
    ),
    "profanity": Client(
        put={"Accept": "*/*"},  # it empties Expect
        success=STRICT,
        asks_head=False,
        head={},
        get={"Accept": "*/*"},
    ),
}


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_an_xmpp_client_uploads_and_downloads(
    client: Client, site: Site, way: str, kind: str, wire: Wire
) -> None:
    """All on one connection, as their HTTP libraries do it."""
    body = secrets.token_bytes(300_001)
    slot = slots.grant(site.addresses[way], kind, "cat.jpg", len(body), "image/jpeg")
    fields = {**client.put, **slot.fields, "Content-Type": "image/jpeg", "Content-Length": str(len(body))}
    put = wire.ask("PUT", slot.put, list(fields.items()), body)
    assert put.status in client.success
    size = len(body)
    if client.asks_head:
        head = wire.ask("HEAD", slot.get, list(client.head.items()))
        assert (head.status, head.fields["content-type"]) == (200, "image/jpeg")
        assert "content-encoding" not in head.fields
        size = int(head.fields["content-length"])
    get = wire.ask("GET", slot.get, list(client.get.items()))
    assert get.status == 200
    # none of them can do with a reply of unknown length, and some cut it at what HEAD said
    assert "transfer-encoding" not in get.fields
    assert "content-encoding" not in get.fields
    assert int(get.fields["content-length"]) == size
    assert get.body == body


def test_conversations_resumes_without_if_range(stored: Stored, wire: Wire) -> None:
    begun = 1_234_567
    answer = wire.ask("GET", stored.url, [("Accept-Encoding", "identity"), ("Range", f"bytes={begun}-")])
    assert answer.status == 206
    assert answer.fields["content-range"].startswith(f"bytes {begun}-")
    assert answer.body == stored.body[begun:]


def test_converse_asks_first_and_reads_the_answers(site: Site, way: str, kind: str, wire: Wire) -> None:
    """What a page of another origin may do: preflight, PUT, HEAD, and read a refusal."""
    origin = ("Origin", "https://chat.example")
    slot = slots.grant(site.addresses[way], kind, "cat.jpg", 3, "image/jpeg")
    names = ", ".join(["content-type", *map(str.lower, slot.fields)])
    asked = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", names)]
    preflight = wire.ask("OPTIONS", slot.put, [origin, *asked])
    assert 200 <= preflight.status < 300
    assert "PUT" in preflight.fields["access-control-allow-methods"]
    allowed = preflight.fields["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type"} <= set(allowed)
    fields = [origin, *slot.fields.items(), ("Content-Type", "image/jpeg"), ("Content-Length", "3")]
    put = wire.ask("PUT", slot.put, fields, b"cat")
    assert (put.status, put.fields["access-control-allow-origin"]) == (201, "*")
    head = wire.ask("HEAD", slot.get, [origin])
    assert head.fields["access-control-allow-origin"] == "*"
    assert "Content-Length" in head.fields["access-control-expose-headers"]
    again = wire.ask("PUT", slot.put, fields, b"dog")
    assert (again.status, again.fields["access-control-allow-origin"]) == (409, "*")


@pytest.mark.parametrize("signed", ["application/octet-stream", ""])
@pytest.mark.parametrize("sent", [[("Content-Type", "")], []], ids=["empty", "absent"])
def test_a_file_without_a_type(
    signed: str, sent: list[tuple[str, str]], site: Site, way: str, wire: Wire
) -> None:
    """A browser does not know every type; Prosody signs either nothing or octet-stream then."""
    slot = slots.grant(site.addresses[way], "v2", "unknown.zzz", 3, signed)
    assert wire.ask("PUT", slot.put, [*sent, ("Content-Length", "3")], b"abc").status == 201
    answer = wire.ask("GET", slot.get, [])
    assert (answer.body, answer.fields["content-type"]) == (b"abc", "application/octet-stream")
