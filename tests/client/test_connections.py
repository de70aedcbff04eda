"""`hmacfs put --connections`: files at the same time, and parts of one; the command, and the real server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import children
import pytest
from client.joining import Joining
from client.relay import Relay
from client.standin import Stall, repr_digest

from hmacfs.model import MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import serving
    from client.conftest import Done

    Command = Callable[..., Done]

DATA = os.urandom(MiB) * 16
PARTS = 4
# The n-th is that of the n-th connection, whichever part of 4 MiB it carries: all are less than one part,
# so that no connection has too little left for its cut.
CUTS = (2 * MiB, 1 * MiB, 1, MiB // 2, 65537)


@pytest.fixture
def joining() -> Iterator[Joining]:
    with Joining() as server:
        yield server


def signing(server: serving.Server, relay: Relay, path: str = "/files/") -> list[str]:
    protocol = "tus" if path == "/files/" else "v2"
    return ["--config", str(server.config), "--base-url", f"{relay.url}{path}", "--protocol", protocol]


def ends(done: Done) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def path_of(url: str) -> str:
    return re.sub(r"^http://[^/]+", "", url)


def file_at(server: serving.Server, url: str) -> bytes:
    return server.request("GET", path_of(url)).body


def left(server: serving.Server) -> list[str]:
    """Return the unfinished uploads that hold bytes; one whose beginning was not heard of is empty."""
    uploads = (server.storage / ".hmacfs/uploads").iterdir()
    return [path.name for path in uploads if not path.suffix and path.stat().st_size]


def test_one_file_goes_over_all_of_them(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(DATA)
    with Relay(real.host, real.port) as relay:
        (ended,) = ends(hmacfs("put", "--json", "--connections", "4", *signing(real, relay), "a.png"))
    assert relay.connections == PARTS
    assert ended["url"].endswith("/a.png")
    assert (ended["size"], ended["sha256"]) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    told = real.request("HEAD", path_of(ended["url"]), fields={"Want-Repr-Digest": "sha-256=10"})
    assert told.fields["repr-digest"] == repr_digest(DATA)
    assert file_at(real, ended["url"]) == DATA
    assert left(real) == []


def test_each_goes_on_after_its_cut(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(DATA)
    with Relay(real.host, real.port, up=CUTS) as relay:
        (ended,) = ends(hmacfs("put", "--json", "--connections", "4", *signing(real, relay), "a.bin"))
    assert relay.cuts == len(CUTS) <= ended["retries"]
    assert file_at(real, ended["url"]) == DATA
    assert left(real) == []


def test_a_file_is_stored_once_though_the_answer_is_lost(
    real: serving.Server, hmacfs: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(DATA)
    before = real.files()
    with Relay(real.host, real.port, unheard=b"final;", times=2) as relay:
        (ended,) = ends(hmacfs("put", "--json", "--connections", "4", *signing(real, relay), "a.bin"))
    assert relay.cuts == ended["retries"] == 2
    assert file_at(real, ended["url"]) == DATA
    assert len(real.files()) == len(before) + 1


@pytest.mark.parametrize(
    ("path", "sizes", "connections", "opened"),
    [
        ("/files/", [8, 8], 4, 4),  # two each
        ("/files/", [8, 8], 3, 2),
        ("/files/", [16, 1, 1], 4, 3),
        ("/files/", [7], 4, 1),  # too small
        ("/files/", [16], 1, 1),
        ("/upload/", [16], 4, 1),  # a slot
    ],
)
def test_which_files_go_in_parts(  # noqa: PLR0913, PLR0917 - a table
    real: serving.Server,
    hmacfs: Command,
    tmp_path: Path,
    path: str,
    sizes: list[int],
    connections: int,
    opened: int,
) -> None:
    names = [f"{number}.bin" for number in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        (tmp_path / name).write_bytes(DATA[: size * MiB])
    with Relay(real.host, real.port) as relay:
        arguments = ("--connections", str(connections), *signing(real, relay, path), *names)
        stored = {ended["file"]: ended for ended in ends(hmacfs("put", "--json", *arguments))}
    assert relay.connections == opened
    for name, size in zip(names, sizes, strict=True):
        assert file_at(real, stored[name]["url"]) == DATA[: size * MiB]


def test_a_server_that_joins_nothing_gets_it_in_order(
    joining: Joining, hmacfs: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(DATA)
    joining.extensions = "creation"
    ends(hmacfs("put", "--json", "--connections", "4", "a.bin", f"{joining.url}/files/"))
    assert [*joining.files.values()] == [DATA]
    assert joining.bytes_of("PATCH") == [len(DATA)]


def test_who_gave_up_goes_on_by_what_it_says(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(DATA)
    before = real.files()
    with Relay(real.host, real.port, up=[2 * MiB]) as relay:
        options = ("--json", "--connections", "4", *signing(real, relay))
        done = hmacfs("put", "--retries", "0", *options, "a.bin")
        assert done.returncode == 3
        ended = json.loads(done.stdout)
        assert (ended["end"], relay.cuts) == ("gave-up", 1)
        assert ended["resource"].startswith(f"{relay.url}/files/#")
        (last,) = [line for line in done.stderr.splitlines() if "to go on" in line]
        again = hmacfs(*shlex.split(last.partition("give: hmacfs ")[2]))
    assert again.returncode == 0, again.stderr
    assert file_at(real, again.stdout.strip()) == DATA
    assert len(real.files()) == len(before) + 1
    assert left(real) == []


def test_an_interrupted_one_is_continued_by_what_it_says(
    joining: Joining, hmacfs: Command, tmp_path: Path
) -> None:
    (tmp_path / "a file.bin").write_bytes(DATA)
    joining.meet = PARTS
    joining.faults["PATCH"].append(Stall())
    arguments = ("--connections", "4", "--type", "a/b", "a file.bin", f"{joining.url}/files/")
    with children.running(
        [sys.executable, "-m", "hmacfs", "put", "--json", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert joining.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    ended = json.loads(out)
    assert ended["end"] == "interrupted"
    assert re.fullmatch(rf"{joining.url}/files/#(\d,?){{4}}", ended["resource"])
    assert err.startswith("hmacfs: a file.bin: interrupted; to go on, give: hmacfs put ")
    arrived = sum(joining.bytes_of("PATCH"))
    joining.seen.clear()
    joining.meet = 1
    done = hmacfs(*shlex.split(err.partition("give: hmacfs ")[2]))
    assert (done.returncode, done.stderr) == (0, "")
    assert [*joining.files.values()] == [DATA]
    assert joining.told == [{"filename": "a file.bin", "filetype": "a/b"}]
    assert sum(joining.bytes_of("PATCH")) == len(DATA) - arrived


def test_what_is_continued_is_one_file(hmacfs: Command) -> None:
    done = hmacfs("put", "a", "b", "http://x/files/#1,2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "takes one file" in done.stderr
