"""A storage that an older hmacfs has left, killed, is served: every file, and unfinished uploads go on.

The storages lie in `vectors`; `vectors/make_store.py` says how each was made. None is ever made anew: a
commit that changes what lies on the disk adds one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import languages
import pytest
import serving
from contents import Content
from languages import ALICE, OCTETS, TUS

from hmacfs.model import KiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Answer, Server

VECTORS = Path(__file__).parents[1] / "vectors"
NAMES = [path.stem for path in sorted(VECTORS.glob("store-*.json"))]
KNOWN = {name: json.loads((VECTORS / f"{name}.json").read_text("utf-8")) for name in NAMES}
FILES = [(name, known) for name in NAMES for known in KNOWN[name]["files"]]
UNFINISHED = [(name, known) for name in NAMES for known in KNOWN[name]["unfinished"]]
SIZE = 4000
CHUNK = 1024
TYPE = "video/mp4"
PAST = 1_000_000_000
CONFIG = """
[uploads]
sessiontimeout = "876000h"
[[endpoint]]
prefix = "/upload/"
protocols = ["v2"]
[[endpoint]]
prefix = "/share/"
directory = "share"
protocols = ["jwt"]
[[endpoint]]
prefix = "/go/"
directory = "go/files"
protocols = ["gojwt"]
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
"""


def label(value: object) -> str:
    """Return how a row of the tables is called."""
    return str(value["content"]) if isinstance(value, dict) else str(value)


def unpack(name: str, where: Path, program: Callable[[str], str]) -> None:
    """Put a storage where a server will look for it; by tar, which keeps the nanoseconds of its times."""
    subprocess.run([program("tar"), "-C", str(where), "-xzf", str(VECTORS / f"{name}.tar.gz")], check=True)


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]
) -> Iterator[Callable[[str], Server]]:
    """Give the server of each storage, all tests' own."""
    with contextlib.ExitStack() as running:
        started: dict[str, Server] = {}

        def server(name: str) -> Server:
            if name not in started:
                where = tmp_path_factory.mktemp(name)
                unpack(name, where, program)
                started[name] = running.enter_context(serving.running(where, rest=CONFIG, workers=2))
            return started[name]

        yield server


def of(known: dict[str, Any]) -> bytes:
    """Return the content that belongs to a row."""
    return Content(name=known["content"], generation=0, size=SIZE).data


def check(answer: Answer, data: bytes, content_type: str = TYPE) -> None:
    """Fail unless this is the file."""
    assert (answer.status, answer.fields["content-type"]) == (200, content_type)
    assert answer.body == data


@pytest.mark.parametrize(("name", "known"), FILES, ids=label)
def test_a_file_is_what_it_was(name: str, known: dict[str, Any], servers: Callable[[str], Server]) -> None:
    server = servers(name)
    answer = server.request("GET", known["path"], fields={"Want-Repr-Digest": "sha-256=1"})
    if known["expires"] == PAST:
        assert answer.status == 404
        return
    check(answer, of(known), known["type"])
    digest = languages.digest(of(known)) if known["sha256"] else None
    assert answer.fields.get("repr-digest") == digest


@pytest.mark.parametrize(("name", "known"), UNFINISHED, ids=label)
def test_an_upload_goes_on(name: str, known: dict[str, Any], servers: Callable[[str], Server]) -> None:
    GOES_ON[known["language"]](servers(name), known, of(known))


def tus(server: Server, known: dict[str, Any], data: bytes) -> None:
    told = server.request("HEAD", known["target"], fields={**TUS, **ALICE})
    assert (told.status, told.fields["upload-offset"]) == (200, str(known["offset"]))
    assert told.fields.get("upload-length") == (known["length"] and str(known["length"]))
    length = {} if known["length"] else {"Upload-Length": str(SIZE)}
    fields = {**TUS, **ALICE, **OCTETS, **length, "Upload-Offset": str(known["offset"])}
    rest = data[known["offset"] :]
    assert server.request("PATCH", known["target"], fields=fields, body=rest).status == 204
    check(server.request("GET", f"{known['target']}/{known['content']}"), data)


def tus_parts(server: Server, known: dict[str, Any], data: bytes) -> None:
    first, second = known["parts"]
    assert [languages.offset(server, part) for part in known["parts"]] == known["offsets"]
    assert languages.patch(server, second, known["offsets"][1], data[sum(known["offsets"]) :]).status == 204
    told = {"filename": known["content"], "filetype": TYPE}
    pairs = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())
    fields = {**TUS, **ALICE, "Upload-Concat": f"final;{first} {second}", "Upload-Metadata": pairs}
    answer = server.request("POST", "/files/", fields=fields)
    assert answer.status == 201
    check(server.request("GET", answer.fields["content-location"]), data)


def ietf(server: Server, known: dict[str, Any], data: bytes) -> None:
    told = server.request("HEAD", known["target"], fields=ALICE)
    assert (told.status, told.fields["upload-offset"], told.fields["upload-complete"]) == (
        204,
        str(known["offset"]),
        "?0",
    )
    answer = languages.append(server, known["target"], known["offset"], data[known["offset"] :], ends=True)
    assert answer.fields["upload-complete"] == "?1", answer
    place = answer.fields.get("content-location", known["target"].partition("?")[0])
    check(server.request("GET", place), data)


def content_range(server: Server, known: dict[str, Any], data: bytes) -> None:
    told = server.request("HEAD", known["target"])
    assert (told.status, told.fields["upload-offset"]) == (204, str(known["offset"]))
    fields = {"Content-Type": TYPE, "Content-Range": f"bytes {known['offset']}-{SIZE - 1}/{SIZE}"}
    assert server.request("PUT", known["target"], fields=fields, body=data[known["offset"] :]).status == 201
    check(server.request("GET", known["target"].partition("?")[0]), data)


def chunked(server: Server, known: dict[str, Any], data: bytes) -> None:
    session, query = known["session"], known["target"].partition("?")[2]
    told = json.loads(server.request("GET", f"/upload-status?session_id={session}&{query}").body)
    assert (told["chunks"], told["completed"]) == (len(known["chunks"]), False)
    for number in (n for n in range(4) if n not in known["chunks"]):
        fields = {"X-Upload-Session-ID": session, "X-Chunk-Number": str(number)}
        chunk = data[number * CHUNK : (number + 1) * CHUNK]
        assert server.request("POST", known["target"], fields=fields, body=chunk).status == 200
    check(server.request("GET", f"/upload/{known['content']}"), data)


GOES_ON: dict[str, Callable[[Server, dict[str, Any], bytes], None]] = {
    "tus": tus,
    "tus_parts": tus_parts,
    "ietf": ietf,
    "range": content_range,
    "chunked": chunked,
}


@pytest.mark.parametrize("name", NAMES)
def test_each_file_keeps_its_row(name: str, tmp_path: Path, program: Callable[[str], str]) -> None:
    """With a file_ttl that all have outlived, those stay whose row has an expiry that is to come."""
    unpack(name, tmp_path, program)
    files = KNOWN[name]["files"]
    stay = [known["path"].removeprefix("/") for known in files if known["expires"] not in {None, PAST}]
    with serving.running(tmp_path, rest=CONFIG, server='file_ttl = "1s"') as server:
        server.wait_for("reconcile-done", dropped=0, added=0)
        server.wait_for("sweep-done", removed=len(files) - len(stay))
        assert server.files() == stay
        assert server.scrape()["hmacfs_optimal_buffer_size_bytes"] == 256 * KiB
