"""The command line as a person uses it: real processes, what they print, what they exit with."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


COMMANDS = ["serve", "check-config", "gen-config", "sign", "put", "get", "expire", "stats"]


def hmacfs(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hmacfs", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    done = hmacfs(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"hmacfs {command}" in done.stdout


def test_generated_configurations_have_no_fault(tmp_path: Path) -> None:
    for option in ([], ["--full"]):
        made = hmacfs("gen-config", *option, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        (tmp_path / "made.toml").write_text(made.stdout)
        checked = hmacfs("check-config", "made.toml", cwd=tmp_path)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert "no faults" in checked.stdout


def test_a_generated_file_is_private_and_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "made.toml"
    for option in ([], ["--full"]):
        done = hmacfs("gen-config", "--output", "made.toml", *option, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert path.stat().st_mode & 0o777 == 0o600
        assert tomllib.loads(path.read_text())["server"]["storage_path"] == "/srv/hmacfs"
        before = path.read_bytes()
        done = hmacfs("gen-config", "--output", "made.toml", *option, cwd=tmp_path)
        assert (done.returncode, path.read_bytes()) == (1, before)
        assert done.stderr == "hmacfs: made.toml cannot be made: File exists\n"
        path.unlink()


def test_check_config_tells_where_files_go(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[security]\nsecret = "b1f0c6d29e7a4853a1d4f70b6c92e358"\n')
    done = hmacfs("check-config", "c.toml", cwd=tmp_path)
    assert f"c.toml: files go to {tmp_path}/var" in done.stdout.splitlines()


def test_check_config_names_every_fault_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        '[server]\nmax_uplod_size = "10GB"\nworkers = -1\n[security]\nsecret = "changeme"\n'
    )
    done = hmacfs("check-config", "bad.toml", cwd=tmp_path)
    assert done.returncode == 1
    faults = done.stderr.splitlines()
    assert [line.split(":")[:2] for line in faults] == [
        ["bad.toml", "2"],
        ["bad.toml", "3"],
        ["bad.toml", "5"],
    ]
    assert "max_upload_size" in faults[0]
    assert "changeme" not in faults[2]


@pytest.mark.parametrize("command", [["check-config", "none.toml"], ["serve", "--config", "none.toml"]])
def test_missing_file_is_one_clear_line(command: list[str], tmp_path: Path) -> None:
    done = hmacfs(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "none.toml" in done.stderr


def test_serve_refuses_a_weak_secret(tmp_path: Path) -> None:
    (tmp_path / "weak.toml").write_text('[security]\nsecret = "changeme-changeme-changeme-changeme"\n')
    done = hmacfs("serve", "--config", "weak.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert "secret" in done.stderr


@pytest.mark.parametrize("protocol", ["v2", "v", "token", "jwt"])
def test_signed_url_and_its_curl_line_upload(protocol: str, tmp_path: Path, program: object) -> None:
    assert callable(program)
    program("curl")
    rest = f"""
[[endpoint]]
prefix = "/upload/"
protocols = ["{protocol}"]
"""
    with serving.running(tmp_path, rest=rest) as server:
        name = "très cool +%~(1).txt"
        (tmp_path / name).write_text("hello world\n")
        done = hmacfs(
            "sign",
            "--config",
            str(server.config),
            "--protocol",
            protocol,
            "--base-url",
            server.url,
            name,
            "12",
            "text/plain",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        url, *_, line = done.stdout.splitlines()
        curl = subprocess.run(
            [*shlex.split(line), "-s", "-o", os.devnull, "-w", "%{http_code}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert curl.stdout == "201"
        path = url.partition("?")[0].removeprefix(f"http://{server.host}:{server.port}")
        answer = server.request("GET", path)
        assert (answer.status, answer.body) == (200, b"hello world\n")
        assert answer.fields["content-type"] == "text/plain"


def test_a_pass_for_tus_and_its_curl_line_upload(tmp_path: Path, program: Callable[[str], str]) -> None:
    program("curl")
    rest = '[[endpoint]]\nprefix = "/files/"\nprotocols = ["tus"]\n'
    with serving.running(tmp_path, rest=rest) as server:
        (tmp_path / "two words.txt").write_text("hello world\n")
        base = f"http://{server.host}:{server.port}/files"
        options = ["--config", str(server.config), "--protocol", "tus", "--base-url", base]
        done = hmacfs("sign", *options, "two words.txt", "12", "text/plain", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        url, bearer, line = done.stdout.splitlines()
        assert url == f"{base}/"
        said = subprocess.check_output([*shlex.split(line), "-s", "-i"], cwd=tmp_path, text=True, timeout=60)
        lines = (field.partition(": ") for field in said.splitlines())
        fields = {name.lower(): value for name, _, value in lines}
        answer = server.request("GET", urljoin("/files/", fields["content-location"]))
        assert (answer.status, answer.body) == (200, b"hello world\n")
        assert fields["content-location"].endswith("/two%20words.txt")
        assert answer.fields["content-type"] == "text/plain"
        larger = {"Authorization": bearer.partition(": ")[2], "Tus-Resumable": "1.0.0", "Upload-Length": "13"}
        assert server.request("POST", "/files/", fields=larger).status == 413


def test_sign_says_which_endpoint_is_missing(tmp_path: Path) -> None:
    done = hmacfs("sign", "--protocol", "jwt", "--base-url", "http://x/upload/", "a.txt", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert "[[endpoint]]" in done.stderr


@pytest.mark.parametrize("name", ["a/../b", "/etc/passwd", "a/", "a//b", "..", "a\nb", "a\\b", ""])
def test_what_the_server_would_not_take_is_not_signed(name: str, tmp_path: Path) -> None:
    done = hmacfs("sign", "--base-url", "http://x/upload/", name, "1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("hmacfs: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("size", ["-1", "1KB", "", "²", "1_0"])
def test_a_size_is_a_number_of_bytes(size: str, tmp_path: Path) -> None:
    done = hmacfs("sign", "--base-url", "http://x/upload/", "a", size, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""


def test_embedded_secret_is_made_once_and_private(tmp_path: Path) -> None:
    arguments = ("sign", "--base-url", "http://x/upload/", "slot/a.txt", "1")
    first = hmacfs(*arguments, cwd=tmp_path)
    second = hmacfs(*arguments, cwd=tmp_path)
    assert first.returncode == 0
    assert first.stdout == second.stdout
    secret = tmp_path / "hmacfs.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n?", secret.read_text())


def test_expire_lists_then_removes(tmp_path: Path) -> None:
    with serving.running(tmp_path, server='file_ttl = "1h"\nsweep_interval = "1h"') as server:
        assert server.put("slot/old.txt", b"old").status == 201
        assert server.put("slot/new.txt", b"new").status == 201
    # Two hours later, as far as the files can tell: rows are made anew from the tree.
    old = tmp_path / "store/upload/slot/old.txt"
    os.utime(old, ns=(0, old.stat().st_mtime_ns - 7200 * 10**9))
    with serving.running(tmp_path, server='file_ttl = "1d"\nsweep_interval = "1h"') as server:
        server.wait_for("reconcile-done")
    text = server.config.read_text().replace('file_ttl = "1d"', 'file_ttl = "1h"')
    server.config.write_text(text)
    listed = hmacfs("expire", "--config", str(server.config), "--dry-run", cwd=tmp_path)
    assert listed.stdout.splitlines() == ["3\tupload/slot/old.txt", "1 files would be removed"]
    assert old.exists()
    removed = hmacfs("expire", "--config", str(server.config), cwd=tmp_path)
    assert removed.stdout == "1 files removed\n"
    assert server.files() == ["upload/slot/new.txt"]


def test_one_fault_in_an_endpoint_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        '[security]\nsecret = "b1f0c6d29e7a4853a1d4f70b6c92e358"\n'
        '[[endpoint]]\nprefix = "upload"\nprotocols = ["v4"]\ndirectory = "../x"\nsecret = "changeme"\n'
        '[[endpoint]]\ndirectory = "/y"\n'
    )
    done = hmacfs("check-config", "bad.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == ["4", "5", "6", "7", "8", "9"]
