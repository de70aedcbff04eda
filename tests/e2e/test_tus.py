"""Real clients of tus, unmodified, over a network that cuts them off: tuspy, and tus-js-client in Node.

The network is cut again and again after so many bytes, and more of them are in a file: who began anew each
time would never be done, and who lost or doubled a byte is found out when the file is read.
"""

from __future__ import annotations

import secrets
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import children
import pytest
from cutting import Break, Weather
from e2e import resumable
from e2e.resumable import METADATA, SIZE, TYPE, MiB
from tusclient.client import TusClient

if TYPE_CHECKING:
    from pathlib import Path

    from cutting import Relay
    from e2e.node import Node
    from e2e.resumable import Ticket

RETRIES = 20
KiB = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file to upload."""
    path = tmp_path / "film"
    path.write_bytes(secrets.token_bytes(SIZE))
    return path


def tuspy(ticket: Ticket, path: Path, chunk_bytes: int) -> str:
    """Upload with checksums; give the upload's URL."""
    client = TusClient(ticket.endpoint, headers=dict(ticket.fields))
    with path.open("rb") as file:
        uploader = client.uploader(
            file_stream=file,
            chunk_size=chunk_bytes,
            metadata=METADATA,
            upload_checksum=True,
            retries=RETRIES,
            retry_delay=0,
        )
        uploader.upload()
    assert uploader.url is not None
    return uploader.url


@pytest.mark.parametrize("how", [Break.RESET, Break.END])
def test_tuspy_goes_on_after_each_cut(how: Break, relay: Relay, ticket: Ticket, path: Path) -> None:
    """A chunk with a checksum is kept whole or not at all, so it must fit between two cuts."""
    relay.change(Weather(cut_every_bytes=1536 * KiB, how=how))
    url = tuspy(ticket, path, MiB)
    assert relay.cuts >= 2
    kept = resumable.read(url)
    assert (kept.body, kept.content_type) == (path.read_bytes(), TYPE)
    assert kept.url.endswith("/tr%C3%A8s%20cool%20film.mp4")


def test_tuspy_sends_a_chunk_again_that_was_spoiled(relay: Relay, ticket: Ticket, path: Path) -> None:
    relay.change(Weather(spoiled_byte=SIZE // 2))
    url = tuspy(ticket, path, MiB)
    assert SIZE + MiB < relay.passed_bytes < SIZE + 2 * MiB
    assert resumable.read(url).body == path.read_bytes()


@pytest.mark.parametrize("how", [Break.RESET, Break.END])
def test_what_came_of_a_spoiled_chunk_before_a_cut_is_not_kept(
    how: Break, relay: Relay, ticket: Ticket, path: Path
) -> None:
    """Nothing tells any more whether it is right."""
    relay.change(Weather(spoiled_byte=1280 * KiB, cut_every_bytes=1536 * KiB, cuts=1, how=how))
    url = tuspy(ticket, path, MiB)
    assert relay.cuts == 1
    assert resumable.read(url).body == path.read_bytes()


WAYS: dict[str, dict[str, Any]] = {
    "tus": {},
    "tus-in-chunks": {"chunkSize": 600 * KiB},
    "tus-with-data-at-creation": {"uploadDataDuringCreation": True, "chunkSize": 600 * KiB},
    "tus-override": {"overridePatchMethod": True},
    "tus-in-parallel": {"parallelUploads": 4},
    "ietf": {"protocol": "ietf-draft-05"},
    "ietf-in-chunks": {"protocol": "ietf-draft-05", "chunkSize": 600 * KiB},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_tus_js_client_goes_on_after_each_cut(
    options: dict[str, Any], relay: Relay, ticket: Ticket, path: Path, node: Node
) -> None:
    relay.change(Weather(cut_every_bytes=1000 * KiB))
    done = node.run(ticket, path, **options)
    assert relay.cuts >= 4
    # a reset costs little more than what was on its way
    assert relay.passed_bytes < SIZE * 3 // 2
    kept = resumable.read(done["url"])
    assert (kept.body, kept.content_type) == (path.read_bytes(), TYPE)
    assert kept.url == urljoin(done["url"], done["content"])


def test_tus_js_client_sends_a_stream_whose_length_it_does_not_know(
    relay: Relay, ticket: Ticket, path: Path, node: Node
) -> None:
    relay.change(Weather(cut_every_bytes=1000 * KiB))
    body = path.read_bytes()
    done = node.run(ticket, None, stdin=body, uploadLengthDeferred=True, chunkSize=600 * KiB)
    assert relay.cuts >= 4
    assert resumable.read(done["url"]).body == body


@pytest.mark.parametrize("protocol", ["tus-v1", "ietf-draft-05"])
def test_the_last_answer_is_lost(protocol: str, relay: Relay, ticket: Ticket, path: Path, node: Node) -> None:
    """The file is whole by then, and the client that asks how far it came is told so."""
    relay.change(Weather(lost_answer_bytes=SIZE))
    done = node.run(ticket, path, protocol=protocol)
    assert relay.cuts == 1
    assert relay.passed_bytes < SIZE + 64 * KiB
    assert resumable.read(done["url"]).body == path.read_bytes()


def test_tus_js_client_takes_an_upload_back(ticket: Ticket, path: Path, node: Node) -> None:
    """While the server still reads its body."""
    done = node.run(ticket, path, terminates=True)
    asked = urllib.request.Request(
        done["terminated"], headers={**ticket.fields, "Tus-Resumable": "1.0.0"}, method="HEAD"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    refused.value.close()
    assert refused.value.code in {404, 410}


def test_a_client_that_died_in_a_dead_network_goes_on_when_it_is_back(
    relay: Relay, ticket: Ticket, path: Path, node: Node, tmp_path: Path
) -> None:
    """The server has not noticed that the first connection is gone, and lets the second go on at once."""
    storage = tmp_path / "storage"
    relay.change(Weather(cut_every_bytes=2 * MiB, cuts=1, how=Break.SILENCE))
    first = node.command(ticket, path, storage=storage)
    with children.running(first, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        relay.wait_for_cut()
    relay.change(Weather())
    done = node.run(ticket, path, storage=storage)
    assert relay.passed_bytes < SIZE - MiB
    assert resumable.read(done["url"]).body == path.read_bytes()
