"""Behind a proxy that serves the server below a prefix, and takes that off: references still lead."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin

import languages
import plain_nginx
import pytest
import serving
from languages import ALICE, OCTETS, PART, TUS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message
    from pathlib import Path

    from serving import Server

# Prefix at the proxy, and what of the server stands there: below "/" or, renamed, the collection alone.
WAYS = {"stripped": ("/xmpp/", "/", "/xmpp/files/"), "renamed": ("/xmpp/big/", "/files/", "/xmpp/big/")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with languages.served(tmp_path_factory.mktemp("below")) as server:
        yield server


@pytest.fixture(params=WAYS)
def collection(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path, program: Callable[[str], str]
) -> Iterator[str]:
    """Return the URL of the collection at the proxy."""
    prefix, path, files = WAYS[request.param]
    upstream = f"{server.host}:{server.port}"
    with plain_nginx.below(program("nginx"), tmp_path, upstream, prefix=prefix, path=path) as address:
        yield f"http://{address}{files}"


def ask(
    method: str, url: str, fields: dict[str, str], body: bytes | None = None
) -> tuple[int, Message[str, str], bytes, str]:
    """Ask as a client does that follows redirects; give status, fields, body and the URL that answered."""
    request = urllib.request.Request(url, method=method, headers=fields, data=body)
    try:
        with urllib.request.urlopen(request, timeout=serving.PATIENCE_S) as reply:
            return reply.status, reply.headers, reply.read(), reply.url
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read(), url


def begin(collection: str, fields: dict[str, str]) -> str:
    status, answered, _, url = ask("POST", collection, {**ALICE, **fields})
    assert status == 201
    return urljoin(url, str(answered["Location"]))


def append(url: str, body: bytes) -> Message[str, str]:
    status, answered, _, _ = ask("PATCH", url, {**ALICE, **TUS, **OCTETS, "Upload-Offset": "0"}, body)
    assert status == 204
    return answered


def test_an_upload_of_tus(collection: str) -> None:
    told = {"Upload-Length": "5", "Upload-Metadata": "filename YTpiIGMudHh0"}  # "a:b c.txt"
    url = begin(collection, {**TUS, **told})
    assert url.startswith(collection)
    file = urljoin(url, append(url, b"hello")["Content-Location"])
    assert ask("GET", file, {})[2] == b"hello"
    assert ask("HEAD", url, {**ALICE, **TUS})[1]["Upload-Offset"] == "5"
    status, _, body, last = ask("GET", url, {})  # led on to the file
    assert (status, body, last) == (200, b"hello", file)


def test_an_upload_of_the_ietf(collection: str) -> None:
    status, answered, _, _ = ask("POST", collection, {**ALICE, "Upload-Complete": "?0"}, b"he")
    assert status == 201
    url = urljoin(collection, answered["Location"])
    status, answered, _, _ = ask(
        "PATCH", url, {**ALICE, **PART, "Upload-Complete": "?1", "Upload-Offset": "2"}, b"llo"
    )
    assert status == 201
    assert ask("GET", urljoin(url, answered["Content-Location"]), {})[2] == b"hello"


@pytest.mark.parametrize("form", ["url", "path", "relative"])
def test_parts_are_joined(collection: str, form: str) -> None:
    parts = [begin(collection, {**TUS, "Upload-Concat": "partial", "Upload-Length": "5"}) for _ in range(2)]
    for part, body in zip(parts, (b"hello", b"world"), strict=True):
        append(part, body)
    cut = {"url": 0, "path": parts[0].index("/", 8), "relative": len(collection)}[form]
    joined = " ".join(part[cut:] for part in parts)
    status, answered, _, _ = ask("POST", collection, {**ALICE, **TUS, "Upload-Concat": f"final;{joined}"})
    assert status == 201
    url = urljoin(collection, answered["Location"])
    assert ask("HEAD", url, {**ALICE, **TUS})[1]["Upload-Concat"] == f"final;{joined}"
    assert ask("GET", urljoin(collection, answered["Content-Location"]), {})[2] == b"helloworld"


@pytest.mark.parametrize("name", ["file.bin", "a:b.bin", "c d.bin"])
def test_a_slot(server: Server, tmp_path: Path, program: Callable[[str], str], name: str) -> None:
    """Its upload has the URL that was signed."""
    upstream = f"{server.host}:{server.port}"
    with plain_nginx.below(program("nginx"), tmp_path, upstream, prefix="/xmpp/") as address:
        url = f"http://{address}/xmpp{serving.signed(serving.fresh(name), 5)}"
        fields = {**PART, "Content-Type": "application/octet-stream"}
        status, answered, _, _ = ask(
            "PUT", url, {**fields, "Upload-Complete": "?0", "Upload-Length": "5"}, b"he"
        )
        assert (status, unquote(urljoin(url, answered["Location"]))) == (201, unquote(url))
        more = {**PART, "Upload-Complete": "?1", "Upload-Offset": "2"}
        assert ask("PATCH", urljoin(url, answered["Location"]), more, b"llo")[0] == 201
        assert ask("GET", url.partition("?")[0], {})[2] == b"hello"
