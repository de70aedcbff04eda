"""The main job with a real XMPP server: Prosody issues a slot, a real client PUTs, another client GETs.

What the clients themselves do to a file, so that it is not hmacfs's doing:

- slixmpp sends every name and size as they are; its HTTP library writes the slot's URL anew (other hex
  digits, other characters left plain), which the tokens survive since they sign the decoded path.
- go-sendxmpp replaces all but ASCII letters, digits and "+-._" in names by "_" before it asks for a slot,
  and announces a type that it guesses from the content. The names it would change also travel in slots of
  slixmpp whose PUT is curl's.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import ssl
import subprocess
from typing import TYPE_CHECKING

import aiohttp
import pytest
from e2e import people
from e2e.conftest import SHORT_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.conftest import Big, Chat, Site
    from e2e.prosody import Domain

TYPE = "image/png"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
NAMES = {
    "plain": "photo.png",
    "spaces": " two  words .png",
    "plus": "1+1=2.png",
    "percent": "100%25 of 100%.png",
    "emoji": "🎉 party 👩‍👩‍👧.png",
    "accents": "tre\u0300s été ñandú Ünï.png",
    "200-bytes": "n" * 196 + ".png",
    "200-bytes-of-emoji": "🎉" * 49 + ".png",
    "punctuation": "a&b=c;d,e'(f)!~@:$*#?[x]\"<>^`{|}.png",
    "dots": "..hidden...",
    "unlike-its-type": "notes.html",
}
SIZES = {"empty": 0, "one-byte": 1, "two-slabs-and-one": 2 * 256 * 1024 + 1}
GUESSED = {0: "text/plain", 1: "text/plain"}
"""What go-sendxmpp announces for bodies of these sizes; all others begin as a PNG does."""
FILES = [(name, 1000) for name in NAMES.values()] + [(f"{name}.png", size) for name, size in SIZES.items()]


async def read_back(url: str, body: bytes, content_type: str, trust: Path | None = None) -> None:
    """Bob reads a file with aiohttp, whole and in ranges."""
    size = len(body)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=trust))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(url) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == content_type
            assert answer.headers["Content-Length"] == str(size)
            assert await answer.read() == body
        wanted = [(0, 1), (size // 3, size // 2 + 1), (size - 1, size)] if size else []
        for start, stop in wanted:
            fields = {"Range": f"bytes={start}-{stop - 1}"}
            async with session.get(url, headers=fields) as answer:
                assert answer.status == 206
                assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
                assert await answer.read() == body[start:stop]
        # players ask for "bytes=0-" of everything, so an empty file is whole from its first byte
        beyond = max(size, 1)
        async with session.get(url, headers={"Range": f"bytes={beyond}-"}) as answer:
            assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")


def content(size: int) -> bytes:
    """Return a body that looks like a picture if it is long enough."""
    return PNG[:size] + secrets.token_bytes(max(size - len(PNG), 0))


def put_with_curl(curl: str, slot: people.Slot, path: Path, content_type: str) -> None:
    command = [curl, "--silent", "--show-error", "--upload-file", str(path)]
    for name, value in {"Content-Type": content_type, **slot.fields}.items():
        command += ["--header", f"{name}: {value}"]
    status = subprocess.check_output([*command, "--write-out", "%{http_code}", slot.put], text=True)
    assert status == "201"


def test_slixmpp_uploads_every_name_and_size(chat: Chat, domain: Domain, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with people.online(chat.server, domain, "alice") as alice:
            for name, size in FILES:
                body = content(size)
                path = tmp_path / name
                path.write_bytes(body)
                url = await alice.upload(path, TYPE)
                await read_back(url, body, TYPE)

    asyncio.run(scenario())


def test_curl_uploads_every_name_and_size(
    chat: Chat, domain: Domain, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """A client that leaves the slot's URL just as Prosody wrote it."""

    async def scenario() -> None:
        async with people.online(chat.server, domain, "alice") as alice:
            for name, size in FILES:
                body = content(size)
                (tmp_path / "body").write_bytes(body)
                slot = await alice.slot(name, size, TYPE)
                await asyncio.to_thread(put_with_curl, program("curl"), slot, tmp_path / "body", TYPE)
                await read_back(slot.get, body, TYPE)

    asyncio.run(scenario())


def test_go_sendxmpp_uploads_and_the_receiver_reads(
    site: Site, chat: Chat, secure_domain: Domain, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """Bob gets the link in a chat message and knows nothing else."""
    command, trust, domain = program("go-sendxmpp"), site.certificate, secure_domain
    receiver = f"bob@{domain.name}"

    async def scenario() -> None:
        async with people.online(chat.server, domain, "bob") as bob:
            for name, size in FILES:
                body = content(size)
                path = tmp_path / name.replace(",", "_")  # as of 0.14 commas separate files
                path.write_bytes(body)
                status, said = await people.go_sendxmpp(command, chat.server, domain, trust, path, receiver)
                assert status == 0, (name, said)  # as of 0.14 it warns of root
                url = await asyncio.wait_for(bob.received.get(), people.PATIENCE_S)
                await read_back(url, body, GUESSED.get(size, TYPE), trust)

    asyncio.run(scenario())


@pytest.mark.parametrize("client", ["slixmpp", "go-sendxmpp"])
def test_a_hundred_mebibytes(  # noqa: PLR0913, PLR0917 - fixtures
    client: str, site: Site, chat: Chat, kind: str, way: str, big: Big, program: Callable[[str], str]
) -> None:
    domain = chat.domains[kind, way if client == "slixmpp" else f"{way}-tls"]

    async def upload() -> str:
        if client == "slixmpp":
            async with people.online(chat.server, domain, "alice") as alice:
                return await alice.upload(big.path, "video/mp4")
        async with people.online(chat.server, domain, "bob") as bob:
            command, receiver = program("go-sendxmpp"), f"bob@{domain.name}"
            trust = site.certificate
            status, said = await people.go_sendxmpp(command, chat.server, domain, trust, big.path, receiver)
            assert status == 0, said
            return await asyncio.wait_for(bob.received.get(), people.PATIENCE_S)

    url = asyncio.run(upload())
    curl = [program("curl"), "--silent", "--show-error", "--fail", "--cacert", str(site.certificate)]
    whole = subprocess.check_output([*curl, url])
    assert hashlib.sha256(whole).hexdigest() == big.sha256
    head = subprocess.check_output([*curl, "--head", "--write-out", "%{content_type}", url], text=True)
    assert head.endswith("video/mp4" if client == "slixmpp" else "application/octet-stream")
    for start, stop in [(0, 1), (50 * 1024 * 1024 - 1, 51 * 1024 * 1024), (big.size - 7, big.size)]:
        part = subprocess.check_output([*curl, "--range", f"{start}-{stop - 1}", url])
        with big.path.open("rb") as file:
            file.seek(start)
            assert part == file.read(stop - start)
    site.forget(url)


@pytest.mark.parametrize("name", ["back\\slash.png", ".", ".."])
def test_names_that_prosody_grants_and_hmacfs_refuses(
    name: str, chat: Chat, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """What could lead to another place when somebody copies the tree is no name; the client is told so."""

    async def scenario() -> people.Slot:
        async with people.online(chat.server, chat.domains["v2", "direct"], "alice") as alice:
            return await alice.slot(name, 1, TYPE)

    slot = asyncio.run(scenario())
    (tmp_path / "body").write_bytes(b"x")
    target = "/" + slot.put.split("/", 3)[3]  # as it was signed: curl itself would resolve the dots
    command = [program("curl"), "--silent", "--request-target", target]
    command += ["--upload-file", str(tmp_path / "body")]
    answer = subprocess.check_output([*command, "--header", f"Content-Type: {TYPE}", slot.put], text=True)
    assert '"code": "bad_path"' in answer


def test_a_file_disappears_after_prosodys_retention(chat: Chat, site: Site, tmp_path: Path) -> None:
    async def scenario() -> tuple[str, int, str]:
        path = tmp_path / "brief.png"
        path.write_bytes(PNG)
        async with people.online(chat.server, chat.domains["jwt", "short"], "alice") as alice:
            url = await alice.upload(path, TYPE)
        return url, *await status(url)

    async def status(url: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, answer.headers["Cache-Control"]

    url, first, cache = asyncio.run(scenario())
    assert first == 200
    # a cache must not keep it for longer either
    assert int(cache.removeprefix("public, max-age=").partition(",")[0]) <= SHORT_S
    key = url.split("/", 3)[3]
    assert key in site.hmacfs.files()
    site.hmacfs.wait_for("sweep-done")
    assert asyncio.run(status(url))[0] == 404
    assert key not in site.hmacfs.files()
