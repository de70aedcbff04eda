"""A slot whose PUT broke: it can be PUT again as a whole, or continued, and nobody sees half a file."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import subprocess
from typing import TYPE_CHECKING

import aiohttp
import pytest
from cutting import Break, Weather
from e2e import people, resumable, slots
from e2e.resumable import SIZE, TYPE, MiB, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cutting import Relay
    from e2e.conftest import Chat
    from e2e.node import Node

HOWS = (Break.RESET, Break.END)


@pytest.fixture(params=["v2", "jwt"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file to upload."""
    path = tmp_path / "film.mp4"
    path.write_bytes(secrets.token_bytes(SIZE))
    return path


@pytest.mark.parametrize("how", HOWS)
def test_slixmpp_tries_again(how: Break, kind: str, relay: Relay, chat: Chat, path: Path) -> None:
    """With the slot that it has, and from the beginning; its HTTP library does so once by itself."""

    async def scenario() -> str:
        async with people.online(chat.server, chat.domains[kind, "relay"], "alice") as alice:
            alice.keep_slot()
            relay.change(Weather(cut_every_bytes=2 * MiB, cuts=2, how=how))
            for _ in range(2):
                with contextlib.suppress(aiohttp.ClientError):
                    return await alice.upload(path, TYPE)
            return await alice.upload(path, TYPE)

    kept = resumable.read(asyncio.run(scenario()))
    assert relay.cuts == 2
    assert (kept.body, kept.content_type) == (path.read_bytes(), TYPE)


@pytest.mark.parametrize("how", HOWS)
def test_curl_goes_on_where_it_was_cut(  # noqa: PLR0913, PLR0917 - fixtures
    how: Break, kind: str, relay: Relay, chat: Chat, path: Path, program: Callable[[str], str]
) -> None:
    """With Content-Range, which is how curl continues an upload; HEAD tells it where."""

    async def scenario() -> people.Slot:
        async with people.online(chat.server, chat.domains[kind, "relay"], "alice") as alice:
            return await alice.slot(path.name, SIZE, TYPE)

    slot = asyncio.run(scenario())
    curl = [program("curl"), "--silent", "--output", "/dev/null"]
    for name, value in {"Content-Type": TYPE, **slot.fields}.items():
        curl += ["--header", f"{name}: {value}"]
    relay.change(Weather(cut_every_bytes=2 * MiB, cuts=1, how=how))
    assert subprocess.call([*curl, "--upload-file", str(path), slot.put]) != 0
    assert slots.fetch(slot.get).status == 404
    # the network has told curl of the reset, and it may ask before the server has put away what came
    asking = [
        "--head",
        "--fail",
        "--retry",
        "9",
        "--retry-all-errors",
        "--write-out",
        "%header{upload-offset}",
    ]
    offset = subprocess.check_output([*curl, *asking, slot.put], text=True)
    assert MiB < int(offset) < 2 * MiB
    rest = ["--upload-file", str(path), "--continue-at", offset, "--write-out", "%{http_code}", slot.put]
    assert subprocess.check_output([*curl, *rest], text=True) == "201"
    assert resumable.read(slot.get).body == path.read_bytes()


@pytest.mark.parametrize("protocol", ["tus-v1", "ietf-draft-05"])
def test_tus_js_client_uploads_to_a_slot(
    protocol: str, kind: str, relay: Relay, path: Path, node: Node
) -> None:
    """A slot is a collection of one upload, and that upload."""
    slot = slots.grant(relay.address, kind, path.name, SIZE, TYPE)
    relay.change(Weather(cut_every_bytes=MiB))
    node.run(Ticket(endpoint=slot.put, fields=slot.fields), path, protocol=protocol)
    assert relay.cuts >= 4
    kept = resumable.read(slot.get)
    assert (kept.body, kept.content_type) == (path.read_bytes(), TYPE)
