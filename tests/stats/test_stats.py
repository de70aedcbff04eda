"""`hmacfs stats` beside a real server: a page, JSON, a live view in a terminal, and clear refusals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import children
import pytest
import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 300_000
WITHOUT_PORT = 'listen_address = "127.0.0.1:0"\n[security]'


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[serving.Server, Path]]:
    """Run a server that has done something of everything; give it and a configuration that names its port."""
    where = tmp_path_factory.mktemp("asked")
    with serving.running(where) as server:
        rel = serving.fresh()
        assert server.put(rel, b"x" * SIZE).status == 201
        assert server.put(rel, b"y" * SIZE).status == 409
        assert server.get(rel).body == b"x" * SIZE
        assert server.get("no/such").status == 404
        yield server, naming(server, where / "named.toml", server.operators)


def naming(server: serving.Server, path: Path, address: str) -> Path:
    """Write the server's configuration as it would be with this address for metrics."""
    text = server.config.read_text()
    assert WITHOUT_PORT in text
    path.write_text(text.replace(WITHOUT_PORT, f'listen_address = "{address}"\n[security]'))
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "hmacfs", "stats", *map(str, arguments)]


def stats(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def test_a_snapshot_for_scripts(asked: tuple[serving.Server, Path]) -> None:
    done = stats("--config", asked[1], "--json", "--interval", "0.1")
    assert (done.returncode, done.stderr) == (0, "")
    got: dict[str, Any] = json.loads(done.stdout)
    assert got["workers"] == 1
    assert got["interval_s"] >= 0.1
    assert got["uploads_per_s"] == got["downloads_per_s"] == 0
    assert got["upload_errors"] == {"exists": {"now": 0, "ever": 1}}
    assert got["download_errors"] == {"not_found": {"now": 0, "ever": 1}}
    assert 0 < got["disk_free_bytes"] < got["disk_size_bytes"]
    upload = got["latency"]["upload"]
    assert upload["now"] == {"p50_s": None, "p95_s": None}
    assert 0 < upload["ever"]["p50_s"] <= upload["ever"]["p95_s"]
    for buckets in got["throughput"].values():
        assert sum(bucket["count"] for bucket in buckets) == 1
        assert buckets[0]["above"] == 0
        assert buckets[-1]["upto"] is None


@pytest.mark.parametrize("option", [["--once"], []])
def test_a_page_for_a_pipe(asked: tuple[serving.Server, Path], option: list[str]) -> None:
    done = stats("--config", asked[1], "--interval", "0.1", *option)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    for words in ("files/s", "bytes/s", "disk free", "loop lag", "p95 ever", "exists", "not_found", "█"):
        assert words in done.stdout


def test_a_page_where_only_ascii_can_be_written(asked: tuple[serving.Server, Path]) -> None:
    done = subprocess.run(
        command("--config", asked[1], "--once", "--interval", "0.1"),
        capture_output=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"####" in done.stdout


def test_the_live_view_follows_the_server_until_interrupted(asked: tuple[serving.Server, Path]) -> None:
    server, config = asked
    ours, theirs = pty.openpty()
    with children.running(
        command("--config", config, "--interval", "0.1"),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "60"},
    ) as process:
        os.close(theirs)
        read_until(ours, "hmacfs ")
        assert server.get("no/such/either").status == 404
        read_until(ours, "2 (1)")  # of the code not_found
        process.send_signal(signal.SIGINT)
        drain(ours)
        assert process.wait(60) == 0
        assert process.stderr.read() == b""
    os.close(ours)


def read_until(terminal: int, words: str) -> None:
    """Read what the terminal shows until it shows `words`; the test's time limit is the limit."""
    shown = b""
    while words.encode() not in shown:
        shown += os.read(terminal, 65536)


def drain(terminal: int) -> None:
    """Read until nobody holds the terminal's other end, which Linux tells as EIO."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        return


def test_a_unix_socket_is_asked_too(tmp_path: Path) -> None:
    text = serving.configuration(tmp_path / "store")
    assert WITHOUT_PORT in text
    address = f"unix:{tmp_path}/m"
    with serving.start(
        tmp_path, text.replace(WITHOUT_PORT, f'listen_address = "{address}"\n[security]')
    ) as server:
        done = stats("--config", server.config, "--json", "--interval", "0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["workers"] == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", 'listen_address is ""'),
        ("127.0.0.1:0", "the system chose the port"),
        ("127.0.0.1:1", "no server gives metrics on 127.0.0.1:1: Connection refused"),
        ("unix:/nonexistent/socket", "No such file or directory"),
    ],
)
@pytest.mark.parametrize("form", ["--once", "--json"])
def test_no_server_is_one_clear_line(
    asked: tuple[serving.Server, Path], tmp_path: Path, address: str, words: str, form: str
) -> None:
    done = stats("--config", naming(asked[0], tmp_path / "config.toml", address), form)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_without_a_configuration_nothing_is_made(tmp_path: Path) -> None:
    done = subprocess.run(command("--json"), cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode in {0, 1}  # whatever answers at the default address, or nothing
    assert list(tmp_path.iterdir()) == []


def test_the_public_listener_has_no_metrics(asked: tuple[serving.Server, Path], tmp_path: Path) -> None:
    server, _ = asked
    done = stats(
        "--config", naming(server, tmp_path / "config.toml", f"{server.host}:{server.port}"), "--once"
    )
    assert done.returncode == 1
    assert "answers 404 where metrics should be" in done.stderr


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "soon"])
def test_an_interval_is_a_time(interval: str, tmp_path: Path) -> None:
    done = stats("--config", tmp_path / "none.toml", "--interval", interval)
    assert done.returncode == 2
    assert "--interval" in done.stderr
