"""check-config tries what a configuration names; what stops a server is a fault, by the key that names it."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import loopback
import pytest
import serving

from hmacfs import config
from hmacfs.cli import trial

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "5d41402abc4b2a76b9719d911017c592e4da3b7fbbce2345d7772b0674a318d5"
NOBODY = 65534


def tried(where: Path, text: str) -> trial.Findings:
    """Try a configuration whose addresses the system chooses, unless it says others."""
    parts = {"server": f'storage_path = "{where}/store"\n', "security": f'secret = "{SECRET}"\n'}
    if "listen_address" not in text:
        parts["server"] += 'listen_address = "127.0.0.1:0"\n'
    if "[metrics]" not in text:
        parts["metrics"] = 'listen_address = "127.0.0.1:0"\n'
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            table = line.strip("[]\n")
        else:
            parts[table] = parts.get(table, "") + line
    whole = "".join(f"[{table}]\n{lines}" for table, lines in parts.items())
    return trial.run(config.parse(whole, name="t.toml", base_dir=where, environ={}))


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Whatever is tried leaves no file behind."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("precious")
    os.mkfifo(tmp_path / "pipe")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    yield
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert (tmp_path / "file").read_text() == "precious"


def test_what_works_is_no_fault(tmp_path: Path) -> None:
    text = "[logging]\nfile = 'new.log'\n[server]\nlisten_address = ['0.0.0.0:0', '[::]:0']\n"
    findings = tried(tmp_path, text)
    assert (findings.faults, findings.notices) == ([], [])
    assert tried(tmp_path, "[logging]\nfile = 'file'\n").faults == []


FAULTS = [
    # a table and a key, what it names, words
    ("logging.file", "directory", "Is a directory"),
    ("logging.file", "none/x.log", "No such file or directory"),
    ("logging.file", "file/x.log", "Not a directory"),
    ("logging.file", "pipe", "No such device or address"),
    ("logging.file", "/proc/hmacfs.log", "No such file or directory"),
    ("server.storage_path", "file", "Not a directory"),
    ("server.storage_path", "file/store", "Not a directory"),
    ("server.storage_path", "/proc/hmacfs", ""),
    ("server.storage_path", "/proc", ""),
    ("server.socket_group", "no-such-group", "there is no group"),
    ("server.listen_address", "203.0.113.7:8080", "Cannot assign requested address"),
    ("server.listen_address", "no-such-host.invalid:80", ""),
    ("server.listen_address", "unix:{where}/none/http.sock", "none: no directory"),
    ("server.listen_address", "unix:{where}/file", "exists and is not a socket"),
    ("metrics.listen_address", "203.0.113.7:9090", "Cannot assign requested address"),
    ("metrics.listen_address", "unix:{where}/directory", "exists and is not a socket"),
]


@pytest.mark.parametrize(("key", "value", "words"), FAULTS)
def test_what_does_not_work_is_named(tmp_path: Path, key: str, value: str, words: str) -> None:
    table, _, name = key.partition(".")
    text = f"[{table}]\n{name} = '{value.format(where=tmp_path)}'\n"
    if name == "storage_path":
        text = text.replace("[server]\nstorage_path", "[server]\nstoragepath")
        text = (
            f"[security]\nsecret = '{SECRET}'\n[metrics]\nlisten_address = ''\n{text}listen_address = 'a:0'\n"
        )
        text = text.replace("'a:0'", "'127.0.0.1:0'")
        findings = trial.run(config.parse(text, name="t.toml", base_dir=tmp_path, environ={}))
    else:
        findings = tried(tmp_path, text)
    (fault,) = findings.faults
    assert fault.path == key
    assert fault.line
    assert words in fault.found


@pytest.mark.parametrize(
    ("one", "other", "fault"),
    [
        ("0.0.0.0:7", "[::]:7", False),
        ("127.0.0.1:7", "[::1]:7", False),
        (":7", "127.0.0.1:7", True),
        (":7", "[::1]:7", True),
        ("0.0.0.0:7", "127.0.0.1:7", True),
        ("[::]:7", "[::1]:7", True),
        (":0", "127.0.0.1:0", False),
    ],
)
def test_two_addresses_that_are_one(one: str, other: str, fault: bool) -> None:  # noqa: FBT001 - a table
    for first, second in ((one, other), (other, one)):
        text = f"[server]\nlisten_address = ['{first}', '{second}']\n[security]\nsecret = '{SECRET}'\n"
        with contextlib.ExitStack() as caught:
            if fault:
                caught.enter_context(pytest.raises(config.Faulty, match=r"listen_address\[1\]"))
            config.parse(text, name="t.toml", base_dir="/", environ={})


def test_what_is_in_use_is_only_told(tmp_path: Path) -> None:
    """It is most likely the server that this configuration is of: `systemctl reload` checks it first."""
    address = loopback.free_address()
    host, _, port = address.rpartition(":")
    with (
        tempfile.TemporaryDirectory() as name,
        socket.create_server((host, int(port))),
        socket.socket(socket.AF_UNIX) as other,
    ):
        path = Path(name) / "http.sock"
        other.bind(str(path))
        other.listen()
        text = f"[server]\nlisten_address = '{address}'\n[metrics]\nlisten_address = 'unix:{path}'\n"
        findings = tried(tmp_path, text)
        assert path.is_socket()
    assert findings.faults == []
    assert [notice.path for notice in findings.notices] == [
        "server.listen_address",
        "metrics.listen_address",
    ]


def test_a_storage_without_room_is_told(tmp_path: Path) -> None:
    text = "[server]\nmin_free_bytes = '4000000TB'\n"
    text = text.replace("[server]\n", f"[server]\nstoragepath = '{tmp_path}/directory'\n")
    findings = trial.run(
        config.parse(
            f"[security]\nsecret = '{SECRET}'\n{text}listen_address = '127.0.0.1:0'\n",
            name="t.toml",
            base_dir=tmp_path,
            environ={},
        )
    )
    assert "507" in " ".join(notice.words for notice in findings.notices)


@contextlib.contextmanager
def powerless() -> Iterator[str]:
    """Be a user who may do no more than others, and give the name."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield pwd.getpwuid(os.geteuid()).pw_name
    finally:
        os.seteuid(before)


def test_what_this_user_may_not_do_names_the_user() -> None:
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        (where / "store").mkdir(mode=0o555)
        where.chmod(0o555)
        text = (
            f"[server]\nstorage_path = '{where}/store'\nlisten_address = '127.0.0.1:0'\n"
            f"[metrics]\nlisten_address = 'unix:{where}/x.sock'\n"
            f"[logging]\nfile = '{where}/x.log'\n[security]\nsecret = '{SECRET}'\n"
        )
        loaded = config.parse(text, name="t.toml", base_dir=where, environ={})
        with powerless() as user:
            faults = trial.run(loaded).faults
        where.chmod(0o755)
    assert [fault.path for fault in faults] == [
        "logging.file",
        "server.storage_path",
        "metrics.listen_address",
    ]
    assert all(user in fault.found for fault in faults)


def test_start_names_a_log_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = f"{tmp_path}/none/x.log"
        text = serving.configuration(Path(name) / "store")
        text = text.replace('format = "json"', f'format = "json"\nfile = "{path}"')
        (Path(name) / "c.toml").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "hmacfs", "serve", "--config", f"{name}/c.toml"],
            capture_output=True,
            text=True,
            timeout=serving.PATIENCE_S,
            check=False,
        )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(f"hmacfs: cannot open the log file {path} ([logging] file)")
