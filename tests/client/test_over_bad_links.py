"""`hmacfs put` and `get` with the real server: over links that break, at its endpoint, over TLS."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import selfsigned
import serving
from client.relay import Relay

from hmacfs.auth import passes
from hmacfs.model import MiB, Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from client.conftest import Done

    Command = Callable[..., Done]

DATA = os.urandom(MiB) * 21
# Of requests of 10 MiB, which is what the server advises at first.
CUTS = (3 * MiB, 7 * MiB)


def run(cwd: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hmacfs", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environ},
    )


def put(hmacfs: Command, cwd: Path, *arguments: str) -> dict[str, Any]:
    (cwd / "a.bin").write_bytes(DATA)
    done = hmacfs("put", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    ended: dict[str, Any] = json.loads(done.stdout)
    return ended


def path_of(url: str) -> str:
    return re.sub(r"^http://[^/]+", "", url)


def test_a_slots_upload_goes_on_after_each_cut(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    with Relay(real.host, real.port, up=CUTS) as relay:
        base = f"{relay.url}/upload/"
        ended = put(hmacfs, tmp_path, "--config", str(real.config), "--base-url", base, "a.bin")
    assert relay.cuts == len(CUTS) <= ended["retries"]
    assert real.request("GET", path_of(ended["url"])).body == DATA


def test_an_endpoints_upload_goes_on_after_each_cut(
    real: serving.Server, hmacfs: Command, tmp_path: Path
) -> None:
    token = passes.sign(Secret(serving.SECRET.encode()), "alice", now=time.time(), ttl_s=3600)
    with Relay(real.host, real.port, up=CUTS) as relay:
        ended = put(hmacfs, tmp_path, "--token", token, "a.bin", f"{relay.url}/files/")
    assert ended["url"].endswith("/a.bin")
    assert relay.cuts == len(CUTS) <= ended["retries"]
    assert real.request("GET", path_of(ended["url"])).body == DATA


def test_a_lost_answer_is_asked_for(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    with Relay(real.host, real.port, down=[1, 1]) as relay:
        base = f"{relay.url}/upload/"
        ended = put(
            hmacfs, tmp_path, "--config", str(real.config), "--base-url", base, "--chunk", "1G", "a.bin"
        )
    assert relay.cuts == 2 <= ended["retries"]
    assert real.request("GET", path_of(ended["url"])).body == DATA


@pytest.mark.parametrize("size", [MiB, len(DATA)])  # sent at once, or after a question
@pytest.mark.parametrize("lost", [0, 1])
def test_what_stands_there_is_ours_or_not_by_its_digest(
    real: serving.Server, hmacfs: Command, tmp_path: Path, size: int, lost: int
) -> None:
    """Whether `put` is refused by an answer, or asks what became of one that was lost."""
    rel = serving.fresh()
    (tmp_path / "mine").write_bytes(DATA[:size])
    (tmp_path / "other").write_bytes(DATA[1:size] + b"?")
    url = f"{{}}{serving.signed(rel, size)}"
    for name, status in (("mine", 0), ("mine", 0), ("other", 1)):
        with Relay(real.host, real.port, down=[1] * lost) as relay:
            done = hmacfs("put", "--json", name, url.format(relay.url))
        assert done.returncode == status, done.stderr
        assert relay.cuts == lost
        assert ("this one needs a URL of its own" in done.stderr or "exists" in done.stderr) == bool(status)
    assert real.get(rel).body == DATA[:size]


def test_a_download_goes_on_after_each_cut(real: serving.Server, hmacfs: Command, tmp_path: Path) -> None:
    rel = serving.fresh()
    assert real.put(rel, DATA).status == 201
    with Relay(real.host, real.port, down=CUTS) as relay:
        done = hmacfs("get", "--json", f"{relay.url}/upload/{rel}")
    assert done.returncode == 0, done.stderr
    assert relay.cuts == len(CUTS) <= json.loads(done.stdout)["retries"]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [DATA]


def test_a_certificate_must_be_trusted(tmp_path: Path, program: Callable[[str], str]) -> None:
    crt, key = selfsigned.make(program("openssl"), tmp_path / "tls", name="localhost")
    rest = f'[tls]\nlisten_address = "127.0.0.1:0"\ncertificate = "{crt}"\nkey = "{key}"\n'
    (tmp_path / "a.bin").write_bytes(b"abc")
    with serving.running(tmp_path, rest=rest) as server:
        base = f"https://localhost:{selfsigned.port_of(server)}/upload/"
        arguments = ("put", "--config", str(server.config), "--base-url", base, "a.bin")
        refused = run(tmp_path, *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "certificate is not to be trusted" in refused.stderr
        trusted = run(tmp_path, *arguments, SSL_CERT_FILE=str(crt))
        assert (trusted.returncode, trusted.stderr) == (0, "")
