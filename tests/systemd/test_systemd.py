"""systemd's protocols, over real datagram sockets and really inherited descriptors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hmacfs
from hmacfs import systemd
from hmacfs.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = str(Path(hmacfs.__file__).parents[1])


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, Notifier]]:
    path = tmp_path / "notify"
    name = str(path) if request.param == "path" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(60)
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        yield receiver, Notifier({"NOTIFY_SOCKET": name})


@pytest.mark.parametrize(
    ("say", "want"),
    [
        (lambda n: n.ready(), b"READY=1"),
        (lambda n: n.ready("4 workers"), b"READY=1\nSTATUS=4 workers"),
        (lambda n: n.reloading(123), b"RELOADING=1\nMONOTONIC_USEC=123"),
        (lambda n: n.stopping("draining"), b"STOPPING=1\nSTATUS=draining"),
        (lambda n: n.watchdog(), b"WATCHDOG=1"),
        (lambda n: n.extend(1.5), b"EXTEND_TIMEOUT_USEC=1500000"),
        (lambda n: n.status("a\nMAINPID=1\r\n b"), b"STATUS=a MAINPID=1 b"),
        (lambda n: n.status("\udcff ü"), b"STATUS=\\udcff \xc3\xbc"),
    ],
)
def test_the_manager_hears(
    manager: tuple[socket.socket, Notifier], say: Callable[[Notifier], bool], want: bytes
) -> None:
    receiver, notifier = manager
    assert notifier.wanted
    assert say(notifier) is True
    assert receiver.recv(4096) == want


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "@"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "relative/path"},
    ],
)
def test_without_a_manager_nothing_is_said(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    assert not notifier.wanted
    assert notifier.ready() is False


def test_a_manager_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    assert Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready() is False
    assert Notifier({"NOTIFY_SOCKET": "/" + "x" * 200}).ready() is False


def test_an_empty_status_is_not_sent(manager: tuple[socket.socket, Notifier]) -> None:
    receiver, notifier = manager
    assert notifier.status(" \n") is False
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(1)


ACTIVATED = """
import os, socket, sys
from hmacfs import systemd
# systemd-activate sets LISTEN_PID between fork and exec; here the process does so itself.
environ = {**os.environ, "LISTEN_PID": str(os.getpid())}
fds = systemd.listen_fds(environ, os.getpid())
print(fds, [os.get_inheritable(fd) for fd in fds], systemd.listen_fd_names(environ, len(fds)))
for fd in fds:
    print(socket.socket(fileno=fd).getsockname()[1])
"""


def test_sockets_that_are_handed_over_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [str(one.getsockname()[1]), str(two.getsockname()[1])]
        # The shell puts the sockets where systemd does: at 3 and 4.
        high = [os.dup(one.fileno()), os.dup(two.fileno())]
        moves = f'exec 3<&{high[0]} 4<&{high[1]}; exec "$0" -c "$1"'
        command = ["bash", "-c", moves, sys.executable, ACTIVATED]
        environ = {"PYTHONPATH": SOURCE, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:admin"}
        done = subprocess.run(command, env=environ, pass_fds=high, capture_output=True, text=True, check=True)
        for fd in high:
            os.close(fd)
    assert done.stdout.splitlines() == ["[3, 4] [False, False] ['http', 'admin']", *ports]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_PID": "8", "LISTEN_FDS": "2"},
        {"LISTEN_PID": "7"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "0"},
    ],
)
def test_sockets_meant_for_nobody_or_another_are_left_alone(environ: dict[str, str]) -> None:
    assert systemd.listen_fds(environ, 7) == []


@pytest.mark.parametrize("raw", ["", "x", "-1", "+1", " 1", "1_0", "\u0661"])
def test_malformed_variables_are_told(raw: str) -> None:
    with pytest.raises(ValueError, match="LISTEN_PID"):
        systemd.listen_fds({"LISTEN_PID": raw, "LISTEN_FDS": "1"}, 7)
    with pytest.raises(ValueError, match="LISTEN_FDS"):
        systemd.listen_fds({"LISTEN_PID": "7", "LISTEN_FDS": raw}, 7)
    with pytest.raises(ValueError, match="WATCHDOG_USEC"):
        systemd.watchdog_interval_s({"WATCHDOG_USEC": raw}, 7)


def test_a_socket_that_is_not_open_is_told() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        systemd.listen_fds({"LISTEN_PID": "7", "LISTEN_FDS": "100000"}, 7)


@pytest.mark.parametrize(
    ("environ", "count", "want"),
    [
        ({}, 2, ["unknown", "unknown"]),
        ({"LISTEN_FDNAMES": "a"}, 1, ["a"]),
        ({"LISTEN_FDNAMES": "a:"}, 2, ["a", ""]),
        ({"LISTEN_FDNAMES": ""}, 1, [""]),
        ({"LISTEN_FDNAMES": ""}, 0, []),
    ],
)
def test_names_of_sockets(environ: dict[str, str], count: int, want: list[str]) -> None:
    assert systemd.listen_fd_names(environ, count) == want


def test_names_must_be_as_many_as_sockets() -> None:
    with pytest.raises(ValueError, match="2 names for 1"):
        systemd.listen_fd_names({"LISTEN_FDNAMES": "a:b"}, 1)


@pytest.mark.parametrize(
    ("environ", "want"),
    [
        ({}, None),
        ({"WATCHDOG_PID": "7"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "7"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "8"}, None),
    ],
)
def test_the_watchdogs_interval(environ: dict[str, str], want: float | None) -> None:
    assert systemd.watchdog_interval_s(environ, 7) == want


def test_a_watchdog_of_zero_is_told() -> None:
    with pytest.raises(ValueError, match="is 0"):
        systemd.watchdog_interval_s({"WATCHDOG_USEC": "0"}, 7)
